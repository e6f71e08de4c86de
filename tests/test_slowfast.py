"""SlowFast against mmaction2's figures and pytorchvideo's networks."""

import pytest
import torch
from names3d import save_mmaction
from oracles import check_oracle
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.models.slowfast import FAMILY, SlowFastNet
from torch import nn
from upstream import answers, assert_same_answers, randomise, save_zeros

CLASSES = "abcde"


def load(preset, path, **values):
    values = {key: str(value) for key, value in values.items()}
    return build_model(resolve("model", f"slowfast:preset={preset}", weights=str(path), **values), "none", CLASSES)


class Packed(nn.Module):
    """pytorchvideo's network with the slow frames that PySlowFast's loader gives it."""

    def __init__(self, net, alpha):
        super().__init__()
        self.net, self.alpha = net, alpha
        net.blocks[5].pool = nn.ModuleList([nn.AdaptiveAvgPool3d(1), nn.AdaptiveAvgPool3d(1)])  # theirs takes one crop only

    def forward(self, clips):
        frames = clips.shape[2]
        return self.net([clips[:, :, torch.linspace(0, frames - 1, frames // self.alpha).long()], clips])


def hub(name):
    module = pytest.importorskip("pytorchvideo.models.hub")
    return getattr(module, name)(pretrained=False, model_num_class=5)


def test_published_code_gives_the_same_answers(tmp_path):
    check_oracle("slowfast-8x8-mmaction2", "slowfast:preset=8x8", tmp_path)


@pytest.mark.parametrize(
    ("preset", "name"), [("8x8-facebook", "slowfast_r50"), ("r101-16x8-facebook", "slowfast_16x8_r101_50_50")]
)
def test_pytorchvideos_networks_give_the_same_answers(preset, name, tmp_path):
    compare(preset, hub(name), 4, tmp_path)


def test_pytorchvideos_4x16_gives_the_same_answers(tmp_path):
    # No builder of its hub makes it; PySlowFast's SLOWFAST_4x16_R50 says kernel 5 and alpha 8.
    create = pytest.importorskip("pytorchvideo.models.slowfast").create_slowfast
    theirs = create(model_num_class=5, slowfast_fusion_conv_kernel_size=(5, 1, 1), slowfast_fusion_conv_stride=(8, 1, 1))
    compare("4x16-facebook", theirs, 8, tmp_path)


def compare(preset, net, alpha, tmp_path):
    theirs = Packed(randomise(net), alpha)
    torch.save({"model_state": net.float().state_dict()}, tmp_path / "SLOWFAST.pyth")
    model = load(preset, tmp_path / "SLOWFAST.pyth", frames=8, size=32)
    assert model.input.mean == (0.45,) * 3 and model.input.std == (0.225,) * 3
    clips = torch.randn(1, 3, 8, 32, 32, dtype=torch.float64)
    assert_same_answers(model.net.double(), theirs.double(), clips, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(("given", "asked"), [("8x8", "4x16"), ("8x8", "8x8-facebook"), ("r101-r50-4x16", "4x16")])
def test_a_file_for_another_preset_names_it(given, asked, tmp_path):
    with torch.device("meta"):
        save_mmaction(FAMILY.presets[given].make(5), tmp_path / "other.pth")
    with pytest.raises(InputError, match=f"use slowfast:preset={given}$"):
        load(asked, tmp_path / "other.pth")


def test_pytorchvideos_101_is_recognised(tmp_path):
    save_zeros(hub("slowfast_r101"), tmp_path / "facebook.pyth")
    with pytest.raises(InputError, match="use slowfast:preset=r101-8x8-facebook"):
        load("8x8-facebook", tmp_path / "facebook.pyth")


def test_pytorchvideos_file_is_not_mmaction2s_network(tmp_path):
    save_zeros(hub("slowfast_r50"), tmp_path / "facebook.pyth")
    with pytest.raises(InputError, match="looks like Facebook's SlowFast 8x8; use slowfast:preset=8x8-facebook"):
        load("8x8", tmp_path / "facebook.pyth")


@pytest.mark.parametrize(("preset", "frames", "alpha"), [("8x8", 30, 4), ("4x16", 20, 8), ("8x8-facebook", 33, 4)])
def test_frames_must_be_a_multiple_of_alpha(preset, frames, alpha):
    with pytest.raises(InputError, match=f"frames: {frames} is not a multiple of {alpha}; write frames=32"):
        build_model(resolve("model", f"slowfast:preset={preset},frames={frames},weights=random"), "none", CLASSES)


@pytest.mark.parametrize(
    ("preset", "wanted"),
    [
        ("8x8", [0, 4, 8, 12, 16, 20, 24, 28]),
        ("8x8-facebook", [0, 4, 8, 13, 17, 22, 26, 31]),
        ("4x16", [0, 8, 16, 24]),
        ("4x16-facebook", [0, 10, 20, 31]),
    ],
)
def test_the_slow_frames(preset, wanted):
    with torch.device("meta"):
        net = FAMILY.presets[preset].make(2)
    assert isinstance(net, SlowFastNet)
    assert net.slow_frames(torch.arange(32).view(1, 1, 32, 1, 1)).flatten().tolist() == wanted


@pytest.mark.parametrize("preset", ["8x8", "4x16-facebook"])
def test_gradient_reaches_every_frame_of_a_short_clip(preset):
    model = build_model(resolve("model", f"slowfast:preset={preset},frames=8,size=32,weights=random"), "none", CLASSES)
    logits, grad = answers(model, torch.rand(1, 3, 8, 32, 32))
    assert logits.shape == (1, 5)
    assert (grad.abs().amax(dim=(1, 3, 4)) > 0).all()
