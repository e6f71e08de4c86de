"""The training loop: it learns, and it repeats itself."""

import json

import pytest
import torch
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.files import sha256
from robustvideo.benchmark.core.interfaces import Batch, ClipRecord
from robustvideo.benchmark.core.registry import ready, resolve
from robustvideo.benchmark.models.build import build_model, state_sha256
from robustvideo.benchmark.training import recipe as recipes
from robustvideo.benchmark.training.loop import Recipe, accuracy, classification, train

QUICK = Recipe(epochs=3, batch_size=8, lr=3e-3, weight_decay=0.01)


def toy(count, seed):
    """Two classes: dark clips and bright ones."""
    labels = torch.arange(count) % 2
    noise = torch.randint(0, 60, (count, 3, 2, 32, 32), generator=torch.Generator().manual_seed(seed))
    return (noise + 120 * labels.view(-1, 1, 1, 1, 1)).to(torch.uint8), labels


def fresh():
    return build_model(resolve("model", "tsm:frames=2,size=32,weights=random"), "none", "ab")


def run(recipe=QUICK, **options):
    model = fresh()
    return model, train(model, *toy(24, 0), *toy(8, 1), recipe, **options)


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
    third, _ = run(Recipe(**{**QUICK.__dict__, "seed": 1}))
    assert first.weights_sha256 == second.weights_sha256 != third.weights_sha256


def test_the_objective_sees_float_clips_in_the_unit_range():
    def objective(model, clips, labels):
        assert clips.dtype == torch.float32 and float(clips.min()) >= 0 and 0.4 < float(clips.max()) <= 1
        assert model.training
        return classification(model, clips, labels)

    run(Recipe(epochs=1, batch_size=12, lr=1e-3), objective=objective)


def test_divergence_and_no_clips_are_said():
    with pytest.raises(InputError, match="in epoch 1; lower the learning rate"):
        run(objective=lambda model, clips, labels: classification(model, clips, labels) * torch.nan)
    clips, labels = toy(4, 0)
    with pytest.raises(InputError, match="0 training and 4 validation clips"):
        train(fresh(), clips[:0], labels[:0], clips, labels, QUICK)


class Toy:
    """A data set whose clips never were files."""

    classes = ("dark", "bright")
    sizes = {"train": 24, "val": 8, "test": 10}

    def records(self, split):
        return [ClipRecord(f"{split}-{number}", "nowhere", number % 2, f"{number}") for number in range(self.sizes[split])]


@pytest.fixture
def toy_data(monkeypatch):
    def load(records, spec, batch_size, workers=None):
        clips, _ = toy(len(records), len(records))
        yield Batch(records, clips), []

    real = recipes.resolve
    monkeypatch.setattr(recipes, "load", load)
    monkeypatch.setattr(recipes, "manifest_sha256", lambda records: f"hash of {len(records)}")

    def resolve_toy(kind, text, **values):
        return ready(kind, text, Toy()) if text == "toy" else real(kind, text, **values)

    monkeypatch.setattr(recipes, "resolve", resolve_toy)


def test_train_tiny_writes_a_checkpoint_and_its_card(tmp_path, toy_data, capsys, monkeypatch):
    path = recipes.train_tiny("tsm", "toy", tmp_path / "one", seed=3, recipe=QUICK)
    assert path == tmp_path / "one" / "tsm-tiny.toy.safetensors"
    assert sorted(file.name for file in path.parent.iterdir()) == ["tsm-tiny.toy.json", "tsm-tiny.toy.safetensors"]
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == sha256(path) and card["recipe"]["seed"] == 3
    assert card["manifest_sha256"] == {"train": "hash of 24", "val": "hash of 8", "test": "hash of 10"}
    assert card["classes"] == ["dark", "bright"]
    assert card["val_accuracy"] == card["test_accuracy"] == 1.0
    output = capsys.readouterr()
    assert output.out == "" and "epoch 3/3" in output.err and str(path) in output.err
    again = recipes.train_tiny("tsm", "toy", tmp_path / "two", seed=3, recipe=QUICK, progress=False)
    assert again.read_bytes() == path.read_bytes() and capsys.readouterr().err == ""
    other = recipes.train_tiny("tsm", "toy", tmp_path / "three", seed=4, recipe=QUICK, progress=False)
    assert other.read_bytes() != path.read_bytes()
    model = build_model(resolve("model", f"tsm:weights={path}"), "toy", Toy.classes)
    assert model.weights_sha256 == card["sha256"]


def test_train_tiny_needs_a_model_with_presets(tmp_path, toy_data):
    with pytest.raises(InputError, match="torchvision has no presets"):
        recipes.train_tiny("torchvision:mc3_18", "toy", tmp_path)
