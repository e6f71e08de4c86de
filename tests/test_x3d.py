"""X3D against mmaction2's figures and pytorchvideo's networks, and its depthwise convolution against PyTorch's."""

import re

import pytest
import torch
from oracles import check_oracle
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.models.depthwise import DepthwiseConv3d
from robustvideo.benchmark.models.layouts import fit
from robustvideo.benchmark.models.x3d import DEPTH_L, DEPTH_M, FAMILY, X3DNet, rounded
from robustvideo.benchmark.models.x3d_layouts import LAYOUTS
from torch import nn
from upstream import answers, assert_same_answers, randomise, save_zeros


@pytest.mark.parametrize("kernel, stride", [((3, 3, 3), (1, 1, 1)), ((3, 3, 3), (2, 2, 2)), ((5, 1, 1), (1, 1, 1))])
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("size", [7, 8])
def test_depthwise_is_pytorchs_convolution_with_all_its_gradients(kernel, stride, format, size):
    ours = DepthwiseConv3d(4, kernel, stride).double()
    x = torch.randn(2, 4, size, size, 6, dtype=torch.float64).contiguous(memory_format=format).requires_grad_()
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    out = ours._conv_forward(x, ours.weight, bias)
    theirs = nn.functional.conv3d(x, ours.weight, bias, stride, ours.padding, groups=4)
    torch.testing.assert_close(out, theirs)
    weight = torch.randn_like(out)
    inputs = (x, ours.weight, bias)
    for mine, literal in zip(
        torch.autograd.grad((out * weight).sum(), inputs), torch.autograd.grad((theirs * weight).sum(), inputs), strict=True
    ):
        torch.testing.assert_close(mine, literal)


def test_depthwise_has_second_derivatives():
    conv = DepthwiseConv3d(2, (3, 3, 3), (1, 2, 2)).double()
    x = torch.randn(1, 2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, weight: conv._conv_forward(x, weight, None) ** 2, (x, conv.weight))


def test_published_code_gives_the_same_answers(tmp_path):
    model = check_oracle("x3d-m-mmaction2", "x3d:preset=m", tmp_path)
    assert model.input.std == (57.38 / 255,) * 3 and model.input.mean == (0.45,) * 3


@pytest.mark.parametrize("name, layers", [("x3d_s", DEPTH_M), ("x3d_m", DEPTH_M), ("x3d_l", DEPTH_L)])
def test_pytorchvideos_networks_give_the_same_answers(name, layers):
    hub = pytest.importorskip("pytorchvideo.models.hub")
    theirs = randomise(getattr(hub, name)(pretrained=False, model_num_class=5))
    theirs.blocks[5].pool.pool, theirs.blocks[5].activation = nn.AdaptiveAvgPool3d(1), None  # theirs takes one crop only
    ours = X3DNet(5, layers).double().eval()
    assert fit(ours, theirs.state_dict(), "weights", "fc2", LAYOUTS).name == "pytorchvideo"
    assert_same_answers(ours.eval(), theirs, torch.randn(1, 3, 4, 64, 64, dtype=torch.float64), rtol=1e-5, atol=1e-9)


def slowfast(key):
    """One of our keys as PySlowFast names it (slowfast/models: stem_helper, resnet_helper, head_helper)."""
    letters = {"1": "a", "2": "b", "3": "c"}
    if match := re.match(r"layer(\d)\.(\d+)\.(.*)", key):
        rest = re.sub(r"^conv(\d)", lambda found: f"branch2.{letters[found[1]]}", match[3])
        rest = re.sub(r"^bn(\d)", lambda found: f"branch2.{letters[found[1]]}_bn", rest)
        rest = rest.replace("downsample.0", "branch1").replace("downsample.1", "branch1_bn")
        return f"s{int(match[1]) + 1}.pathway0_res{match[2]}." + re.sub(r"^se\.", "branch2.se.", rest)
    names = {"conv1_s": "s1.pathway0_stem.conv_xy", "conv1_t": "s1.pathway0_stem.conv", "bn1": "s1.pathway0_stem.bn"}
    names |= {"conv5": "head.conv_5", "bn5": "head.conv_5_bn", "fc1": "head.lin_5", "fc2": "head.projection"}
    module, _, leaf = key.partition(".")
    return f"{names[module]}.{leaf}"


def test_pyslowfasts_names_are_read(tmp_path):
    made = build_model(resolve("model", "x3d:weights=random-4"), "none", "abc")
    state = {slowfast(key): value for key, value in made.net.state_dict().items()}
    flat = [key for key in state if re.search(r"se\.fc\d\.weight|lin_5", key)]
    state |= {key: state[key][:, :, None, None, None] for key in flat}
    assert "s3.pathway0_res1.branch2.b_bn.running_var" in state and "s2.pathway0_res0.branch2.se.fc1.bias" in state
    torch.save({"model_state": state}, tmp_path / "x3d.pyth")
    read = build_model(resolve("model", f"x3d:weights={tmp_path}/x3d.pyth"), "none", "abc")
    assert all(torch.equal(value, read.net.state_dict()[key]) for key, value in made.net.state_dict().items())


def test_sizes_of_the_paper():
    assert [rounded(width / 16) for width in (54, 108, 216, 432)] == [8, 8, 16, 32]
    with torch.device("meta"):
        million = sum(value.numel() for value in X3DNet(400).parameters()) / 1e6
    assert million == pytest.approx(3.79, abs=0.005)
    sizes = {name: (preset.input.frames, preset.input.interval, preset.input.size) for name, preset in FAMILY.presets.items()}
    assert sizes == {"tiny": (8, 1, 64), "s": (13, 6, 160), "m": (16, 5, 224), "l": (16, 5, 312)}


@pytest.mark.parametrize("frames, size", [(8, 64), (5, 97), (1, 33)])
def test_gradient_reaches_every_frame_and_order_matters(frames, size):
    model = build_model(resolve("model", f"x3d:weights=random,frames={frames},size={size}"), "none", "abc")
    clips = torch.rand(2, 3, frames, size, size)
    logits, grad = answers(model, clips)
    assert (grad.abs().amax(dim=(1, 3, 4)) > 0).all()
    with torch.inference_mode():
        assert frames == 1 or not torch.allclose(model(clips.flip(2)), logits, rtol=1e-3, atol=0)
        torch.testing.assert_close(model(clips[1:]), logits[1:], rtol=1e-4, atol=1e-6)


def test_files_that_do_not_fit(tmp_path):
    def saved(preset):
        with torch.device("meta"):
            save_zeros(FAMILY.presets[preset].make(3), tmp_path / f"{preset}.pth")
        return f"weights={tmp_path}/{preset}.pth"

    large, small = saved("l"), saved("s")
    with pytest.raises(InputError, match="looks like an X3D-L; use x3d:preset=l"):
        build_model(resolve("model", f"x3d:preset=m,{large}"), "none", "abc")
    with pytest.raises(InputError, match="the checkpoint has 3 classes, the data set has 4"):
        build_model(resolve("model", f"x3d:preset=m,{small}"), "none", "abcd")
    torch.save({"blocks.0.conv.conv_t.weight": torch.zeros(1)}, tmp_path / "half.pth")
    with pytest.raises(InputError, match="looks like pytorchvideo but does not fit"):
        build_model(resolve("model", f"x3d:weights={tmp_path}/half.pth"), "none", "abc")
