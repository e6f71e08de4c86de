"""The tiny zoo: its recipes, what is shipped, and the verb that looks at it."""

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from robustvideo.benchmark.cli.main import app
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.files import sha256
from robustvideo.benchmark.core.registry import entries as registered
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.evaluation import shipped
from robustvideo.benchmark.evaluation.api import evaluate
from robustvideo.benchmark.evaluation.stats import wilson
from robustvideo.benchmark.models import armoury, zoo
from robustvideo.benchmark.training import entries, shipping
from typer.testing import CliRunner

ENTRIES = entries.zoo_entries()


def test_every_architecture_has_a_recipe_on_shapes():
    tiny = {name for name, one in registered("model").items() for field in one.fields if "tiny" in field.choices}
    assert "tsm" in tiny and {f"{name}/shapes" for name in tiny} <= set(ENTRIES)
    for model in ("tsm", "i3d", "timesformer"):
        assert {f"{model}/shapes-object", f"{model}/shapes-motion"} <= set(ENTRIES)
    named = set(tomllib.loads(entries.FILE.read_text())) - {"defaults"}
    assert named <= tiny, "a recipe of no model"


@pytest.mark.parametrize("name", ENTRIES)
def test_every_recipe_is_shipped_and_right_on_its_test_split(name):
    entry = ENTRIES[name]
    path, card = zoo.find(entry.model, "tiny", entry.dataset)  # checks the hash
    assert path.stat().st_size <= 2_000_000
    assert min(card["test_accuracy"], card["test_large_accuracy"]) >= 0.9
    assert 0 <= card["pgd_4_255"] < card["test_accuracy"] and card["pgd"].startswith("pgd:")
    assert card["recipe"] == entry.recipe.described() and card["threads"] == entry.threads


def test_nothing_is_shipped_that_has_no_recipe():
    assert {f"{zoo.spec(model, preset)}/{dataset}" for model, preset, dataset in zoo.shipped()} <= set(ENTRIES)


@pytest.fixture
def recipes(tmp_path, monkeypatch):
    path = tmp_path / "zoo.toml"
    monkeypatch.setattr(entries, "FILE", path)
    head = '[defaults]\ndatasets = ["shapes"]\nthreads = 1\nepochs = 9\nbatch_size = 16\nlr = 1e-3\n'
    return lambda text: path.write_text(head + text)


def test_what_is_special_wins(recipes):
    recipes('[tsm]\ndatasets = ["shapes", "shapes-motion"]\nlr = 2e-3\n[tsm.shapes-motion]\nepochs = 20\nthreads = 2\n')
    found = entries.zoo_entries()
    plain, motion = found["tsm/shapes"], found["tsm/shapes-motion"]
    assert plain.recipe == entries.Recipe(epochs=9, batch_size=16, lr=2e-3) and plain.threads == 1
    assert motion.recipe == entries.Recipe(epochs=20, batch_size=16, lr=2e-3) and motion.threads == 2
    assert entries.default_recipe() == entries.Recipe(epochs=9, batch_size=16, lr=1e-3)
    assert entries.select("tsm/shapes") == [plain] and entries.select("all") == [
        *found.values(),
        *entries.defended_entries().values(),
    ]


@pytest.mark.parametrize(("name", "meant"), [("tsm/shape", "tsm/shapes"), ("tsm/shapes/att", "tsm/shapes/at")])
def test_an_unknown_entry_is_suggested(name, meant):
    with pytest.raises(InputError, match=f"did you mean {meant}"):
        entries.select(name)


DEFENDED = entries.defended_entries()


@pytest.mark.parametrize("name", DEFENDED)
def test_every_defence_that_is_listed_is_shipped_by_its_recipe(name):
    entry = DEFENDED[name]
    defense, owner = resolve("defense", entry.defense), armoury.Owner(resolve("model", entry.model), resolve("dataset", "shapes"))
    path, card = armoury.find(defense, owner)  # checks the hash and whose it is
    assert path.stat().st_size <= 2_000_000 and card["clips"]["test"] == 64
    assert card["recipe"] == entry.recipe.described() and card["threads"] == entry.threads
    assert card["version"] == defense.entry.version
    assert card["starts_from"] == zoo.find(entry.model, "tiny", "shapes")[1]["sha256"]


def test_nothing_is_shipped_of_a_defence_that_is_not_listed():
    shapes = resolve("dataset", "shapes")
    listed = {
        armoury.file_name(resolve("defense", entry.defense), armoury.Owner(resolve("model", entry.model), shapes))
        for entry in DEFENDED.values()
    }
    assert {path.name for path, _ in armoury.shipped()} <= listed


DEFENSES = """
[defaults]
threads = 1
batch_size = 16
lr = 1e-3
[shipped]
at = ["tsm"]
"cat:eps=4/255" = ["tsm", "i3d"]
[recipes.at]
epochs = 9
[recipes.at.i3d]
lr = 5e-4
"""


