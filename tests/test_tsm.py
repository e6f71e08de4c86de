"""TSM against its definition, torchvision, and the answers of the authors' and mmaction2's code."""

import pytest
import torch
import torchvision
from oracles import check_oracle
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.models.nonlocal_block import NonLocal
from robustvideo.benchmark.models.resnet import ResNet
from robustvideo.benchmark.models.shift import shift
from robustvideo.benchmark.models.tsm import FAMILY, TSMNet


def literal_shift(features, frames):
    """The published definition, one number at a time."""
    clips = features.view(-1, frames, *features.shape[1:])
    fold = features.shape[1] // 8
    out = torch.zeros_like(clips)
    for t in range(frames):
        for c in range(features.shape[1]):
            source = t + 1 if c < fold else t - 1 if c < 2 * fold else t
            if 0 <= source < frames:
                out[:, t, c] = clips[:, source, c]
    return out.view_as(features)


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
@pytest.mark.parametrize("channels", [8, 20, 4])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_shift_is_its_definition_forward_and_backward(frames, channels, layout):
    features = torch.randn(3 * frames, channels, 4, 5).contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn_like(features)
    ours, theirs = shift(features, frames), literal_shift(features, frames)
    assert torch.equal(ours, theirs)
    (mine,) = torch.autograd.grad((ours * weight).sum(), features)
    (literal,) = torch.autograd.grad((theirs * weight).sum(), features)
    assert torch.equal(mine, literal)


def test_shift_has_second_derivatives():
    features = torch.randn(4, 8, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: shift(x, 4) ** 2, features)


def test_full_size_is_torchvisions_resnet50():
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50(weights=None, num_classes=7).eval()
    ours = ResNet(7).eval()
    assert set(ours.state_dict()) == set(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    frames = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(ours(frames[:, None]), theirs(frames), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours(frames[None]), theirs(frames).mean(0, keepdim=True), rtol=1e-4, atol=1e-4)


def test_deep_nets_shift_in_every_second_block():
    def shifted(net):
        return [[block.shifted for block in net.get_submodule(name)] for name in net.stages]

    assert shifted(TSMNet(2, 8, (1, 2, 23))) == [[True], [True, False], [index % 2 == 0 for index in range(23)]]
    assert shifted(TSMNet(2, 8, (1, 2))) == [[True], [True, True]]


@pytest.mark.parametrize("frames", [1, 3, 8, 16])
def test_any_number_of_frames(frames):
    model = build_model(resolve("model", f"tsm:frames={frames},weights=random"), "none", "abc")
    assert model.input.frames == frames
    assert model(torch.rand(2, 3, frames, 64, 64)).shape == (2, 3)


def test_clips_of_a_batch_do_not_mix():
    model = build_model(resolve("model", "tsm:weights=random"), "none", "abc")
    clips = torch.rand(3, 3, 8, 64, 64)
    torch.testing.assert_close(model(clips)[1:2], model(clips[1:2]), rtol=1e-4, atol=1e-6)


def test_gradient_reaches_every_frame_and_order_matters():
    model = build_model(resolve("model", "tsm:weights=random"), "none", "abc")
    clips = torch.rand(2, 3, 8, 64, 64, requires_grad=True)
    (grad,) = torch.autograd.grad(model(clips)[:, 0].sum(), clips)
    assert (grad.abs().amax(dim=(1, 3, 4)) > 0).all()
    with torch.inference_mode():
        assert not torch.allclose(model(clips), model(clips.flip(2)), rtol=1e-3, atol=0)


@pytest.mark.parametrize("pairing", ["embedded", "dot", "gaussian"])
def test_non_local_blocks_follow_five_blocks_and_join_the_frames(pairing):
    torch.manual_seed(0)
    layers = (1, 3, 5)
    plain, net = TSMNet(3, 8, layers).eval(), TSMNet(3, 8, layers, pairing=pairing).eval()
    found = {name.removesuffix(".non_local") for name, module in net.named_modules() if isinstance(module, NonLocal)}
    assert found == {"layer2.0", "layer2.2", "layer3.0", "layer3.2", "layer3.4"}
    missing, unexpected = net.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all(".non_local." in key for key in missing)
    block = net.get_submodule("layer2.0")
    torch.nn.init.ones_(block.non_local.norm.weight)
    x = torch.rand(2 * 4, 32, 8, 8)
    before = plain.get_submodule("layer2.0")(x, 4).unflatten(0, (2, 4)).transpose(1, 2)
    wanted = block.non_local(before).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(block(x, 4), wanted)
    assert not torch.allclose(block(x, 4), plain.get_submodule("layer2.0")(x, 4))


def full(preset):
    """Keys and shapes of a full-size network, at no memory."""
    with torch.device("meta"):
        state = FAMILY.presets[preset].make(3).state_dict()
    return {key: torch.zeros(()).expand(value.shape) for key, value in state.items()}


def in_mit_names(state):
    """With the biases in front of the norms that their non-local blocks have."""
    wrapped = {key.split(".non_local")[0] for key in state if ".non_local." in key}
    out = {}
    for key, value in state.items():
        block = ".".join(key.split(".")[:2])
        if ".non_local." in key:
            key = key.replace(".non_local.", ".nl.").replace(".norm.", ".W.1.").replace(".out.", ".W.0.")
            key = key.replace(".g.", ".g.0.").replace(".phi.", ".phi.0.")
            if key.endswith(".W.0.weight"):
                out[f"base_model.{key[:-6]}bias"] = torch.ones(len(value))
        elif block in wrapped:
            key = key.replace(block, f"{block}.block", 1)
        key = key.replace(".conv1.", ".conv1.net.") if key.startswith("layer") else key
        out[f"base_model.{key}" if not key.startswith("fc.") else f"new_{key}"] = value
    return out


def test_a_bias_in_front_of_a_norm_goes_into_the_norm():
    state = full("r50-nl-embedded")
    foreign = in_mit_names(state)
    layout = next(layout for layout in FAMILY.layouts if layout.matches(foreign))
    translated = layout.translate(foreign)
    assert {key: value.shape for key, value in translated.items()} == {key: value.shape for key, value in state.items()}
    assert torch.equal(translated["layer2.0.non_local.norm.running_mean"], -torch.ones(512))


def in_names_of_tpn(state):
    return {
        f"backbone.{key}" if not key.startswith("fc.") else f"cls_head.fc_cls.{key[3:]}": value for key, value in state.items()
    }


@pytest.mark.parametrize(
    ("names", "preset", "asked"),
    [(in_mit_names, "r50-nl-embedded", "r50"), (in_mit_names, "r50", "r50-inplace"), (in_names_of_tpn, "r50-inplace", "r50")],
)
def test_a_file_for_another_preset_of_the_same_shapes_names_the_right_one(names, preset, asked, tmp_path):
    torch.save({"state_dict": names(full(preset))}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=f"use tsm:preset={preset}$"):
        build_model(resolve("model", f"tsm:preset={asked},weights={tmp_path}/other.pth"), "none", "abc")


@pytest.mark.parametrize("name", ["tsm-mit-r50", "tsm-mmaction2"])
def test_published_code_gives_the_same_answers(name, tmp_path):
    check_oracle(name, "tsm:preset=r50", tmp_path)
