"""TRADES against its equation, in double precision, and against the loss of another library."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import Model
from robustvideo.benchmark.core.registry import resolve
from robustvideo.defenses.trades import Trades, divergence
from torch import nn


@pytest.fixture
def double(net):
    return copy.deepcopy(net).double()


def published(model, clips, start, eps, step, steps):
    """The inner maximisation as the authors' code writes it, without their four-dimensional shapes."""
    made = start
    for _ in range(steps):
        made = made.detach().requires_grad_()
        before, after = model(clips).softmax(dim=1), model(made).softmax(dim=1)
        (before * (before.log() - after.log())).sum().backward()
        made = made.detach() + step * made.grad.sign()
        made = torch.min(torch.max(made, clips - eps), clips + eps).clamp(0, 1)
    return made


def test_the_divergence_by_hand():
    reference, logits = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]]), torch.tensor([[2.0, 1.0, 0.0], [5.0, 5.0, 5.0]])
    p = np.exp([1, 2, 4]) / np.exp([1, 2, 4]).sum()
    q = np.exp([2, 1, 0]) / np.exp([2, 1, 0]).sum()
    assert divergence(logits, reference).tolist() == pytest.approx([(p * np.log(p / q)).sum(), 0], abs=1e-6)


@pytest.mark.parametrize(("beta", "step"), [(6.0, None), (0.5, 3 / 255)])
def test_value_and_gradient_are_the_published_ones(beta, step, double, clips, labels, streams):
    clips, defense = clips.double(), Trades(eps=8 / 255, beta=beta, steps=4, step=step)
    learner = defense.learner(double)
    learner.switch(True)
    found = learner.loss(clips, labels, streams(5))
    found.backward()

    start = clips + 0.001 * streams(5).normal(clips.shape[1:]).double()
    made = published(double, clips, start, 8 / 255, 2.5 * 8 / 255 / 4 if step is None else step, 4)
    double.requires_grad_(True)
    clean, other = double(clips).softmax(dim=1), double(made).softmax(dim=1)
    cross_entropy = -clean[torch.arange(5), labels].log().sum() / 5
    wanted = cross_entropy + beta * (clean * (clean / other).log()).sum() / 5
    wanted.backward()
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)
    for one, two in zip(learner.network.parameters(), double.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-7, atol=1e-12)
    assert (wanted - cross_entropy).detach() > 1e-4, "the attack found nothing, so that nothing was compared"


def test_arts_trainer_takes_the_same_step(net, clips, labels, streams):
    trainers = pytest.importorskip("art.defences.trainer.adversarial_trainer_trades_pytorch")
    estimators = pytest.importorskip("art.estimators.classification")
    theirs, learner = copy.deepcopy(net).requires_grad_(True), Trades(steps=2, beta=3.0).learner(net)
    learner.switch(True)
    made = learner.attacked(clips, streams(5)).numpy()

    class Made:
        def generate(self, x, y=None):
            return made

    classifier = estimators.PyTorchClassifier(
        theirs,
        nn.CrossEntropyLoss(),
        input_shape=clips.shape[1:],
        nb_classes=6,
        optimizer=torch.optim.SGD(theirs.parameters(), 1.0),
    )
    onehot = F.one_hot(labels, 6).numpy().astype(np.float32)
    loss, _, _ = trainers.AdversarialTrainerTRADESPyTorch(classifier, Made(), beta=3.0)._batch_process(clips.numpy(), onehot)
    mine = learner.loss(clips, labels, streams(5))
    mine.backward()
    assert mine.item() == pytest.approx(loss / 5, rel=1e-5)
    pairs = zip(learner.network.parameters(), net.parameters(), theirs.parameters(), strict=True)
    for learned, before, after in pairs:
        torch.testing.assert_close(learned.grad, before - after, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 3, 8, 12, 12), (3, 3, 5, 7, 13)])
def test_the_attack_keeps_its_budget_and_raises_the_divergence(shape, net, streams):
    clips = torch.rand(shape, generator=torch.Generator().manual_seed(4))
    before = clips.clone()

    def look(x):
        return net.net(net.shift + x * net.scale)

    learner = Trades(eps=6 / 255, steps=3).learner(net)
    learner.score = lambda x, rng: look(x)
    made = learner.attacked(clips, streams(len(clips)))
    assert torch.equal(clips, before) and (made - clips).abs().max() <= 6 / 255 + 1e-6
    assert made.min() >= 0 and made.max() <= 1
    corner = (clips + 6 / 255 * (2 * torch.randint(0, 2, shape) - 1)).clamp(0, 1)
    assert divergence(look(made), look(clips)).mean() > 3 * divergence(look(corner), look(clips)).mean()
    nothing = Trades(eps=0.0).learner(net)
    nothing.score = learner.score
    assert torch.equal(nothing.attacked(clips, streams(3)), clips)


class Normed(nn.Module):
    """Remembers in which mode it was asked."""

    def __init__(self):
        super().__init__()
        self.norm, self.head, self.modes = nn.BatchNorm3d(3), nn.Linear(3, 6), []

    def forward(self, clips):
        self.modes.append(self.training)
        return self.head(self.norm(clips).relu().mean(dim=(2, 3, 4)))


def test_it_attacks_in_eval_mode_and_learns_in_training_mode(net, clips, labels, streams):
    learner = Trades(steps=3).learner(Model(Normed(), net.input, 6))
    learner.switch(True)
    learner.loss(clips, labels, streams(5)).backward()
    inner = learner.network.net
    assert inner.modes == [False] * 4 + [True] * 2
    assert int(inner.norm.num_batches_tracked) == 2 and inner.head.weight.grad.abs().sum() > 0


def test_training_by_it_makes_neighbours_agree(net, clips, labels, streams):
    """Some steps down the loss: with beta the divergence within the budget ends lower than without."""
    ends = []
    for beta in (0.0, 6.0):
        learner = Trades(beta=beta).learner(net)
        learner.switch(True)
        optimizer = torch.optim.SGD(learner.learning(), lr=0.02)
        for number in range(15):
            optimizer.zero_grad()
            learner.loss(clips, labels, streams(5, number)).backward()
            optimizer.step()
        made = learner.attacked(clips, streams(5, 99))
        ends.append(divergence(learner.network(made), learner.network(clips)).mean().item())
    assert ends[1] < 0.5 * ends[0]


def test_its_trial_and_what_is_refused():
    trial = Trades(eps=5 / 255).trial
    attack = resolve(trial.kind, trial.spec).create()
    assert (attack.norm, attack.eps, attack.steps) == ("linf", 5 / 255, 10)
    with pytest.raises(InputError, match="did you mean 8/255"):
        Trades(eps=8.0)
    with pytest.raises(InputError, match="trades: beta"):
        resolve("defense", "trades:beta=-1")
