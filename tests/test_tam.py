"""TAM against its definition and the answers of IBM's code."""

import pytest
import torch
from oracles import check_oracle
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.models.tam import FAMILY, Aggregation


def literal_aggregation(module, features, frames):
    """Three weights per channel on the previous, the current and the next frame; their sum; ReLU."""
    clips = features.unflatten(0, (-1, frames))
    out = torch.zeros_like(clips)
    for t in range(frames):
        for weight, source in ((module.prev, t - 1), (module.curr, t), (module.next, t + 1)):
            if 0 <= source < frames:
                out[:, t] = out[:, t] + weight.view(-1, 1, 1) * clips[:, source]
    return out.relu().flatten(0, 1)


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_aggregation_is_its_definition_forward_and_backward(frames, layout):
    torch.manual_seed(0)
    module = Aggregation(6).double()
    features = torch.randn(3 * frames, 6, 4, 5, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn_like(features)
    wanted = [features, *module.parameters()]
    ours, theirs = module(features, frames), literal_aggregation(module, features, frames)
    torch.testing.assert_close(ours, theirs)
    mine, literal = (torch.autograd.grad((out * weight).sum(), wanted, allow_unused=True) for out in (ours, theirs))
    for got, expected in zip(mine, literal, strict=True):
        torch.testing.assert_close(got, torch.zeros_like(got) if expected is None else expected)


def test_aggregation_with_frozen_weights_has_the_same_gradient_and_a_second_one():
    module = Aggregation(3).double()
    features = torch.randn(4, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    (free,) = torch.autograd.grad(module(features, 4).square().sum(), features)
    assert torch.autograd.gradgradcheck(lambda x: module(x, 4) ** 2, features)
    module.requires_grad_(False)
    (frozen,) = torch.autograd.grad(module(features, 4).square().sum(), features)
    assert torch.equal(free, frozen)


def test_the_skip_path_sees_the_block_as_it_came():
    net = FAMILY.presets["tiny"].make(3).eval()
    block = net.layer1[0]
    x, seen = torch.rand(8, 8, 16, 16), []
    block.conv1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    assert torch.equal(block.skip(x, block.mix(x, 8)), block.skip(x, x))
    assert not torch.allclose(block.mix(x, 8), x)


def build(spec):
    return build_model(resolve("model", spec), "none", "abc")


@pytest.mark.parametrize("frames", [1, 3, 8, 16])
def test_any_number_of_frames(frames):
    model = build(f"tam:frames={frames},weights=random")
    assert model(torch.rand(2, 3, frames, 64, 64)).shape == (2, 3)


def test_gradient_reaches_every_frame_and_order_matters():
    model = build("tam:weights=random")
    clips = torch.rand(2, 3, 8, 64, 64, requires_grad=True)
    (grad,) = torch.autograd.grad(model(clips)[:, 0].sum(), clips)
    assert (grad.abs().amax(dim=(1, 3, 4)) > 0).all()
    with torch.inference_mode():
        assert not torch.allclose(model(clips), model(clips.flip(2)), rtol=1e-3, atol=0)


def ibm(state):
    return {f"{key}_se.fc1.weight" if ".tam." in key else key: value for key, value in state.items()}


def test_a_file_of_ibm_with_and_without_prefix_and_of_another_depth(tmp_path):
    state = ibm(FAMILY.presets["tiny"].make(3).state_dict())
    clips = torch.rand(1, 3, 8, 64, 64)
    answers = []
    for prefix in ("", "module."):
        torch.save({"state_dict": {prefix + key: value for key, value in state.items()}}, tmp_path / "tiny.pth")
        answers.append(build(f"tam:weights={tmp_path}/tiny.pth")(clips))
    assert torch.equal(*answers)
    with torch.device("meta"):
        shapes = FAMILY.presets["r101"].make(3).state_dict()
    torch.save(ibm({key: torch.zeros(()).expand(value.shape) for key, value in shapes.items()}), tmp_path / "r101.pth")
    with pytest.raises(InputError, match="looks like a ResNet-101 with TAM; use tam:preset=r101"):
        build(f"tam:weights={tmp_path}/r101.pth")


def test_published_code_gives_the_same_answers(tmp_path):
    check_oracle("tam-ibm", "tam:preset=r50", tmp_path)
