"""Trained defences get their weights: the shipped ones, or a file; whatever does not belong is refused in one line."""

import json
import shlex
import shutil

import pytest
import torch
from robustvideo.benchmark.cli.main import app
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.files import sha256
from robustvideo.benchmark.core.registry import ready, resolve
from robustvideo.benchmark.core.trained import Armed
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.cell import Cell
from robustvideo.benchmark.models import armoury, zoo
from robustvideo.benchmark.models.armed import arm
from robustvideo.benchmark.models.armoury import Owner, file_name, find
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.training import defended, recipe
from robustvideo.benchmark.training.entries import Recipe
from robustvideo.defenses.at import AT
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

SHAPES = resolve("dataset", "shapes")


def owner(model="tsm", dataset=SHAPES):
    return Owner(resolve("model", model), dataset)


@pytest.fixture(scope="module")
def tsm():
    return built("tsm")


def built(spec):
    return build_model(resolve("model", spec), "shapes", SHAPES.create().classes)


@pytest.fixture
def armoury_of_one(tmp_path, monkeypatch, tsm):
    """A package that ships one defence, with the weights of the undefended model."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    monkeypatch.setattr(armoury, "FOLDER", folder)
    monkeypatch.setattr(zoo, "shipped", list)  # the models of the zoo take their time
    return write(folder / file_name(resolve("defense", "at"), owner()), tsm)


def state_of(model):
    return {key: value.contiguous() for key, value in model.net.state_dict().items()}


def write(path, model, defense="at", spec="tsm", dataset="shapes", **more):
    path.parent.mkdir(exist_ok=True)
    save_file(state_of(model), path)
    card = {"defense": resolve("defense", defense).text, "model": resolve("model", spec).text, "dataset": dataset}
    card |= {
        "version": resolve("defense", defense).entry.version,
        "sha256": sha256(path),
        "starts_from": model.weights_sha256,
        "test_accuracy": 0.75,
        "test_robust": 0.5,
    }
    card |= {"trial": "pgd:eps=8/255,steps=10", "clips": {"test": 64}, "parameters": 7} | more
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


@pytest.mark.parametrize(
    ("defense", "model", "name"),
    [
        ("at", "tsm", "at.tsm-tiny.shapes.safetensors"),
        ("at:eps=4/255,weights=x.pth", "tsm:weights=random", "at-eps-4of255.tsm-tiny.shapes.safetensors"),
        ("at:rule=half", "tsm:preset=r50,frames=16", "at-rule-half.tsm-r50-frames-16.shapes.safetensors"),
        ("at", "torchvision:r3d_18", "at.torchvision-arch-r3d_18.shapes.safetensors"),
    ],
)
def test_a_file_is_called_after_what_differs(defense, model, name):
    assert file_name(resolve("defense", defense), owner(model)) == name


def test_the_shipped_file_is_found_and_frozen(armoury_of_one, tsm):
    link = arm(resolve("defense", "at"), owner(), tsm)
    assert isinstance(link, Armed) and link.sha256 == sha256(armoury_of_one) and link.inside is link.network
    assert not link.network.training and not any(value.requires_grad for value in link.network.parameters())
    clips = torch.rand(2, 3, 8, 64, 64)
    assert torch.equal(link.network(clips), tsm(clips)) and link.network is not tsm


def refused(defense, model="tsm", dataset=SHAPES):
    with pytest.raises(InputError) as error:
        arm(resolve("defense", defense), owner(model, dataset), built(model))
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    return str(error.value)


@pytest.mark.parametrize(
    ("defense", "model", "dataset"),
    [("at:eps=4/255", "tsm", "shapes"), ("at", "i3d", "shapes"), ("at", "tsm", "shapes-motion"), ("cat", "tsm", "shapes")],
)
def test_a_missing_one_says_which_exist_and_the_command_that_trains_it(defense, model, dataset, armoury_of_one, monkeypatch):
    data = resolve("dataset", dataset)
    said = refused(defense, model, data)
    assert f"no checkpoint of {defense} is shipped for {model} on {dataset}; " in said
    there = "" if model != "tsm" or dataset != "shapes" else " (for tsm on shapes: at)"
    assert (f"; at is shipped for tsm on shapes{there}; " in said) == (not defense.startswith("cat"))
    command = said.partition("train it by ")[2].partition(" and write ")[0]
    assert said.endswith(f" and write {defense}{',' if ':' in defense else ':'}weights=FILE")
    asked = []
    monkeypatch.setattr(defended, "train_defended", lambda *parts, **more: asked.append(parts) or "file")
    program, *words = shlex.split(command)
    ran = CliRunner().invoke(app, words)
    assert program == "vbench" and ran.exit_code == 0, ran.output
    guard, subject, on, how, _ = asked[0]
    assert (guard.text, subject.text, on.text) == (resolve("defense", defense).text, resolve("model", model).text, dataset)
    assert how.epochs > 0


def test_the_command_keeps_the_weights_and_the_folder_of_the_data(tmp_path, armoury_of_one):
    data = resolve("dataset", "folder", root=str(tmp_path / "my videos"))
    said = refused("at", "tsm:weights=random-3,preset=r50,size=32,frames=8", data)
    model = "tsm:preset=r50,frames=8,size=32,weights=random-3"
    assert f"vbench train --model {model} --defense at --dataset 'folder:root={tmp_path}/my videos'" in said


def test_a_live_model_is_told_to_name_a_file(armoury_of_one, tsm):
    live = Owner(ready("model", "Net-123", tsm), SHAPES)
    with pytest.raises(InputError, match=r"at is shipped for tsm on shapes; write at:weights=FILE$"):
        arm(resolve("defense", "at"), live, tsm)
    link = arm(resolve("defense", "at", weights=str(armoury_of_one)), live, tsm)
    assert link.sha256 == sha256(armoury_of_one)


def test_shipped_weights_are_for_the_shipped_model(armoury_of_one):
    said = refused("at", "tsm:weights=random-9")
    assert "was trained for other weights of tsm; at is shipped for tsm on shapes (for tsm on shapes: at); train it by" in said


def test_a_changed_file_is_refused(armoury_of_one):
    armoury_of_one.write_bytes(armoury_of_one.read_bytes()[:-4] + b"\0\0\0\0")
    assert "is not the file that at.tsm-tiny.shapes.json describes; install the package afresh" in refused("at")
    assert "give the file that vbench train wrote" in refused(f"at:weights={armoury_of_one}")


@pytest.mark.parametrize(
    ("card", "says"),
    [
        (
            {"defense": "at:eps=4/255"},
            "was trained with defense at:rule=eps,steps=3,eps=4/255, not at:rule=eps,steps=3,eps=8/255",
        ),
        ({"spec": "tsm:frames=4"}, "was trained with model tsm:preset=tiny,frames=4,size=none, not tsm:preset=tiny,frames=none"),
        ({"dataset": "shapes-motion"}, "was trained with dataset shapes-motion, not shapes"),
        ({"starts_from": "0" * 64}, "was trained for other weights of tsm"),
    ],
    ids=["defence", "model", "data set", "weights"],
)
def test_a_file_of_another_training_is_refused(card, says, tmp_path, tsm):
    path = write(tmp_path / "mine.safetensors", tsm, **card)
    assert says in refused(f"at:weights={path}")


def test_a_file_without_card_is_taken_if_it_fits(tmp_path, tsm):
    path = write(tmp_path / "mine.safetensors", tsm)
    path.with_suffix(".json").unlink()
    assert find(resolve("defense", "at", weights=str(path)), owner()) == (path, {})
    assert arm(resolve("defense", "at", weights=str(path)), owner(), tsm).sha256 == sha256(path)
    torch.save(tsm.net.state_dict(), tmp_path / "mine.pth")
    assert arm(resolve("defense", "at", weights=str(tmp_path / "mine.pth")), owner(), tsm).inside is not None


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda state: state | {"fc.weight": torch.zeros(3, 5)}, "fc.weight has shape (3, 5), not ("),
        (lambda state: state | {"more": torch.zeros(1)}, "it has more, the network has not"),
        (lambda state: {key: value for key, value in state.items() if key != "fc.bias"}, "fc.bias is missing"),
        (
            lambda state: state | {"fc.bias": torch.full_like(state["fc.bias"], torch.nan)},
            "fc.bias has numbers that are not finite",
        ),
    ],
    ids=["shape", "more", "missing", "nan"],
)
def test_weights_that_do_not_fit_are_one_line(damage, says, tmp_path, tsm):
    save_file(damage(state_of(tsm)), tmp_path / "odd.safetensors")
    assert f"odd.safetensors does not fit tsm: {says}" in refused(f"at:weights={tmp_path}/odd.safetensors")


def test_a_file_that_is_not_there_or_no_checkpoint(tmp_path):
    assert f"there is no file {tmp_path}/gone.safetensors; give the .safetensors file" in refused(
        f"at:weights={tmp_path}/gone.safetensors"
    )
    (tmp_path / "text.safetensors").write_text("hello")
    assert "is damaged or no checkpoint" in refused(f"at:weights={tmp_path}/text.safetensors")


MINE = """
from robustvideo.benchmark import InputSpec, Model
from torch import nn
import torch


