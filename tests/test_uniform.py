"""The single-frame baseline against its definition."""

import pytest
import torch
from robustvideo.benchmark import evaluate
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.defenses.uniform import Uniform


@pytest.mark.parametrize(("frames", "middle"), [(1, 0), (2, 1), (7, 3), (8, 4)])
def test_the_middle_frame_is_shown_at_all_times(frames, middle, streams):
    clips = torch.rand(2, 3, frames, 5, 7)
    before = clips.clone()
    made = Uniform().purify(clips, streams(2))
    assert made.shape == clips.shape and torch.equal(clips, before)
    for t in range(frames):
        assert torch.equal(made[:, :, t], clips[:, :, middle])


@pytest.mark.parametrize("frame", [0, 3, 7])
def test_every_frame_can_be_named(frame, clips, streams):
    made = Uniform(frame).purify(clips, streams(5))
    assert torch.equal(made, torch.stack([clips[:, :, frame]] * 8, dim=2))


def test_the_gradient_is_summed_at_the_frame(clips, net, streams):
    leaf, shown = clips.clone().requires_grad_(), Uniform(2).purify(clips, streams(5)).requires_grad_()
    (found,) = torch.autograd.grad(Uniform(2).protect(lambda x, rng: net(x))(leaf, streams(5)).sum(), leaf)
    (wanted,) = torch.autograd.grad(net(shown).sum(), shown)
    torch.testing.assert_close(found[:, :, 2], wanted.sum(dim=2))
    assert found[:, :, [0, 1, 3, 4, 5, 6, 7]].abs().max() == 0


def test_other_frames_cannot_be_attacked(clips, net, streams):
    """The paper's reason: what an attack adds to other frames is not shown."""
    attacked = clips.clone()
    attacked[:, :, [0, 1, 2, 3, 5, 6, 7]] = torch.rand(5, 3, 7, 12, 12)
    defended = Uniform().protect(lambda x, rng: net(x))
    assert torch.equal(defended(attacked, streams(5)), defended(clips, streams(5)))


def test_frames_that_are_not_there_are_refused_before_anything_is_computed(net, clips, labels, tmp_path):
    with pytest.raises(InputError, match="uniform: frame: 8 is beyond the last .*; it must be from 0 to 7"):
        evaluate(net, (clips, labels), (), "uniform:frame=8", store=tmp_path)
    assert not list(tmp_path.rglob("*.json"))
    with pytest.raises(InputError, match="uniform: frame: -1 is out of bounds"):
        resolve("defense", "uniform:frame=-1")
    assert (evaluate(net, (clips, labels), (), "uniform:frame=7")["status"] == "ok").all()
