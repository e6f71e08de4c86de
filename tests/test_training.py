"""The training loop: it learns, and it repeats itself."""

import json
import math
from dataclasses import replace

import pytest
import torch
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.files import sha256
from robustvideo.benchmark.core.interfaces import Batch, ClipRecord
from robustvideo.benchmark.core.registry import ready, resolve
from robustvideo.benchmark.core.trained import Learner
from robustvideo.benchmark.models import zoo
from robustvideo.benchmark.models.build import build_model, state_sha256
from robustvideo.benchmark.training import loop, shipping, splits
from robustvideo.benchmark.training import recipe as recipes
from robustvideo.benchmark.training.clips import Split
from robustvideo.benchmark.training.entries import Entry, Recipe
from robustvideo.benchmark.training.loop import Plan, accuracy, train
from robustvideo.benchmark.training.loop import run as fit

SMALL = "tsm:frames=2,size=32"
QUICK = Recipe(epochs=3, batch_size=8, lr=3e-3, weight_decay=0.01)


def toy(count, seed, frames=2, size=32):
    """Two classes: dark clips and bright ones."""
    labels = torch.arange(count) % 2
    noise = torch.randint(0, 60, (count, 3, frames, size, size), generator=torch.Generator().manual_seed(seed))
    return (noise + 120 * labels.view(-1, 1, 1, 1, 1)).to(torch.uint8), labels


def fresh():
    return build_model(resolve("model", f"{SMALL},weights=random"), "none", "ab")


def run(recipe=QUICK, **options):
    model = fresh()
    return model, train(model, *toy(24, 0), *toy(8, 1), recipe, **options)


class Killed(Exception):
    """Stands for a kill."""


def goes_on(make, path, after=1):
    """A plan of a training that runs through, and one of the same training that is killed after an epoch and gone on with.

    They must end with the same bits; `make` takes further attributes of a plan.
    """

    def kill(epoch):
        if epoch.number == after:
            raise Killed

    whole, resumed = make(), make(keep=path)
    fit(whole)
    with pytest.raises(Killed):
        fit(make(keep=path, on_epoch=kill))
    fit(resumed)
    assert len(whole.history) > after and resumed.history == whole.history and resumed.kept == whole.kept
    wanted, found = ({k: v for k, v in one.learner.state_dict().items() if torch.is_tensor(v)} for one in (whole, resumed))
    assert list(wanted) == list(found) and all(torch.equal(wanted[key], found[key]) for key in wanted)
    return whole, resumed


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_it_learns_and_reports(optimizer):
    epochs, steps = [], []
    recipe = Recipe(epochs=3, batch_size=8, lr=3e-3 if optimizer == "adamw" else 0.05, optimizer=optimizer)
    model, history = run(recipe, on_epoch=epochs.append, on_step=lambda: steps.append(1))
    assert history[-1].loss < 0.5 * history[0].loss
    assert history[-1].accuracy == accuracy(model, *toy(8, 1)) == 1.0
    assert epochs == history and len(steps) == 9
    assert [epoch.number for epoch in history] == [1, 2, 3]
    assert not model.training and not any(value.requires_grad for value in model.parameters())
    assert model.weights_sha256 == state_sha256(model) != fresh().weights_sha256


def test_the_same_seed_gives_the_same_bits_whatever_came_before():
    first, _ = run()
    torch.rand(100)
    state = torch.random.get_rng_state()
    second, _ = run()
    assert torch.equal(torch.random.get_rng_state(), state)
    third, _ = run(replace(QUICK, seed=1))
    assert first.weights_sha256 == second.weights_sha256 != third.weights_sha256


def test_a_learner_sees_float_clips_in_the_unit_range_and_the_clips_own_streams():
    class Watching(Learner):
        def loss(self, clips, labels, rng):
            assert clips.dtype == torch.float32 and float(clips.min()) >= 0 and 0.4 < float(clips.max()) <= 1
            assert self.network.training and len(rng) == len(clips)
            return super().loss(clips, labels, rng)

    plan = Plan(Watching(fresh()), Split(*toy(24, 0)), Split(*toy(8, 1)), Recipe(epochs=1, batch_size=12, lr=1e-3))
    fit(plan)
    assert len(plan.history) == 1 and not plan.learner.network.training


def test_divergence_and_no_clips_are_said():
    class Diverging(Learner):
        def loss(self, clips, labels, rng):
            return super().loss(clips, labels, rng) * torch.nan

    with pytest.raises(InputError, match="in epoch 1; lower the learning rate"):
        fit(Plan(Diverging(fresh()), Split(*toy(24, 0)), Split(*toy(8, 1)), QUICK))
    clips, labels = toy(4, 0)
    with pytest.raises(InputError, match="0 training and 4 validation clips"):
        train(fresh(), clips[:0], labels[:0], clips, labels, QUICK)


