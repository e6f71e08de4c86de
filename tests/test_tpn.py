"""TPN against its definition, the key names of both code bases, and the answers of mmaction2's code."""

import re
from math import ceil

import pytest
import torch
import torch.nn.functional as F
from oracles import check_oracle
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.models.shift import InplaceShiftBlock, ShiftBlock, shift
from robustvideo.benchmark.models.tpn import FAMILY
from robustvideo.benchmark.models.tpn_neck import Neck


def literal_neck(neck, res4, res5):
    """The published definition on maps (N, C, T, H, W), with both flows spelled out."""

    def unit(unit, x, stride=1):
        conv, norm = unit.conv, unit.bn
        x = F.conv3d(x, conv.weight.unsqueeze(2), None, (1, stride, stride), (0, *conv.padding), 1, conv.groups)
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias).relu()

    def fusion(fusion, maps):
        maps = [unit(level, one) for level, one in zip(fusion.levels, maps, strict=True)]
        return unit(fusion.join, torch.cat(maps, dim=1))

    def pool(x, window):
        return F.max_pool3d(x, (window, 1, 1), (window, 1, 1), ceil_mode=True)

    frames = res4.shape[2]
    windows = ceil(frames / neck.steps), frames
    levels = [unit(neck.spatial, res4, stride=2), res5]
    levels = [F.conv3d(x, conv.weight, padding=(1, 0, 0), groups=32) for x, conv in zip(levels, neck.temporal, strict=True)]
    levels = [pool(x, window) for x, window in zip(levels, windows, strict=True)]
    steps = levels[0].shape[2]
    # Top-down first; bottom-up goes on from what it made of the shallow level.
    levels[0] = levels[0] + F.interpolate(levels[1], scale_factor=(steps, 1, 1), mode="nearest")
    top_down = fusion(neck.top_down, (pool(levels[0], steps), levels[1]))
    levels[1] = levels[1] + pool(F.conv3d(levels[0], neck.down.weight, padding=(1, 0, 0)), steps)
    bottom_up = fusion(neck.bottom_up, (pool(levels[0], steps), levels[1]))
    return unit(neck.pyramid, torch.cat((top_down, bottom_up), dim=1)).squeeze(2)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("frames", [1, 3, 8, 16])
def test_the_neck_is_its_definition(steps, frames):
    torch.manual_seed(0)
    neck = Neck(64, steps).eval()
    for module in neck.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(), module.running_var.uniform_(0.5, 1.5)
    res4, res5 = torch.randn(2, 32, frames, 6, 6), torch.randn(2, 64, frames, 3, 3)
    ours = neck(res4.transpose(1, 2).flatten(0, 1), res5.transpose(1, 2).flatten(0, 1), frames)
    torch.testing.assert_close(ours, literal_neck(neck, res4, res5), rtol=1e-4, atol=1e-5)


def test_only_the_authors_shift_reaches_the_skip_path():
    torch.manual_seed(0)
    downsample = torch.nn.Sequential(torch.nn.Conv2d(16, 32, 1, bias=False), torch.nn.BatchNorm2d(32))
    x = torch.randn(8, 16, 4, 4)
    plain, inplace = (kind(16, 8, 1, downsample).eval() for kind in (ShiftBlock, InplaceShiftBlock))
    inplace.load_state_dict(plain.state_dict())
    with torch.inference_mode():
        shifted = downsample(shift(x, 8)) - downsample(x)
        mixed = inplace.mix(x, 8)
        torch.testing.assert_close(inplace.skip(x, mixed) - plain.skip(x, mixed), shifted, rtol=1e-3, atol=1e-5)
        identity = InplaceShiftBlock(32, 8).eval()
        assert torch.equal(identity.skip(x, mixed), x), "a skip path without a convolution stays as it is"


def build(spec):
    return build_model(resolve("model", spec), "none", "abc")


@pytest.mark.parametrize("frames", [1, 3, 8, 16])
def test_any_number_of_frames(frames):
    model = build(f"tpn:frames={frames},weights=random")
    assert model(torch.rand(2, 3, frames, 64, 64)).shape == (2, 3)


