"""Training a defence from end to end: what it writes, how it goes on after a kill, and what it refuses."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from robustvideo.benchmark.cli.main import main
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.files import sha256, write_atomically
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.core.trained import Learner
from robustvideo.benchmark.data.selection import manifest_sha256
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.training import checkpoint, loop, recipe
from robustvideo.benchmark.training.clips import Split
from robustvideo.benchmark.training.defended import train_defended
from robustvideo.benchmark.training.entries import Recipe
from robustvideo.benchmark.training.loop import Plan
from robustvideo.benchmark.training.progress import TrainProgress
from test_cli import heed_interrupts, video
from test_training import SMALL, fresh, toy

QUICK = Recipe(epochs=3, batch_size=8, lr=1e-3, weight_decay=0.05, keep="best")
NAME = "at-steps-1.tsm-tiny-frames-2-size-32.folder"
WORDS = ["train", "--model", f"{SMALL},weights=random", "--defense", "at:steps=1", "--dataset"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Bright and dark videos, 8 to learn from of each."""
    root = tmp_path_factory.mktemp("videos")
    for split, count in (("train", 8), ("val", 2), ("test", 2)):
        for number in range(count):
            video(root / split / "bright" / f"{number}.mp4", 150 + 2 * number)
            video(root / split / "dark" / f"{number}.mp4", 80 + 2 * number)
    return root


@pytest.fixture(scope="module")
def undisturbed(videos, tmp_path_factory):
    return trained(videos, tmp_path_factory.mktemp("undisturbed"))


def trained(videos, out, how=QUICK, progress=False, **values):
    parts = resolve("defense", "at:steps=1", **values), resolve("model", f"{SMALL},weights=random")
    return train_defended(*parts, resolve("dataset", "folder", root=str(videos)), how, out, progress)


def test_a_card_says_what_was_trained_how_and_what_came_out(undisturbed, videos):
    card = json.loads(undisturbed.with_suffix(".json").read_text())
    assert undisturbed.name == f"{NAME}.safetensors" and card["sha256"] == sha256(undisturbed)
    assert sorted(file.name for file in undisturbed.parent.iterdir()) == [f"{NAME}.json", f"{NAME}.safetensors"]
    assert card["defense"] == "at:rule=eps,steps=1,eps=8/255" and card["model"].startswith("tsm:") and card["dataset"] == "folder"
    assert card["recipe"]["seed"] == 0 and card["recipe"]["keep"] == "best" and card["recipe"]["epochs"] == 3
    records = resolve("dataset", "folder", root=str(videos)).create().records("train")
    assert card["manifest_sha256"]["train"] == manifest_sha256(records) and card["clips"] == {"train": 16, "val": 4, "test": 4}
    best = max(card["history"], key=lambda epoch: (epoch["robust"], epoch["accuracy"], epoch["number"]))
    assert card["kept_epoch"] == best["number"]
    assert (card["val_accuracy"], card["val_robust"]) == (best["accuracy"], best["robust"])
    assert card["trial"] == "pgd:eps=8/255,steps=10" and 0 <= card["test_robust"] <= card["test_accuracy"] <= 1
    assert card["starts_from"] == build_model(resolve("model", f"{SMALL},weights=random"), "folder", "ab").weights_sha256
    assert card["wall_seconds"] > 0


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_training_goes_on_to_the_same_bits(end, videos, undisturbed, tmp_path, capsys):
    recipe_words = ["--epochs", "3", "--batch-size", "8", "--lr", "1e-3"]
    words = [*WORDS, f"folder:root={videos}", *recipe_words, "--out", str(tmp_path)]
    command = [sys.executable, "-m", "robustvideo.benchmark.cli.main", *words]
    process = subprocess.Popen(
        command, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=heed_interrupts,
    )  # fmt: skip
    partial, deadline = tmp_path / f"{NAME}.partial", time.monotonic() + 60
    while not partial.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)  # in the second epoch
    process.send_signal(end)
    _, stderr = process.communicate(timeout=60)
    done = torch.load(partial, weights_only=True)["history"]
    assert 1 <= len(done) < 3 and [file.name for file in tmp_path.iterdir()] == [partial.name]
    if end == signal.SIGINT:
        assert process.returncode == 130 and "Traceback" not in stderr
        assert "vbench: interrupted; the same command goes on after the last whole epoch\n" in stderr
    assert "epoch 1/3 loss" in stderr and "robust" in stderr and "ETA 0:00:" in stderr
    again = trained(videos, tmp_path, progress=True)
    told = capsys.readouterr().err
    assert f"going on after epoch {len(done)} of 3, from {partial}" in told and "epoch 1/3" not in told
    assert again.read_bytes() == undisturbed.read_bytes()
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".safetensors"]
    cards = [json.loads(path.with_suffix(".json").read_text()) for path in (again, undisturbed)]
    assert [{**card, "wall_seconds": 0} for card in cards][0] == {**cards[1], "wall_seconds": 0}


class Killed(Exception):
    """Stands for a kill."""


@pytest.fixture
def killed(monkeypatch):
    """A training that dies in its second epoch."""

    def kill(make):
        real = loop._epoch

        def dying(plan, number, *rest):
            if number == 2:
                raise Killed
            return real(plan, number, *rest)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(loop, "_epoch", dying)
            make()

    return kill


