"""What the attacks that ask for scores alone share, and V-BAD and GEO-TRAP by their definitions."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from robustvideo.attacks import vbad
from robustvideo.attacks.geotrap import GeoTrap, warped_noise
from robustvideo.attacks.square import Square
from robustvideo.attacks.vbad import VBAD, over_patches
from robustvideo.benchmark.core import registry
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.losses import cw, margin
from robustvideo.benchmark.core.search import Search
from robustvideo.defenses.shuffle import Shuffle
from torch import nn

QUICK = partial(VBAD, samples=16, split=4, step=0.05)
"""Made for a hundred times as many queries, V-BAD takes larger steps here, by fewer samples."""

ATTACKS = [pytest.param(attack, id=name) for attack, name in ((Square, "square"), (QUICK, "vbad"), (GeoTrap, "geotrap"))]

EPS = {Square: 0.1, QUICK: 0.4, GeoTrap: 0.1}
"""Budgets at which 200 queries solve some of the clips, not all at once."""


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("queries", [1, 2, 3, 4, 17, 18, 20])
def test_the_cap_is_spent_to_the_last_query(attack, queries, net, clips, labels, target, streams):
    """Without a budget no clip is fooled, so each has to get all of them, and not one more."""
    counted = target(net, 5, until_fooled=True, labels=labels)
    attack(eps=0.0, queries=queries).run(counted, clips, labels, streams(5))
    assert counted.queries.tolist() == [queries] * 5


@pytest.mark.parametrize("name", ["square", "vbad", "geotrap"])
def test_no_queries_are_refused(name):
    with pytest.raises(InputError, match="queries: 0 is out of bounds"):
        registry.resolve("attack", f"{name}:queries=0")


@pytest.mark.parametrize("attack", ATTACKS)
def test_fooled_clips_leave_the_passes(attack, net, clips, labels, target, streams):
    widths = []

    def watch(x):
        widths.append(len(x))
        return net(x)

    counted = target(watch, 5, until_fooled=True, labels=labels)
    made = attack(eps=EPS[attack], queries=200).run(counted, clips, labels, streams(5))
    solved = counted.solved
    assert solved.unique().numel() > 1
    assert sum(widths) == counted.queries.sum() < 5 * 200
    assert sorted(widths, reverse=True) == widths
    spent = torch.where(solved > 0, counted.queries - solved, 0)
    assert spent.max() <= 1, "a clip that the first probe of a pair solves still gets the second"
    assert torch.equal(margin(net(made), labels) <= 0, solved > 0)


@pytest.mark.parametrize("attack", ATTACKS)
def test_whatever_a_query_solves_is_handed_over(attack, net, clips, labels, target, streams):
    """At full strength too, and also where the solution was a probe."""
    counted = target(net, 5, labels=labels)
    made = attack(eps=EPS[attack], queries=200).run(counted, clips, labels, streams(5))
    assert counted.queries.tolist() == [200] * 5
    assert (counted.solved > 0).any()
    assert torch.equal(margin(net(made), labels) <= 0, counted.solved > 0)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_random_target_lets_no_clip_go(attack, net, clips, labels, target, streams):
    counted = target(net, 5, [Shuffle(draws=2)], until_fooled=True, labels=labels)
    attack(eps=0.3, queries=60).run(counted, clips, labels, streams(5))
    assert counted.queries.tolist() == [60] * 5


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("size", [(9, 14), (14, 9), (5, 3)])
def test_frames_of_any_size(attack, size, target, streams):
    """The score rises with the mean: the attacks find darker or brighter clips in frames of any shape."""
    clips = torch.full((4, 3, 3, *size), 0.5)
    labels = torch.tensor([0, 1, 0, 1])

    def score(x):
        return torch.stack([x.mean(dim=(1, 2, 3, 4)), 1 - x.mean(dim=(1, 2, 3, 4))], dim=1)

    made = attack(eps=0.1, queries=200).run(target(score, 4), clips, labels, streams(4))
    assert ((score(made) - score(clips))[torch.arange(4), labels] < 0).all()


@pytest.mark.parametrize("attack", ATTACKS)
def test_they_beat_random_search(attack, net, target, streams):
    """Drawing every pixel's change anew from the ends of the budget for each query, the best of 200 counts."""
    clips = torch.rand(10, 3, 8, 12, 12, generator=torch.Generator().manual_seed(9))
    labels, eps, queries = net(clips).argmax(dim=1), 0.1, 200
    search = Search(target(net, 10), clips, labels, streams(10), queries)
    for _ in range(queries):
        search.ask((clips + eps * search.rng.normal(clips.shape[1:]).sign()).clamp(0, 1))
    made = attack(eps=eps, queries=queries).run(target(net, 10), clips, labels, streams(10))
    margins = margin(net(made), labels)
    assert (margins <= 0).sum() > search.best.fooled.sum()
    assert margins.mean() < margin(net(search.best.clips), labels).mean()