def test_the_learning_rate_rises_on_a_line_and_falls_along_a_cosine():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    schedule, rates = loop._schedule(optimizer, 4, 12), []
    for _ in range(12):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    line = [0.5 * (step + 1) / 5 for step in range(4)]
    cosine = [0.25 * (1 + math.cos(math.pi * step / 8)) for step in range(8)]
    assert rates == pytest.approx(line + cosine)


def test_the_gradient_is_clipped():
    model = fresh()
    before = [value.clone() for value in model.parameters()]
    train(model, *toy(24, 0), *toy(8, 1), Recipe(epochs=1, batch_size=24, lr=0.05, optimizer="sgd", clip_norm=0.01))
    moved = torch.cat([(new - old).flatten() for new, old in zip(model.parameters(), before, strict=True)])
    # The first step of SGD with Nesterov momentum 0.9 goes 1.9 times the gradient.
    assert float(moved.norm()) == pytest.approx(0.05 * 1.9 * 0.01, rel=1e-3)


class Toy:
    """A data set whose clips never were files."""

    classes = ("dark", "bright")
    sizes = {"train": 24, "val": 8, "test": 10}

    def records(self, split):
        return [ClipRecord(f"{split}-{number}", "nowhere", number % 2, f"{number}") for number in range(self.sizes[split])]


@pytest.fixture
def toy_data(monkeypatch):
    def load(records, spec, batch_size, workers=None):
        clips, _ = toy(len(records), len(records), spec.frames, spec.size)
        yield Batch(records, clips), []

    real = recipes.resolve
    monkeypatch.setattr(splits, "load", load)
    monkeypatch.setattr(recipes, "manifest_sha256", lambda records: f"hash of {len(records)}")

    def resolve_toy(kind, text, **values):
        return ready(kind, text, Toy()) if text == "toy" else real(kind, text, **values)

    monkeypatch.setattr(recipes, "resolve", resolve_toy)


def test_train_tiny_writes_a_checkpoint_and_its_card(tmp_path, toy_data, capsys):
    quick = replace(QUICK, seed=3)
    path = recipes.train_tiny(SMALL, "toy", quick, tmp_path / "one")
    assert path == tmp_path / "one" / "tsm-tiny.toy.safetensors"
    assert sorted(file.name for file in path.parent.iterdir()) == ["tsm-tiny.toy.json", "tsm-tiny.toy.safetensors"]
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == sha256(path) and card["recipe"]["seed"] == 3
    assert card["manifest_sha256"] == {"train": "hash of 24", "val": "hash of 8", "test": "hash of 10"}
    assert card["classes"] == ["dark", "bright"] and card["threads"] == torch.get_num_threads()
    assert card["val_accuracy"] == card["test_accuracy"] == 1.0
    output = capsys.readouterr()
    assert output.out == "" and "epoch 3/3" in output.err and str(path) in output.err
    again = recipes.train_tiny(SMALL, "toy", quick, tmp_path / "two", progress=False)
    assert again.read_bytes() == path.read_bytes() and capsys.readouterr().err == ""
    other = recipes.train_tiny(SMALL, "toy", replace(quick, seed=4), tmp_path / "three", progress=False)
    assert other.read_bytes() != path.read_bytes()
    model = build_model(resolve("model", f"{SMALL},weights={path}"), "toy", Toy.classes)
    assert model.weights_sha256 == card["sha256"]


def test_train_tiny_needs_a_model_with_presets(tmp_path, toy_data):
    with pytest.raises(InputError, match="torchvision has no presets"):
        recipes.train_tiny("torchvision:mc3_18", "toy", QUICK, tmp_path)


def test_an_entry_of_the_zoo_repeats_itself_whatever_the_threads_around_it(tmp_path, toy_data, monkeypatch, capsys):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path / "shipped")
    entry = Entry("tsm", "toy", Recipe(epochs=1, batch_size=8, lr=3e-3, seed=5), threads=1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        shipped = shipping.train_entry(entry, zoo.FOLDER)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert "shipped" not in capsys.readouterr().err.replace(str(tmp_path / "shipped"), "")
    again = shipping.train_entry(entry, tmp_path / "again")
    assert "tsm/toy: the same bits as the checkpoint that was shipped" in capsys.readouterr().err
    assert again.read_bytes() == shipped.read_bytes()
    card = json.loads(again.with_suffix(".json").read_text())
    assert card["threads"] == 1 and card["recipe"]["seed"] == 5
    other = shipping.train_entry(entry, tmp_path / "other", seed=6)
    assert "other weights than the checkpoint" in capsys.readouterr().err
    assert other.read_bytes() != shipped.read_bytes()