def build(width: int = 4):
    torch.manual_seed(0)
    net = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))
    return Model(net, InputSpec(frames=2, size=8, short_side=8), 2)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A user's own model in a file, with toy clips in the data set's place."""
    from test_training import toy

    (tmp_path / "mine.py").write_text(MINE)

    def clips(records, spec, *_):
        return {name: toy(max(8, len(part)), 0, spec.frames, spec.size) for name, part in records.items()}

    monkeypatch.setattr(defended, "read_parts", clips)

    class Two:
        classes = ("dark", "bright")

        def records(self, split):
            from robustvideo.benchmark.core.interfaces import ClipRecord

            return [ClipRecord(f"{split}{number}", tmp_path, number % 2, str(number)) for number in range(8)]

    return ready("dataset", "two", Two())


def test_a_users_own_model_is_trained_and_armed(mine, tmp_path, monkeypatch):
    subject = resolve("model", f"{tmp_path}/mine.py:build:width=5")
    how = Recipe(epochs=1, batch_size=4, lr=1e-2, keep="best")
    path = defended.train_defended(resolve("defense", "at:steps=1"), subject, mine, how, tmp_path / "out", False)
    assert path.name == "at-steps-1.mine-build-width-5.two.safetensors"
    model = build_model(subject, "two", "ab")
    guard = resolve("defense", f"at:steps=1,weights={path}")
    armed = arm(guard, Owner(subject, mine), model)
    state = load_file(path)
    assert all(torch.equal(value, state[key]) for key, value in armed.network.net.state_dict().items())
    monkeypatch.chdir(tmp_path)  # the same file under another path is the same model
    local = resolve("model", "mine.py:build:width=5")
    assert arm(guard, Owner(local, mine), build_model(local, "two", "ab")).sha256 == armed.sha256
    with pytest.raises(InputError, match="was trained with model mine.py:build:width=5, not mine.py:build:width=4"):
        other = resolve("model", "mine.py:build")
        arm(guard, Owner(other, mine), build_model(other, "two", "ab"))


def test_a_large_preset_takes_a_file(tmp_path):
    spec = "tsm:preset=r50,frames=8,size=32,weights=random"
    model = built(spec)
    changed = AT().network(model)
    torch.nn.init.zeros_(changed.net.fc.bias)
    path = write(tmp_path / "large.safetensors", changed, spec=spec)
    assert arm(resolve("defense", "at", weights=str(path)), owner(spec), model).inside.input == model.input


def test_a_cells_hash_is_of_the_defences_weights(tmp_path, tsm):
    def digest(path):
        cell = Cell(SHAPES, "test", 2, resolve("model", "tsm"), defense=(resolve("defense", "at", weights=str(path)),))
        return Bench().hash(cell), Bench().spec(cell)

    one = write(tmp_path / "one.safetensors", tsm)
    (first, spec), (copied, _) = digest(one), digest(shutil.copy(one, tmp_path / "copy.safetensors"))
    other = AT().network(tsm)
    torch.nn.init.zeros_(other.net.fc.bias)
    second, _ = digest(write(tmp_path / "two.safetensors", other))
    assert first == copied != second
    assert spec["defense_sha256"] == [sha256(one)] and "weights" not in spec["defense"]


def test_a_cell_without_trained_defence_keeps_its_hash():
    cell = Cell(SHAPES, "test", 2, resolve("model", "tsm"), defense=(resolve("defense", "shuffle"),))
    spec = Bench().spec(cell)
    assert "defense_sha256" not in spec and set(spec["versions"]) == {"dataset", "model", "defense 0"}
    assert Bench().hash(cell) == "9dbaaf3656d5299e196b7c69"


def test_show_and_zoo_tell_what_is_shipped(armoury_of_one):
    shown = CliRunner().invoke(app, ["show", "at"]).stdout
    assert "tsm on shapes" in shown and "75.0" in shown and "50.0" in shown and "pgd:eps=8/255,steps=10" in shown
    assert "Shipped for no model: vbench train --model tsm --defense cat" in CliRunner().invoke(app, ["show", "cat"]).stdout
    assert "Shipped for" not in CliRunner().invoke(app, ["show", "shuffle"]).stdout
    ran = CliRunner().invoke(app, ["zoo", "--json"])
    (row,) = [row for row in json.loads(ran.stdout) if row["kind"] == "defense"]
    assert ran.exit_code == 0 and row["name"] == "tsm/shapes/at" and row["sha256"] and row["problem"] == ""
    assert row["test_robust"] == 0.5 and 0.37 < row["test_robust_low"] < 0.39 and row["parameters"] == 7
    armoury_of_one.write_bytes(b"x")
    ran = CliRunner().invoke(app, ["zoo"])
    assert ran.exit_code == 1 and "vbench: tsm/shapes/at: defense at: weights: " in ran.stderr and "wrong" in ran.stdout


def rename(path):
    for file in (path, path.with_suffix(".json")):
        file.rename(file.with_stem("other"))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.with_suffix(".json").unlink(), "the card"),
        (lambda path: path.with_suffix(".json").write_text("[]"), "is no JSON object"),
        (lambda path: path.with_suffix(".json").write_text("{}"), "'?' is unknown"),
        (rename, "no checkpoint of at is shipped"),
    ],
)
def test_a_broken_armoury_is_said_by_zoo_and_stops_no_other_defence(damage, says, armoury_of_one, tsm):
    damage(armoury_of_one)
    ran = CliRunner().invoke(app, ["zoo"])
    assert ran.exit_code == 1 and says in ran.stderr
    write(armoury.FOLDER / "cat.tsm-tiny.shapes.safetensors", tsm, "cat")
    assert arm(resolve("defense", "cat"), owner(), tsm).inside is not None


def test_the_key_of_a_training_is_of_all_that_it_depends_on():
    how = Recipe(epochs=1, batch_size=2, lr=0.1)
    assert recipe.key_of(["a"], how, {}) == recipe.key_of(["a"], how, {})
    others = [
        recipe.key_of(["b"], how, {}),
        recipe.key_of(["a"], how, {"val": []}),
        recipe.key_of(["a"], Recipe(epochs=1, batch_size=2, lr=0.1, seed=1), {}),
        recipe.key_of(["a"], Recipe(epochs=1, batch_size=2, lr=0.1, keep="best"), {}),
    ]
    assert len({recipe.key_of(["a"], how, {}), *others}) == 5
