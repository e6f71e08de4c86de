"""Training a defence from end to end: what it writes, how it goes on after a kill, and what it refuses."""

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from robustvideo.benchmark.cli.main import main
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.files import sha256, write_atomically
from robustvideo.benchmark.core.interfaces import ClipRecord
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.core.trained import Learner
from robustvideo.benchmark.data.selection import manifest_sha256
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.training import checkpoint, loop, recipe
from robustvideo.benchmark.training.defended import train_defended
from robustvideo.benchmark.training.entries import Recipe
from test_cli import video
from test_training import SMALL, Killed

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


KILLED = """
import os, signal, sys, torch
from robustvideo.benchmark.cli.main import main
from robustvideo.benchmark.training import loop

torch.set_num_threads(1)  # as the tests
step, taken = loop._Stepper.__call__, []

def killed(*given):
    taken.append(1)
    if len(taken) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*given)

loop._Stepper.__call__ = killed
main()
"""
"""A training that is killed in the second of its second epoch's two steps."""


def words(videos, out):
    return [*WORDS, f"folder:root={videos}", "--epochs", "3", "--batch-size", "8", "--lr", "1e-3", "--out", str(out)]


def went_on(videos, undisturbed, out, capsys):
    """Takes up a training that ended in its second epoch."""
    partial = out / f"{NAME}.partial"
    assert [file.name for file in out.iterdir()] == [partial.name]
    assert len(torch.load(partial, weights_only=True)["history"]) == 1
    again = trained(videos, out, progress=True)
    told = capsys.readouterr().err
    assert f"going on after epoch 1 of 3, from {partial}" in told and "epoch 1/3" not in told
    assert again.read_bytes() == undisturbed.read_bytes()
    assert sorted(file.suffix for file in out.iterdir()) == [".json", ".safetensors"]
    cards = [json.loads(path.with_suffix(".json").read_text()) for path in (again, undisturbed)]
    assert {**cards[0], "wall_seconds": 0} == {**cards[1], "wall_seconds": 0}


def test_a_killed_training_goes_on_to_the_same_bits(videos, undisturbed, tmp_path, capsys):
    command = [sys.executable, "-c", KILLED, *words(videos, tmp_path)]
    ran = subprocess.run(command, text=True, capture_output=True, timeout=120, check=False)
    assert ran.returncode == -signal.SIGKILL
    assert "epoch 1/3 loss" in ran.stderr and "robust" in ran.stderr and "ETA 0:00:" in ran.stderr
    went_on(videos, undisturbed, tmp_path, capsys)


def test_an_interrupted_training_says_how_to_go_on(videos, undisturbed, tmp_path, capsys, monkeypatch):
    step, taken = loop._Stepper.__call__, []

    def interrupted(*given):
        taken.append(1)
        if len(taken) == 4:
            raise KeyboardInterrupt
        return step(*given)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(loop._Stepper, "__call__", interrupted)
        patch.setattr(sys, "argv", ["vbench", *words(videos, tmp_path)])
        main()
    err = capsys.readouterr().err
    assert end.value.code == 130 and err.endswith("vbench: interrupted; the same command goes on after the last whole epoch\n")
    went_on(videos, undisturbed, tmp_path, capsys)


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


def test_another_training_is_not_gone_on_from(killed, videos, tmp_path, capsys):
    how = replace(QUICK, seed=1, epochs=1)
    killed(lambda: trained(videos, tmp_path / "one"))
    capsys.readouterr()
    made = trained(videos, tmp_path / "one", how, progress=True)
    assert f"{NAME}.partial is of another training" in capsys.readouterr().err
    assert made.read_bytes() == trained(videos, tmp_path / "two", how).read_bytes()


def test_a_training_is_known_by_what_is_trained_how_and_on_which_clips():
    records = {"train": [ClipRecord("a", Path("a"), 0, "dark")], "val": []}
    relabelled = {"train": [ClipRecord("a", Path("a"), 1, "bright")], "val": []}
    trainings = [
        (["at", "1", "tsm", "weights"], QUICK, records),
        (["at:eps=4/255", "1", "tsm", "weights"], QUICK, records),
        (["at", "2", "tsm", "weights"], QUICK, records),
        (["at", "1", "tsm", "other weights"], QUICK, records),
        (["at", "1", "tsm", "weights"], replace(QUICK, lr=2e-3), records),
        (["at", "1", "tsm", "weights"], replace(QUICK, seed=1), records),
        (["at", "1", "tsm", "weights"], replace(QUICK, keep="last"), records),
        (["at", "1", "tsm", "weights"], QUICK, relabelled),
    ]
    keys = [recipe.key_of(*training) for training in trainings]
    assert len(set(keys)) == len(keys) and keys[0] == recipe.key_of(*trainings[0])


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
    with pytest.raises(InputError, match="there is no split .train."):
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
