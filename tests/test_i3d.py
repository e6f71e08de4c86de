"""I3D against mmaction2's figures and pytorchvideo's network."""

import pytest
import torch
from names3d import save_mmaction
from oracles import check_oracle
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.models.i3d import FAMILY
from torch import nn
from upstream import answers, assert_same_answers, randomise, save_zeros

CLASSES = "abcde"


def load(preset, path, **values):
    values = {key: str(value) for key, value in values.items()}
    return build_model(resolve("model", f"i3d:preset={preset}", weights=str(path), **values), "none", CLASSES)


def test_published_code_gives_the_same_answers(tmp_path):
    model = check_oracle("i3d-nl-dot-mmaction2", "i3d:preset=r50-nl", tmp_path)
    assert (model.input.sampler, model.input.interval, model.input.resize) == ("dense", 2, "bilinear")


def test_pytorchvideos_network_gives_the_same_answers(tmp_path):
    hub = pytest.importorskip("pytorchvideo.models.hub")
    theirs = randomise(hub.i3d_r50(pretrained=False, model_num_class=5))
    theirs.blocks[6].pool = nn.AdaptiveAvgPool3d(1)  # theirs takes one crop only
    torch.save({"model_state": theirs.state_dict()}, tmp_path / "I3D_8x8_R50.pyth")
    model = load("r50-8x8", tmp_path / "I3D_8x8_R50.pyth", size=64)
    assert model.input.mean == (0.45,) * 3 and model.input.std == (0.225,) * 3 and model.input.interval == 8
    # The file went through single precision, as did nothing else.
    theirs.load_state_dict({key: value.float() for key, value in theirs.state_dict().items()})
    clips = torch.randn(1, 3, 8, 64, 64, dtype=torch.float64)
    assert_same_answers(model.net.double(), theirs, clips, rtol=1e-7, atol=1e-10)


def test_equal_weights_are_other_networks():
    first, second = (FAMILY.presets[name].make(5) for name in ("r50", "r50-8x8"))
    second.load_state_dict(first.state_dict())
    clips = torch.randn(1, 3, 8, 32, 32)
    with torch.inference_mode():
        ours, theirs = first.eval()(clips), second.eval()(clips)
    assert (ours - theirs).abs().max() > 1e-2 * ours.abs().max()


@pytest.mark.parametrize(
    ("given", "asked"),
    [("r50", "r50-8x8"), ("r50", "r50-nl"), ("r50-nl", "r50"), ("r50-nl-gauss", "r50-nl-embedded"), ("r50-heavy", "r50")],
)
def test_a_file_for_another_preset_names_it(given, asked, tmp_path):
    with torch.device("meta"):
        save_mmaction(FAMILY.presets[given].make(5), tmp_path / "other.pth")
    with pytest.raises(InputError, match=f"use i3d:preset={given}$"):
        load(asked, tmp_path / "other.pth")


def test_pytorchvideos_file_is_not_for_mmaction2s_strides(tmp_path):
    hub = pytest.importorskip("pytorchvideo.models.hub")
    save_zeros(hub.i3d_r50(pretrained=False, model_num_class=5), tmp_path / "facebook.pyth")
    with pytest.raises(InputError, match="looks like pytorchvideo's I3D; use i3d:preset=r50-8x8"):
        load("r50", tmp_path / "facebook.pyth")


def test_ibms_file_has_our_names(tmp_path):
    net = FAMILY.presets["r50-ibm"].make(5)
    save_zeros(net, tmp_path / "ibm.pth")
    with pytest.raises(InputError, match="use i3d:preset=r50-ibm"):
        load("r50", tmp_path / "ibm.pth")
    assert {block.conv2.kernel_size for stage in net.stages for block in net.get_submodule(stage)} == {(3, 3, 3)}
    # No stride in time anywhere, so that every frame has its own map to the end.
    assert [level.shape[2] for level in net.eval().features(torch.randn(1, 3, 5, 32, 32))] == [5, 5, 5, 5]


@pytest.mark.parametrize(("preset", "frames", "step"), [("r50", 12, 8), ("r50-8x8", 7, 2), ("tiny", 6, 4)])
def test_frames_that_would_be_dropped_are_refused(preset, frames, step):
    with pytest.raises(InputError, match=f"frames: {frames} is not a multiple of {step}; write frames="):
        build_model(resolve("model", f"i3d:preset={preset},frames={frames},weights=random"), "none", CLASSES)


@pytest.mark.parametrize(("preset", "blind"), [("r50", 1), ("r50-nl-gauss", 1), ("r50-heavy", 0), ("r50-8x8", 0)])
def test_gradient_reaches_every_frame_that_the_strides_see(preset, blind):
    model = build_model(resolve("model", f"i3d:preset={preset},frames=8,size=32,weights=random"), "none", CLASSES)
    logits, grad = answers(model, torch.rand(1, 3, 8, 32, 32))
    assert logits.shape == (1, 5)
    # mmaction2's stem and pooling take every fourth of its outputs, the last of which looks at all frames but one.
    assert (grad.abs().amax(dim=(1, 3, 4)) > 0).flatten().tolist() == [True] * (8 - blind) + [False] * blind
