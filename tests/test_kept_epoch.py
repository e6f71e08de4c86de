"""Which epoch's weights a training keeps, also over a kill, and what it shows of its epochs."""

import time

import pytest
import torch
from robustvideo.benchmark.core.trained import Learner
from robustvideo.benchmark.training import loop
from robustvideo.benchmark.training.clips import Split
from robustvideo.benchmark.training.entries import Recipe
from robustvideo.benchmark.training.loop import Plan
from robustvideo.benchmark.training.progress import TrainProgress
from test_training import Killed, fresh, toy

SCRIPT = [(0.9, 0.2), (0.8, 0.5), (0.9, 0.5), (0.9, 0.5), (1.0, 0.4)]
"""Clean and robust accuracy by epoch. The second to fourth are the most robust, of them the third and fourth the better clean."""


@pytest.fixture
def scripted(monkeypatch):
    """A training whose accuracies are written down; it gives the plan and its weights after every epoch."""

    def run(keep="best", stop=None, path=None):
        seen = []

        def tried(learner, *rest):
            number = len(plan.history) + 1
            if number == stop:
                raise Killed
            return SCRIPT[number - 1]

        def snapshot(epoch):
            seen.append({key: value.clone() for key, value in plan.learner.network.state_dict().items()})

        monkeypatch.setattr(loop, "tried", tried)
        how = Recipe(epochs=5, batch_size=8, lr=1e-2, keep=keep)
        plan = Plan(Learner(fresh()), Split(*toy(16, 0)), Split(*toy(8, 1)), how, on_epoch=snapshot, keep=path, key="it")
        try:
            loop.run(plan)
        except Killed:
            assert stop
        return plan, seen

    return run


def equal(network, weights):
    return all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(("keep", "kept"), [("best", 4), ("last", 5)])
def test_the_best_epoch_by_robust_then_clean_accuracy_is_kept(keep, kept, scripted):
    plan, seen = scripted(keep)
    assert plan.kept == kept and equal(plan.learner.network, seen[kept - 1])
    assert not equal(plan.learner.network, seen[kept - 2])
    assert [(epoch.accuracy, epoch.robust) for epoch in plan.history] == SCRIPT


def test_the_best_epoch_survives_a_kill(scripted, tmp_path):
    _, whole = scripted()
    scripted(stop=5, path=tmp_path / "state")
    plan, rest = scripted(path=tmp_path / "state")
    assert len(rest) == 1 and plan.kept == 4 and equal(plan.learner.network, whole[3])
    assert plan.seconds > 0 and [epoch.number for epoch in plan.history] == [1, 2, 3, 4, 5]


def test_the_progress_line_counts_the_time_from_the_resume(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    epochs = [loop.Epoch(number, 0.5, 0.25, 0.125) for number in (1, 2, 3)]
    with TrainProgress(5, 50, True) as shown:
        shown.resume(epochs[:2])
        clock[0] = 10.0
        shown.epoch(epochs[2])
    assert capsys.readouterr().err == "epoch 3/5 loss 0.500 validation 25.0% robust 12.5% ETA 0:00:20\n"
