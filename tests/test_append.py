"""Frames at the end of every clip: which clean ones stay, what the others are, and that they do harm where they were not made."""

import pytest
import torch
from robustvideo.attacks.append import Append
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.losses import margin
from robustvideo.defenses.shuffle import Shuffle


def fitted(net, clips, labels, target, streams, **options):
    return Append(**options).fit(target(net, len(clips)), clips, labels, streams(len(clips), 3))


@pytest.fixture(scope="module")
def others(net):
    """Clips that the attack is made on."""
    clips = torch.rand(20, 3, 8, 12, 12, generator=torch.Generator().manual_seed(9))
    return clips, net(clips).argmax(dim=1)


@pytest.mark.parametrize(("count", "kept"), [(1, [0, 1, 2, 4, 5, 6, 7]), (2, [0, 2, 3, 4, 6, 7]), (4, [1, 3, 5, 7]), (7, [4])])
def test_clean_frames_are_picked_evenly_and_the_same_frames_follow(count, kept, net, clips, labels, others, target, streams):
    """The picks are the centres of equal segments: those of 8 frames of which 7 stay lie at 0.57, 1.71, 2.86, 4, ..."""
    attack = fitted(net, *others, target, streams, frames=count, steps=3)
    made = attack.run(target(net, 5), clips, labels, streams(5))
    assert torch.equal(made[:, :, : 8 - count], clips[:, :, kept])
    assert torch.equal(made[:, :, 8 - count :], made[:1, :, 8 - count :].expand(5, -1, -1, -1, -1))
    assert made.shape == clips.shape


def test_the_frames_stay_within_eps_of_grey(net, clips, labels, others, target, streams):
    for eps in (0.0, 0.1, 0.5):
        attack = fitted(net, *others, target, streams, frames=2, steps=12, step=0.05, eps=eps)
        frames = attack.run(target(net, 5), clips, labels, streams(5))[:, :, -2:]
        assert float((frames - 0.5).abs().amax()) == pytest.approx(eps, abs=1e-6)
        assert frames.min() >= 0 and frames.max() <= 1


def test_it_harms_clips_that_it_has_not_seen(net, clips, labels, others, target, streams):
    def left(eps):
        attack = fitted(net, *others, target, streams, frames=2, steps=30, step=0.05, eps=eps)
        counted = target(net, 5)
        made = attack.run(counted, clips, labels, streams(5))
        assert counted.gradients.sum() == counted.queries.sum() == 0
        return margin(net(made), labels)

    assert (left(0.5) < left(0.0)).all()
    assert (left(0.5) < 0).any()


def test_it_is_made_through_a_random_defence(net, others, target, streams):
    counted = target(net, 20, [Shuffle()], eot=3)
    attack = Append(steps=5).fit(counted, *others, streams(20))
    assert counted.gradients.sum() == 3 * (8 + 8 + 4 + 8 + 8)
    assert attack.pattern is not None and attack.pattern.shape == (1, 3, 1, 12, 12)


def test_too_many_frames(net, clips, labels, target, streams):
    with pytest.raises(InputError, match="attack append: frames: 8 leaves none of the 8 frames.*from 1 to 7"):
        Append(frames=8).check(net.input, net.classes)
    with pytest.raises(InputError, match="attack append: frames: 8 leaves none of the clip's 8 frames"):
        fitted(net, clips, labels, target, streams, frames=8)
    assert Append(frames=7).check(net.input, net.classes) is None


def test_frames_that_nobody_made(net, clips, labels, target, streams):
    assert Append().universal
    with pytest.raises(InputError, match="attack append: its universal pattern has not been made"):
        Append().run(target(net, 5), clips, labels, streams(5))