@pytest.mark.parametrize("how", [replace(QUICK, seed=1), replace(QUICK, lr=2e-3)], ids=["seed", "recipe"])
def test_another_training_is_not_gone_on_from(how, killed, videos, tmp_path, capsys):
    killed(lambda: trained(videos, tmp_path / "one"))
    capsys.readouterr()
    made = trained(videos, tmp_path / "one", how, progress=True)
    assert f"{NAME}.partial is of another training" in capsys.readouterr().err
    assert made.read_bytes() == trained(videos, tmp_path / "two", how).read_bytes()


def test_a_quiet_training_says_nothing_of_going_on(killed, videos, undisturbed, tmp_path, capsys):
    killed(lambda: trained(videos, tmp_path))
    assert trained(videos, tmp_path).read_bytes() == undisturbed.read_bytes()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"nonsense"])
def test_a_damaged_state_is_one_line(damage, killed, videos, tmp_path):
    killed(lambda: trained(videos, tmp_path))
    partial = tmp_path / f"{NAME}.partial"
    partial.write_bytes(damage(partial.read_bytes()))
    with pytest.raises(InputError, match="delete it to start afresh") as refused:
        trained(videos, tmp_path)
    assert str(partial) in str(refused.value) and "\n" not in str(refused.value)


def test_a_tiny_model_goes_on_as_well(killed, videos, tmp_path, capsys):
    how, data = replace(QUICK, keep="last"), f"folder:root={videos}"
    killed(lambda: recipe.train_tiny(SMALL, data, how, tmp_path / "one"))
    assert "epoch 1/3" in capsys.readouterr().err
    again = recipe.train_tiny(SMALL, data, how, tmp_path / "one")
    assert "going on after epoch 1 of 3" in capsys.readouterr().err
    assert again.read_bytes() == recipe.train_tiny(SMALL, data, how, tmp_path / "two", progress=False).read_bytes()
    assert sorted(file.suffix for file in again.parent.iterdir()) == [".json", ".safetensors"]


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


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(videos, tmp_path, monkeypatch, capsys):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_atomically", full)
    with pytest.raises(InputError, match=r"out: cannot write .*partial: No space left on device"):
        trained(videos, tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()

    def full_at_the_card(path, data):
        (full if path.suffix == ".json" else write_atomically)(path, data)

    monkeypatch.setattr(recipe, "write_atomically", full_at_the_card)
    with pytest.raises(InputError, match=r"out: cannot write .*safetensors: No space left on device"):
        trained(videos, tmp_path)
    assert [file.suffix for file in tmp_path.iterdir()] == [".partial"], "the same command only has to write"
    monkeypatch.undo()
    assert trained(videos, tmp_path, progress=True).exists() and "going on after epoch 3 of 3" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_found_before_the_training(videos, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="out: .*file/deeper cannot be made: Not a directory"):
        trained(videos, tmp_path / "file" / "deeper")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="out: .* cannot be written"):
        trained(videos, tmp_path)


def test_a_failed_command_leaves_no_folder(videos, tmp_path):
    with pytest.raises(InputError, match="no clips|split|val"):
        train_defended(
            resolve("defense", "at"), resolve("model", SMALL, weights="random"),
            resolve("dataset", "folder", root=str(videos / "train")), QUICK, tmp_path / "new", False,
        )  # fmt: skip
    assert not (tmp_path / "new").exists()


def test_networks_that_a_defence_adds_start_by_the_recipes_seed(videos, tmp_path, monkeypatch):
    from robustvideo.defenses.at import AT

    first = []

    class Adding(Learner):
        def __init__(self, network):
            super().__init__(network)
            self.added = torch.nn.Linear(2, 2)
            first.append(self.added.weight.detach().clone())

    monkeypatch.setattr(AT, "learner", lambda self, model: Adding(self.network(model)))
    for seed in (3, 3, 4):
        torch.rand(seed + len(first))
        trained(videos, tmp_path / str(len(first)), replace(QUICK, epochs=1, seed=seed))
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])


def test_the_progress_line_counts_the_time_from_the_resume(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    epochs = [loop.Epoch(number, 0.5, 0.25, 0.125) for number in (1, 2, 3)]
    with TrainProgress(5, 50, True) as shown:
        shown.resume(epochs[:2])
        clock[0] = 10.0
        shown.epoch(epochs[2])
    assert capsys.readouterr().err == "epoch 3/5 loss 0.500 validation 25.0% robust 12.5% ETA 0:00:20\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--defense", "shuffle"], "defense: shuffle is not trained; these are: "),
        (["--defense", "att"], "did you mean at"),
        (["--defense", "at", "--eps", "8"], "did you mean 8/255"),
        (["--defense", "at", "--eps", "x"], "'x' is not a number"),
        (["--eps", "8/255"], "it is the budget of a defence, and none is named"),
        (["--defense", "at:eps=4/255", "--eps", "8/255"], "eps: it is given twice, as 4/255 and as 8/255"),
        (["--defense", "rose", "--eps", "8/255"], "there is no parameter 'eps'"),
        (["--defense", "at:weights=mine.safetensors"], "this one is to be trained; leave it out"),
        (["--defense", "at", "--lr", "0"], "lr: 0 is no learning rate"),
        (["--defense", "at", "--dataset", "shape"], "did you mean shapes"),
        (["--defense", "at", "--dataset", "folder"], "root is missing"),
    ],
)
def test_bad_input_is_one_line(words, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["vbench", "train", "--model", "tsm", *words])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    assert end.value.code == 2 and out == "" and message in err and err.count("\n") == 1, err
    assert not list(tmp_path.iterdir())
