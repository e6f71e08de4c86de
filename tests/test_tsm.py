"""TSM against its definition, torchvision, and the answers of the authors' and mmaction2's code."""

import pytest
import torch
import torchvision
from oracles import check_oracle
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.models.resnet import ResNet
from robustvideo.benchmark.models.tsm import TSMNet, shift


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
        torch.testing.assert_close(ours(frames), theirs(frames), rtol=1e-4, atol=1e-4)


def test_deep_nets_shift_in_every_second_block():
    assert TSMNet(2, 8, (1, 2, 23)).every == 2
    assert TSMNet(2, 8, (3, 4, 6)).every == 1


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


@pytest.mark.parametrize("name", ["tsm-mit-r50", "tsm-mmaction2"])
def test_published_code_gives_the_same_answers(name, tmp_path):
    check_oracle(name, "tsm:preset=r50", tmp_path)
