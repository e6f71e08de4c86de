"""The standard attacks: who is asked in which order, who leaves, and what is kept."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from conftest_models import build_net
from robustvideo.attacks.pgd import PGD
from robustvideo.attacks.vauto import VAuto, Worst
from robustvideo.attacks.vauto_rand import VAutoRand
from robustvideo.benchmark.core.attack import Attack
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.losses import margin
from robustvideo.defenses.shuffle import Shuffle
from torch import nn


@pytest.fixture
def brief(monkeypatch):
    """The presets in small."""
    monkeypatch.setattr(VAuto, "steps", 8)
    monkeypatch.setattr(VAuto, "queries", 40)


@dataclass(frozen=True)
class Brighten(Attack):
    """A stand-in: it makes clips of one brightness, and keeps which clips it was given."""

    value: float
    given: Any
    norm: str = "linf"
    eps: float = 1.0

    def run(self, target, clips, labels, rng):
        self.given.append(rng.positions.tolist())
        return torch.full_like(clips, self.value)


def standing_in(kind, *values):
    """An attack whose members make clips of these brightnesses, and what they were given."""
    given = []

    @dataclass(frozen=True)
    class StandIn(kind):
        def members(self, classes):
            return [None if value is None else Brighten(value, given) for value in values]

    return StandIn(eps=0.5), given


class Limits(nn.Module):
    """Says 0 as long as a clip's mean brightness stays below its own limit: .3, .5, .5 and .9.

    Which clips it is asked for it tells by their number, because each member is given fewer of them.
    """

    rows = {4: [0, 1, 2, 3], 3: [1, 2, 3], 1: [3]}

    def forward(self, clips):
        above = clips.flatten(1).mean(dim=1) - torch.tensor([0.3, 0.5, 0.5, 0.9])[self.rows[len(clips)]]
        return torch.stack([-above, above, torch.full_like(above, -9)], dim=1)


def dark(count=4):
    """Clips of brightness .1, and class 0."""
    return torch.full((count, 3, 2, 4, 4), 0.1), torch.zeros(count, dtype=torch.long)


def test_survivors_go_on_and_who_broke_a_clip_is_noted(target, streams):
    clips, labels = dark()
    attack, given = standing_in(VAuto, 0.4, None, 0.6, 0.7, 0.2)
    counted = target(Limits(), 4, labels=labels)
    made = attack.run(counted, clips, labels, streams(4))
    assert given == [[0, 1, 2, 3], [1, 2, 3], [3], [3]], "the second has no member"
    assert counted.notes["broken_by"].tolist() == [0, 2, 2, -1]
    assert counted.queries.tolist() == [2, 3, 3, 5], "one for the classes, one after each member"
    assert made[:, 0, 0, 0, 0].tolist() == pytest.approx([0.4, 0.6, 0.6, 0.7]), "of what fooled nobody, the lowest margin"


def test_nobody_is_asked_when_nobody_is_left(target, streams):
    clips, labels = dark()
    attack, given = standing_in(VAuto, 1.0, 1.0)
    counted = target(Limits(), 4, labels=labels)
    attack.run(counted, clips, labels, streams(4))
    assert given == [[0, 1, 2, 3]] and counted.notes["broken_by"].tolist() == [0] * 4


class Flaky:
    """A defence that now and then answers wrongly, the oftener the brighter the clip."""

    stochastic, draws, gradient = True, 1, "exact"

    def protect(self, model):
        def scorer(clips, rng):
            wrong = rng.uniform(()) < clips.flatten(1).mean(dim=1)
            return torch.where(wrong[:, None], torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]))

        return scorer


def test_of_a_random_defence_ten_fresh_answers_decide(target, streams):
    clips, labels = dark(6)
    attack, given = standing_in(VAutoRand, 0.2, 0.9, 0.5)
    counted = target(nn.Identity(), 6, [Flaky()], until_fooled=True, labels=labels)
    made = attack.run(counted, clips, labels, streams(6))
    assert given == [list(range(6))] * 3, "no clip leaves"
    assert counted.queries.tolist() == [1 + 3 * 10] * 6
    assert (made == 0.9).all() and counted.notes["broken_by"].tolist() == [1] * 6


def test_the_worst_is_the_one_least_often_right():
    clips = torch.zeros(3, 1, 1, 1, 1)
    worst, rows = Worst(clips), torch.arange(3)
    worst.offer(0, rows, clips + 0.1, torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, -1.0]]))
    worst.offer(1, rows, clips + 0.2, torch.tensor([[0.5, 1.0, -2.0], [0.5, 1.0, 5.0]]))
    worst.offer(2, rows[1:], clips[1:] + 0.3, torch.tensor([[-1.0, -3.0], [-1.0, -3.0]]))
    torch.testing.assert_close(worst.clips.flatten(), torch.tensor([0.2, 0.3, 0.3]))
    assert worst.right.tolist() == [1.0, 0.0, 0.0] and worst.by.tolist() == [-1, 2, 2]


@pytest.mark.parametrize("classes", [2, 3, 4, 100])
def test_members_in_their_order(classes):
    ce, second, square, static, flicker = VAuto(eps=8 / 255).members(classes)
    names = [member and member.registered[1] for member in (ce, second, square, static, flicker)]
    assert names == ["apgd", None if classes == 2 else "apgd", "square", "static", "flicker-fixed"]
    assert ce.loss == "ce" and (classes == 2 or second.loss == ("dlr" if classes == 3 else "targeted-dlr"))
    assert (ce.steps, square.queries, static.steps, flicker.steps) == (100, 5000, 100, 100)
    first, dlr, *temporal = VAutoRand(norm="l2", eps=1.0).members(classes)
    assert [member.registered[1] for member in temporal] == ["static", "flicker-fixed"]
    assert first.loss == "ce" and (dlr is None if classes == 2 else dlr.loss == "dlr")
    every = [*VAuto(norm="l2", eps=1.0).members(classes), first, dlr, *temporal]
    assert {(member.norm, member.eps) for member in every if member} == {("l2", 1.0)}
    assert (VAuto().eot, VAutoRand().eot) == (1, 20)


@pytest.mark.parametrize(("kind", "defenses"), [(VAuto, []), (VAutoRand, [Shuffle()])])
def test_calls_are_what_a_clip_that_withstands_costs(kind, defenses, brief, streams, clips, target):
    net = build_net(10)
    labels = net(clips).argmax(dim=1)
    counted, attack = target(net, 5, defenses, labels=labels), kind(eps=1e-5)
    attack.run(counted, clips, labels, streams(5))
    assert (counted.notes["broken_by"] == -1).all()
    gradients, queries = attack.calls
    assert counted.gradients.tolist() == [gradients] * 5
    assert (counted.queries <= queries).all() and (counted.queries >= 4 * attack.rechecks).all()


def test_never_weaker_than_a_member(brief, net, clips, labels, target, streams):
    attack = VAuto(eps=3 / 255)
    counted = target(net, 5, labels=labels, until_fooled=True)
    right = margin(net(attack.run(counted, clips, labels, streams(5))), labels) > 0
    assert 0 < counted.gradients.min() < counted.gradients.max(), "some clips leave early"
    assert torch.equal(right, counted.notes["broken_by"] < 0)
    for member in attack.members(6):
        alone = member.run(target(net, 5, labels=labels, until_fooled=True), clips, labels, streams(5))
        assert (right <= (margin(net(alone), labels) > 0)).all()


def test_breaks_a_model_whose_cross_entropy_has_no_slope(brief, net, clips, labels, target, streams):
    """Large logits saturate the softmax: PGD on cross-entropy gets gradients of 0."""

    class Saturated(nn.Module):
        def forward(self, x):
            return 1e4 * net(x)

    blind = PGD(eps=8 / 255, steps=20).run(target(Saturated(), 5, labels=labels), clips, labels, streams(5))
    counted = target(Saturated(), 5, labels=labels)
    made = VAuto(eps=8 / 255).run(counted, clips, labels, streams(5))
    assert (margin(net(blind), labels) > 0).sum() > (margin(net(made), labels) > 0).sum()
    assert (counted.notes["broken_by"] > 0).any()


@pytest.mark.parametrize("kind", [VAuto, VAutoRand])
def test_a_budget_in_grey_levels_is_refused(kind):
    with pytest.raises(InputError, match=rf"attack {kind.registered[1]}: eps.*did you mean 8/255"):
        kind(eps=8.0)