def test_a_single_query_that_is_left_goes_to_the_first_of_a_pair(net, clips, labels, target, streams):
    counted = target(net, 5)
    search = Search(counted, clips, labels, streams(5), 3)
    assert (search.contrast(clips, 1 - clips) != 0).all()
    assert search.contrast(clips, 1 - clips).tolist() == [0.0] * 5
    assert counted.queries.tolist() == [3] * 5 and not search.goes_on()


class Fixed:
    """A stream whose draws are given."""

    def __init__(self, *draws):
        self._draws = list(draws)

    def normal(self, shape):
        """The next of them."""
        return self._draws.pop(0)


def test_the_noise_frame_is_scaled_moved_and_zero_outside():
    """In units of half a frame: a shift of 2/(W - 1) is a pixel, a scale of -1 turns the frame by half a circle."""
    frame = torch.arange(1.0, 13.0).view(1, 1, 3, 4)
    moves = torch.tensor([[[1.0, 0, 0], [1, 2 / 3, 0], [1, 0, 1], [-1, 0, 0]]])
    warped = warped_noise(torch.zeros(1, 1, 4, 3, 4), "translation-dilation", Fixed(frame, moves))[0, 0]
    torch.testing.assert_close(warped[0], frame[0, 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(warped[1], F.pad(frame[0, 0, :, 1:], (0, 1)), atol=1e-4, rtol=0)
    torch.testing.assert_close(warped[2], F.pad(frame[0, 0, 1:], (0, 0, 0, 1)), atol=1e-4, rtol=0)
    torch.testing.assert_close(warped[3], frame[0, 0].flip(0, 1), atol=1e-4, rtol=0)
    affine = torch.tensor([[[[1.0, 0, 0], [0, 1, 0]], [[-1, 0, 0], [0, 1, 0]]]])
    warped = warped_noise(torch.zeros(1, 1, 2, 3, 4), "affine", Fixed(frame, affine))[0, 0]
    torch.testing.assert_close(warped[1], frame[0, 0].flip(1), atol=1e-4, rtol=0)


def test_geotrap_climbs_by_the_first_slope_along_its_noise(target, streams):
    """Of a score that is linear in the clip the first step goes up: along the noise, or against it, by its sign."""
    clips, weight = torch.full((1, 3, 2, 6, 6), 0.5), torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(3))
    labels = torch.tensor([0])

    def score(x):
        return torch.stack([(x * weight).sum(dim=(1, 2, 3, 4)), torch.zeros(len(x))], dim=1)

    clips += 0.01 * weight * (0.2 - score(clips)[0, 0]) / (0.01 * (weight**2).sum())  # a small margin: probabilities move
    seen = []

    def watch(x):
        seen.append(x.clone())
        return score(x)

    GeoTrap(queries=3, eps=0.1).run(target(watch, 1), clips, labels, streams(1))
    noise = warped_noise(clips, "translation-dilation", streams(1))
    slope = float((weight * noise / noise.flatten(3).norm(dim=3).norm(dim=1)[:, None, :, None, None].clamp_min(1e-9)).sum())
    torch.testing.assert_close(seen[2], clips - 0.025 * math.copysign(1, slope) * noise.sign(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(16, 24), (8, 8), (13, 6)])
def test_patches_tile_a_frame(size):
    values = torch.randn(2, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    spread = over_patches(values, *size)
    assert spread.shape == (2, 1, 3, *size)
    if size[0] % 8 == size[1] % 8 == 0:
        assert torch.equal(spread, F.interpolate(values, (3, *size)))
    assert torch.equal(spread[..., 0, 0], values[..., 0, 0])


def test_vbad_goes_up_along_its_directions(target, streams):
    """With one patch per frame and a linear score every step raises the loss by step * |sum of weight * t| of each frame."""
    clips, weight = torch.full((1, 3, 1, 6, 6), 0.5), torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    seen = []

    def score(x):
        seen.append((x * weight).sum().item())
        return torch.stack([(x * weight).sum(dim=(1, 2, 3, 4)), torch.zeros(len(x))], dim=1)

    labels = (score(clips)[:, 0] < 0).long()
    seen.clear()
    VBAD(split=1, samples=4, queries=5 * 8, eps=0.4, step=0.01, least_step=0.01).run(target(score, 1), clips, labels, streams(1))
    at_iterates = torch.tensor(seen[::5])
    assert len(at_iterates) == 8
    falls = at_iterates.diff() * (1 if labels[0] else -1)
    assert (falls > 0).all()


def test_the_step_halves_when_the_loss_stands_still(net, clips, labels, target, streams, monkeypatch):
    sizes = []
    monkeypatch.setattr(VBAD, "_advance", lambda self, search, ball, x, step: sizes.append(step.tolist()))
    attack = VBAD(step=0.01, least_step=0.003, queries=100)
    attack.run(target(net, 5), clips, labels, streams(5))
    assert [sizes[number] == [pytest.approx(0.01)] * 5 for number in (0, 19)] == [True, True]
    assert sizes[20] == [pytest.approx(0.005)] * 5 and sizes[40] == sizes[99] == [pytest.approx(0.003)] * 5


class TinyResNet(nn.Sequential):
    """Stands for ResNet-50, whose weights are 100 MB."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))


def test_tentative_directions_of_an_image_network(tmp_path, monkeypatch, net, clips, labels, target, streams):
    monkeypatch.setattr(vbad.torchvision.models, "resnet50", TinyResNet)
    path = tmp_path / "resnet50.pth"
    torch.save(TinyResNet().state_dict(), path)
    attack = VBAD(tentative="resnet50", weights=str(path), eps=0.1, queries=98)
    directions = attack._tentative(clips, streams(5))
    assert set(directions.unique().tolist()) <= {-1.0, 0.0, 1.0} and directions.shape == clips.shape
    made = attack.run(target(net, 5), clips, labels, streams(5))
    assert cw(net(made), labels).mean() > cw(net(clips), labels).mean()


def test_weights_that_are_missing_or_damaged_get_one_line(tmp_path, clips, streams):
    with pytest.raises(InputError, match="tentative=resnet50 needs a file"):
        VBAD(tentative="resnet50")
    with pytest.raises(InputError, match="nowhere.pth is not a file"):
        VBAD(tentative="resnet50", weights="nowhere.pth")
    damaged = tmp_path / "damaged.pth"
    for content in (b"", b"no weights"):
        damaged.write_bytes(content)
        vbad.resnet50.cache_clear()
        with pytest.raises(InputError, match="does not hold torchvision's resnet50"):
            VBAD(tentative="resnet50", weights=str(damaged))._tentative(clips, streams(5))