def test_recipes_of_defences_go_from_the_general_to_the_special(tmp_path, monkeypatch):
    monkeypatch.setattr(entries, "DEFENSES", tmp_path / "defenses.toml")
    entries.DEFENSES.write_text(DEFENSES)
    own = registered("defense")["at"].load().recipe
    assert entries.defended_recipe("at:eps=4/255", "tsm:frames=4").described() == entries.Recipe(
        **{"batch_size": 16, **own, "epochs": 9}
    ).described()  # fmt: skip
    assert entries.defended_recipe("at", "i3d").lr == 5e-4
    assert list(entries.defended_entries()) == ["tsm/shapes/at", "tsm/shapes/cat:eps=4/255", "i3d/shapes/cat:eps=4/255"]
    with pytest.raises(InputError, match="shuffle is not trained"):
        entries.defended_recipe("shuffle", "tsm")


def test_a_shipped_defence_is_trained_by_its_name(monkeypatch):
    asked = []
    monkeypatch.setattr(shipping, "train_defended", lambda *parts: asked.append(parts) or Path("made"))
    ran = CliRunner().invoke(app, ["train", "--zoo", "tsm/shapes/at", "--seed", "7", "--quiet"])
    assert ran.exit_code == 0 and ran.stdout == "made\n"
    ((defense, model, dataset, recipe, out, progress),) = asked
    assert (defense.short, model.short, dataset.text) == ("at", "tsm", "shapes") and recipe.seed == 7
    assert replace(recipe, seed=0) == DEFENDED["tsm/shapes/at"].recipe and out == Path(".") and not progress


@pytest.mark.parametrize("words", [[], ["--model", "tsm", "--zoo", "tsm/shapes"], ["--zoo", "tsm/shapes", "--dataset", "shapes"]])
def test_train_wants_one_model(words):
    result = CliRunner().invoke(app, ["train", *words])
    assert isinstance(result.exception, InputError) and "one model is needed" in str(result.exception)


@pytest.fixture
def one(tmp_path, monkeypatch):
    """A zoo with one checkpoint, which may be broken."""
    source, _ = zoo.find("tsm", "tiny", "shapes")
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    monkeypatch.setattr(armoury, "FOLDER", tmp_path / "none")
    shutil.copy(zoo.card_path(source), tmp_path)
    return Path(shutil.copy(source, tmp_path))


def test_the_table_of_the_zoo(one):
    result = CliRunner().invoke(app, ["zoo"])
    assert result.exit_code == 0 and "tsm/shapes" in result.stdout and " ok " in result.stdout and result.stderr == ""
    rows = json.loads(CliRunner().invoke(app, ["zoo", "--json"]).stdout)
    (row,) = rows
    card = zoo.read_card(one)
    assert row["name"] == "tsm/shapes" and row["sha256"] and row["problem"] == "" and row["bytes"] == one.stat().st_size
    assert row["test_accuracy"] == card["test_accuracy"] and row["parameters"] == card["parameters"]
    assert (row["test_accuracy_low"], row["test_accuracy_high"]) == wilson(card["test_accuracy"], card["clips"]["test"])
    assert 1e-5 < row["seconds_per_clip"] < 1


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "is not the file that tsm-tiny.shapes.json describes"),
        (lambda path: path.with_suffix(".json").unlink(), "the card"),
        (lambda path: path.unlink(), "has no shipped weights"),
    ],
    ids=["changed", "no card", "no file"],
)
def test_a_broken_zoo_is_said_and_is_a_failure(one, damage, says):
    damage(one)
    result = CliRunner().invoke(app, ["zoo"])
    assert result.exit_code == 1
    assert result.stderr.startswith("vbench: tsm/shapes: ") and says in result.stderr
    assert "wrong" in result.stdout and " ok " not in result.stdout


def test_measuring_writes_what_a_run_gives(one, monkeypatch):
    asked = []

    def first_eight(*words, **options):
        asked.append(evaluate(*words, **options, limit=8))
        return asked[-1]

    monkeypatch.setattr(shipped, "evaluate", first_eight)
    before = zoo.read_card(one)
    card = shipped.measure_card("tsm", "tiny", "shapes")
    assert card == zoo.read_card(one) and card["sha256"] == before["sha256"] == sha256(one)
    small, large = asked
    assert list(small["split"]) == ["test"] * 2 and list(large["split"]) == ["test-large"]
    assert (small["strength"] != "").any() and "eps=4/255" in card["pgd"] and "steps=50" in card["pgd"]
    assert [card["test_accuracy"], card["pgd_4_255"]] == list(small["top1"]) and card["test_accuracy"] > card["pgd_4_255"]
    assert card["test_large_accuracy"] == large["top1"].item()
    assert card["clips"] == before["clips"] | {"test": 8, "test-large": 8}
    assert {key: card[key] for key in ("model", "recipe", "history")} == {
        key: before[key] for key in ("model", "recipe", "history")
    }


def test_measuring_stops_at_a_failed_cell(one, monkeypatch):
    def failed(*words, **options):
        return evaluate(*words, **options, limit=2).assign(status="error", error="no memory")

    monkeypatch.setattr(shipped, "evaluate", failed)
    before = one.with_suffix(".json").read_bytes()
    with pytest.raises(InputError, match="failed on tsm-tiny.shapes.safetensors: no memory"):
        shipped.measure_card("tsm", "tiny", "shapes")
    assert one.with_suffix(".json").read_bytes() == before