@pytest.mark.parametrize(("preset", "frames", "size"), [("tiny", 8, 64), ("slowonly-r50", 4, 32)])
def test_gradient_reaches_every_frame_and_order_matters(preset, frames, size):
    model = build(f"tpn:preset={preset},frames={frames},size={size},weights=random")
    clips = torch.rand(1, 3, frames, size, size, requires_grad=True)
    (grad,) = torch.autograd.grad(model(clips)[:, 0].sum(), clips)
    assert (grad.abs().amax(dim=(1, 3, 4)) > 0).all()
    with torch.inference_mode():
        assert not torch.allclose(model(clips), model(clips.flip(2)), rtol=1e-3, atol=0)


TO_AUTHORS = (
    (r"^(conv1|bn1|layer\d)\b", r"backbone.\1"),
    (r"^fc\.", "cls_head.fc_cls."),
    (r"^neck\.spatial\.", "necks.spatial_modulation.spatial_modulation.0.0."),
    (r"^neck\.temporal\.(\d)\.", r"necks.temporal_modulation_ops.\1.conv."),
    (r"^neck\.down\.", "necks.downsampling_ops.0.conv."),
    (r"^neck\.top_down\.", "necks.level_fusion_op2."),
    (r"^neck\.bottom_up\.", "necks.level_fusion_op."),
    (r"\.levels\.(\d)\.conv\.", r".ops.\1.conv."),
    (r"\.levels\.(\d)\.bn\.", r".ops.\1.norm."),
    (r"\.join\.conv\.", ".fusion_conv.0."),
    (r"\.join\.bn\.", ".fusion_conv.1."),
    (r"^neck\.pyramid\.conv\.", "necks.pyramid_fusion_op.0."),
    (r"^neck\.pyramid\.bn\.", "necks.pyramid_fusion_op.1."),
)


def shapes(preset):
    """A network's tensors at no memory, each filled with a number of its own."""
    with torch.device("meta"):
        state = FAMILY.presets[preset].make(3).state_dict()
    return {key: torch.tensor(float(index)).expand(value.shape) for index, (key, value) in enumerate(state.items())}


def authors(state):
    out = {"necks.aux_head.fc.bias": torch.zeros(3)}
    for key, value in state.items():
        if key.startswith("neck.") and value.dim() == 4:
            value = value.unsqueeze(2)
        for pattern, replacement in TO_AUTHORS:
            key = re.sub(pattern, replacement, key)
        out[key] = value
    return out


@pytest.mark.parametrize("preset", ["tsm-r50-inplace", "slowonly-r50", "slowonly-r101"])
def test_the_authors_names(preset):
    state = shapes(preset)
    foreign = authors(state)
    (layout,) = (layout for layout in FAMILY.layouts if layout.matches(foreign))
    translated = layout.translate(foreign)
    assert preset in layout.presets and not any(layout.matches(state) for layout in FAMILY.layouts)
    assert {key: value.shape for key, value in translated.items()} == {key: value.shape for key, value in state.items()}
    assert all(torch.equal(translated[key], value) for key, value in state.items())


def test_a_file_of_the_authors_is_for_the_shift_of_the_authors(tmp_path):
    torch.save({"state_dict": authors(shapes("tsm-r50-inplace"))}, tmp_path / "tsm.pth")
    with pytest.raises(InputError, match="looks like TPN on the authors' TSM; use tpn:preset=tsm-r50-inplace"):
        build(f"tpn:preset=tsm-r50,weights={tmp_path}/tsm.pth")


def test_slowonly_looks_across_frames_in_its_last_two_stages_only():
    with torch.device("meta"):
        net = FAMILY.presets["slowonly-r50"].make(3)
    kernels = {name: {block.conv1.kernel_size[0] for block in net.get_submodule(name)} for name in net.stages}
    assert kernels == {"layer1": {1}, "layer2": {1}, "layer3": {3}, "layer4": {3}}
    assert net.conv1.kernel_size == (1, 7, 7)
    convolutions = [module for module in net.modules() if isinstance(module, torch.nn.Conv3d)]
    assert {module.stride[0] for module in convolutions} == {1}


def test_published_code_gives_the_same_answers(tmp_path):
    model = check_oracle("tpn-tsm-mmaction2", "tpn:preset=tsm-r50", tmp_path)
    assert model.input.resize == "bilinear"
