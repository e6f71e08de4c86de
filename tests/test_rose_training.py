"""The training of ROSE 2022's winner: its loss by hand, its corruptions, its mixup, and that it learns."""

import numpy as np
import pytest
import torch
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.training.clips import Split
from robustvideo.benchmark.training.entries import Recipe
from robustvideo.benchmark.training.loop import Plan
from robustvideo.benchmark.training.loop import run as fit
from robustvideo.defenses import rose
from robustvideo.defenses.rose import Rose, draw_mixup, mixed, trades_plus_plus
from scipy import stats

SMALL = "tsm:frames=2,size=32,weights=random"


@pytest.fixture
def model():
    return build_model(resolve("model", SMALL), "none", "ab")


@pytest.fixture
def whole():
    """Clips of whole grey levels, as a training has them, that models of 32 pixels take."""
    return torch.randint(0, 256, (4, 3, 2, 32, 32), generator=torch.Generator().manual_seed(2)).float() / 255


def shares(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_the_loss_is_equation_1():
    clean, corrupted = (np.random.default_rng(seed).normal(size=(4, 3)) for seed in (0, 1))
    targets = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.3, 0.0, 0.7], [0.0, 0.5, 0.5]])
    p, q = shares(clean), shares(corrupted)
    wanted = -(targets * (np.log(p) + np.log(q))).sum() / 4 + 2.5 * (p * np.log(p / q)).sum() / 4
    found = trades_plus_plus(*map(torch.from_numpy, (clean, corrupted, targets)), 2.5)
    assert float(found) == pytest.approx(wanted, rel=1e-12)
    hard = trades_plus_plus(torch.from_numpy(clean[:2]), torch.from_numpy(corrupted[:2]), torch.tensor([1, 0]), 0.0)
    assert float(hard) == pytest.approx(-np.log([p[0, 1], p[1, 0]]).mean() - np.log([q[0, 1], q[1, 0]]).mean(), rel=1e-12)


def test_mixup_by_hand():
    values = torch.tensor([[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]])
    found = mixed(values, torch.tensor([1.0, 0.75, 0.5]), torch.tensor([2, 0, 1]))
    assert found.tolist() == [[10.0, 20.0], [25.0, 35.0], [40.0, 50.0]]


@pytest.mark.parametrize("alpha", [0.2, 1.5])
def test_shares_come_from_the_beta_distribution_and_partners_are_a_random_order(alpha, streams):
    share, partner = draw_mixup(alpha, streams(2000))
    assert stats.kstest(share.double().numpy(), stats.beta(alpha, alpha).cdf).pvalue > 0.01
    assert partner.sort().values.tolist() == list(range(2000))
    assert (partner == torch.arange(2000)).sum() < 10 and abs(np.corrcoef(partner, np.arange(2000))[0, 1]) < 0.1
    again, same = draw_mixup(alpha, streams(2000))
    assert torch.equal(share, again) and torch.equal(partner, same)
    assert not torch.equal(share, draw_mixup(alpha, streams(2000, 1))[0])


@pytest.mark.parametrize("severity", [2, 5])
def test_clips_go_through_the_registered_mixture(severity, model, whole, streams):
    before = whole.clone()
    learner = Rose(rate=0.75, severity=severity).learner(model)
    corruption = resolve("corruption", "rose_mixture:rate=0.75").create()
    wanted = corruption.apply((whole * 255).round().to(torch.uint8), severity, streams(4))
    found = learner.corrupted(whole, streams(4))
    assert torch.equal((found * 255).round().to(torch.uint8), wanted) and torch.equal(whole, before)
    assert (wanted != (whole * 255).round()).any()
    assert torch.equal(Rose(rate=0.0).learner(model).corrupted(whole, streams(4)), whole)


def test_a_training_step_by_hand(model, whole, streams, monkeypatch):
    labels, share, partner = torch.tensor([0, 1, 1, 0]), torch.tensor([0.9, 0.6, 1.0, 0.5]), torch.tensor([1, 3, 0, 2])
    monkeypatch.setattr(rose, "draw_mixup", lambda alpha, rng: (share, partner))
    learner = Rose(rate=1.0, balance=3.0).learner(model)
    learner.switch(False)  # the norms' statistics stand still, so that clips can be asked one by one
    corrupted, wanted = learner.corrupted(whole, streams(4)), 0.0
    for row, (own, other) in enumerate(zip(share.tolist(), partner.tolist(), strict=True)):
        answers = []
        for clips in (whole, corrupted):
            clip = own * clips[row] + (1 - own) * clips[other]
            answers.append(shares(learner.network(clip[None]).double().numpy())[0])
        p, q = answers
        for answer in answers:
            wanted -= own * np.log(answer[labels[row]]) + (1 - own) * np.log(answer[labels[other]])
        wanted += 3.0 * (p * np.log(p / q)).sum()
    assert float(learner.loss(whole, labels, streams(4))) == pytest.approx(wanted / 4, rel=1e-4)


def test_without_mixup_clips_stay_whole(model, whole, streams, monkeypatch):
    labels, learner = torch.tensor([0, 1, 1, 0]), Rose(mixup=0.0).learner(model)
    learner.switch(False)
    monkeypatch.setattr(rose, "draw_mixup", lambda alpha, rng: pytest.fail("mixup"))
    clean, other = learner.network(whole), learner.network(learner.corrupted(whole, streams(4)))
    assert torch.equal(learner.loss(whole, labels, streams(4)), trades_plus_plus(clean, other, labels, 1.0))


def test_it_learns_and_is_tried_by_corrupted_clips(model):
    def toy(count, seed):
        labels = torch.arange(count) % 2
        noise = torch.randint(0, 60, (count, 3, 2, 32, 32), generator=torch.Generator().manual_seed(seed))
        return (noise + 120 * labels.view(-1, 1, 1, 1, 1)).to(torch.uint8), labels

    defense, seen = Rose(), Split(*toy(24, 0))
    trial = defense.trial
    assert resolve(trial.kind, trial.spec).create().rate == 1.0
    recipe = Recipe(epochs=3, batch_size=8, lr=3e-3, keep="best")
    plan = Plan(defense.learner(model), seen, Split(*toy(16, 1)), recipe, trial)
    fit(plan)
    assert plan.history[-1].loss < plan.history[0].loss
    kept = plan.history[plan.kept - 1]
    assert kept.accuracy == 1.0 and kept.robust == max(epoch.robust for epoch in plan.history) >= 0.8


@pytest.mark.parametrize("spec", ["rose:rate=1.5", "rose:severity=6", "rose:mixup=-1", "rose:balance=-0.5"])
def test_what_makes_no_sense_is_refused(spec):
    with pytest.raises(InputError, match=f"defense rose: {spec[5:].partition('=')[0]}: .* out of bounds"):
        resolve("defense", spec)
