"""CSN against mmaction2's figures and pytorchvideo's network."""

import pytest
import torch
from names3d import save_mmaction
from oracles import check_oracle
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.models.ircsn import FAMILY
from torch import nn
from upstream import answers, assert_same_answers, randomise

CLASSES = "abcde"
IR = ((r"\bconv2\.", "conv2.0.conv."), (r"(?<=\d\.)bn2\.", "conv2.0.bn."))
IP = (
    (r"\bconv2\.", "conv2.1.conv."),
    (r"(?<=\d\.)bn2\.", "conv2.1.bn."),
    (r"\bmix\.", "conv2.0.conv."),
    (r"\bmix_bn\.", "conv2.0.bn."),
)


def load(preset, path, **values):
    values = {key: str(value) for key, value in values.items()}
    return build_model(resolve("model", f"ircsn:preset={preset}", weights=str(path), **values), "none", CLASSES)


def test_published_code_gives_the_same_answers(tmp_path):
    check_oracle("ircsn-50-mmaction2", "ircsn:preset=r50", tmp_path)


def pytorchvideos(depth):
    create = pytest.importorskip("pytorchvideo.models.csn").create_csn
    net = create(model_depth=depth, model_num_class=5, stem_pool=nn.MaxPool3d)
    net.blocks[5].pool = nn.AdaptiveAvgPool3d(1)  # theirs takes one crop only
    return net


def test_pytorchvideos_network_gives_the_same_answers(tmp_path):
    theirs = randomise(pytorchvideos(101)).float()
    torch.save({"model_state": theirs.state_dict()}, tmp_path / "CSN_32x2_R101.pyth")
    model = load("r101", tmp_path / "CSN_32x2_R101.pyth", frames=8, size=32)
    assert model.input.mean == (0.45,) * 3 and model.input.std == (0.225,) * 3
    clips = torch.randn(1, 3, 8, 32, 32, dtype=torch.float64)
    assert_same_answers(model.net.double(), theirs.double(), clips, rtol=1e-7, atol=1e-10)


def test_mmaction2s_epsilon_in_pytorchvideos_network():
    theirs = randomise(pytorchvideos(152))
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = 1e-3
    ours = FAMILY.presets["r152"].make(5).double().eval()
    layout = next(layout for layout in FAMILY.layouts if layout.name == "pytorchvideo")
    ours.load_state_dict(layout.translate(theirs.state_dict()))
    assert_same_answers(ours, theirs, torch.randn(1, 3, 8, 32, 32, dtype=torch.float64), rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(
    ("given", "first", "asked"), [("r50", IR, "r152"), ("r152", IR, "r50"), ("ip-r152", IP, "r152"), ("r152", IR, "ip-r152")]
)
def test_a_file_for_another_preset_names_it(given, first, asked, tmp_path):
    with torch.device("meta"):
        save_mmaction(FAMILY.presets[given].make(5), tmp_path / "other.pth", first)
    with pytest.raises(InputError, match=f"use ircsn:preset={given}$"):
        load(asked, tmp_path / "other.pth")


def test_ip_csn_mixes_channels_before_every_depthwise_convolution(tmp_path):
    net = randomise(FAMILY.presets["ip-r152"].make(5))
    save_mmaction(net, tmp_path / "ip.pth", IP)
    model = load("ip-r152", tmp_path / "ip.pth", frames=8, size=32)
    block, x = net.layer2[0], torch.randn(1, 256, 4, 8, 8, dtype=torch.float64)
    inner = torch.relu(block.bn1(block.conv1(x)))
    inner = torch.relu(block.bn2(block.conv2(block.mix_bn(block.mix(inner)))))
    literal = torch.relu(block.bn3(block.conv3(inner)) + block.downsample(x))
    torch.testing.assert_close(model.net.double().layer2[0](x), literal, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 8])
def test_gradient_reaches_every_frame_of_a_short_clip(frames):
    model = build_model(resolve("model", f"ircsn:preset=r50,frames={frames},size=32,weights=random"), "none", CLASSES)
    logits, grad = answers(model, torch.rand(1, 3, frames, 32, 32))
    assert logits.shape == (1, 5)
    assert (grad.abs().amax(dim=(1, 3, 4)) > 0).all()
