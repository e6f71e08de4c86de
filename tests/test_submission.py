"""The check of a store that somebody sends in: every rule has a submission that trips it and one that does not."""

import copy
import hashlib
import itertools
import json
import shutil

import pytest
from robustvideo.benchmark.cli import submission as verb
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.evaluation.store import Store
from robustvideo.benchmark.evaluation.tables import write_tables
from robustvideo.leaderboard import files
from robustvideo.leaderboard.board import build
from robustvideo.leaderboard.results import Results
from robustvideo.leaderboard.submission import problems
from robustvideo.leaderboard.submission_alarms import holm
from robustvideo.leaderboard.submission_tables import differences
from scipy import stats
from statsmodels.stats.multitest import multipletests
from stores import PGD, made_cell, put_all
from typer import Exit

COUNT = 40


def shares(right):
    return [1.0] * right + [0.0] * (COUNT - right)


def attacked(right, eps=8, steps=50, **changes):
    attack = PGD.replace("eps=8/255", f"eps={eps}/255").replace("steps=50", f"steps={steps}")
    return made_cell(shares(right), attack=attack, eps=eps / 255, **changes)


def corrupted(right, severity):
    return made_cell(shares(right), corruption="fog:x=1", severity=severity)


def sound_cells():
    """One of each kind, all in an order that can be."""
    defended = {"defense": "shuffle"}
    cells = [made_cell(shares(38)), attacked(20, 4), attacked(10, 8), attacked(12, 8, 10), corrupted(30, 1), corrupted(20, 5)]
    cells += [made_cell(shares(36), **defended), attacked(14, **defended), attacked(25, threat="oblivious", **defended)]
    cells += [made_cell([], model="r3d_18", error="out of memory")]
    return cells


def renamed(cell):
    """A cell under the hash of its spec, as it is after a change."""
    name = hashlib.sha256(json.dumps(cell["spec"], sort_keys=True).encode()).hexdigest()[:24]
    return cell | {"cell": name}


@pytest.fixture
def folder(tmp_path):
    return put_all(tmp_path / "sent", sound_cells())


def changed(folder, change, which=2):
    """The submission with one cell changed in place, under its own name."""
    cell = copy.deepcopy(sound_cells()[which])
    path = Store(folder).path(cell["cell"])
    change(cell)
    path.write_text(json.dumps(cell))
    return [(one.level, one.rule, one.words) for one in problems(folder)]


def test_a_sound_submission_has_no_problems(folder):
    assert problems(folder) == []
    write_tables(Store(folder))
    results = Results.read([folder])
    files.write({name: content for name, content in files.files(build(results), results, []).items()}, folder)
    assert {"cells.csv", "clips.csv", "leaderboard.csv"} <= {path.name for path in folder.iterdir()}
    assert problems(folder) == []


SCHEMA = {
    "another key": (lambda cell: cell.update(extra=1), "extra is not known"),
    "no key": (lambda cell: cell.pop("evidence"), "evidence is missing"),
    "another schema": (lambda cell: cell.update(schema=2), "schema is 2"),
    "a type": (lambda cell: cell.update(spec=[]), "spec is []"),
    "a key of the spec": (lambda cell: cell["spec"].update(trick=1), "spec: trick is not known"),
    "a spec without seed": (lambda cell: cell["spec"].pop("seed"), "spec: seed is missing"),
    "a spec that is none": (lambda cell: cell["spec"].update(attack="pgd:,,"), "spec: attack is"),
    "a threat": (lambda cell: cell["spec"].update(threat="adaptive:eot=x"), "spec: threat is"),
    "another budget": (lambda cell: cell["spec"].update(eps=16 / 255), "spec: eps is 0.0627"),
    "another norm": (lambda cell: cell["spec"].update(norm="l2"), "spec: norm is l2"),
    "clean with attack": (lambda cell: cell["spec"].update(kind="clean"), "a cell of kind clean with attack"),
    "a severity": (lambda cell: cell["spec"].update(severity=6), "spec: severity is 6"),
    "no corruption": (lambda cell: cell["spec"].update(severity=3), "with, or without, a corruption"),
    "a vector": (lambda cell: cell["clips"].update(trick=[1] * COUNT), "clips: trick is not known"),
    "no vector": (lambda cell: cell["clips"].pop("solved"), "clips: solved is missing"),
    "no list": (lambda cell: cell["clips"].update(correct=1.0), "clips: correct is 1.0"),
    "evidence": (lambda cell: cell["evidence"].update(probe={"n": 1}), "evidence: probe: range is missing"),
    "evidence of a type": (lambda cell: cell["evidence"].update(check=3), "evidence: check is 3"),
    "evidence unknown": (lambda cell: cell["evidence"].update(trick=3), "evidence: trick is not known"),
    "failed clips": (lambda cell: cell.update(failed=[{"id": "x"}]), "failed: reason is missing"),
    "failed with clips": (lambda cell: cell.update(status="error", error="x"), "failed, and has clips"),
    "notes": (lambda cell: cell.update(notes={"a": 1}), "notes is"),
}
VALUES = {
    "length": (lambda clips: clips["pred"].pop(), "unequal length"),
    "nothing": (lambda clips: [values.clear() for values in clips.values()], "unequal length, or none"),
    "above one": (lambda clips: clips["correct"].__setitem__(0, 1.5), "correct holds 1.5"),
    "negative": (lambda clips: clips["correct"].__setitem__(0, -0.5), "correct holds -0.5"),
    "text": (lambda clips: clips["correct"].__setitem__(0, "1"), 'correct holds "1"'),
    "nothing known": (lambda clips: clips["correct"].__setitem__(0, None), "correct holds null"),
    "half a class": (lambda clips: clips["pred"].__setitem__(0, 0.5), "pred holds 0.5"),
    "true": (lambda clips: clips["label"].__setitem__(0, True), "label holds true"),
    "huge": (lambda clips: clips["margin"].__setitem__(0, 10**400), "margin holds 1000"),
    "twice": (lambda clips: clips["id"].__setitem__(0, clips["id"][1]), "an id is there twice"),
    "right and wrong": (lambda clips: clips["pred"].__setitem__(0, 7), "is right, and its pred is not its label"),
    "solved": (lambda clips: clips["solved"].__setitem__(0, -2), "solved holds -2"),
}
PROVENANCE = {
    "no device": (lambda given: given.pop("device"), "device is missing"),
    "empty device": (lambda given: given.update(device=""), "device is"),
    "no time": (lambda given: given.pop("wall_s"), "wall_s is missing"),
    "negative time": (lambda given: given.update(wall_s=-1), "wall_s is -1"),
    "no versions": (lambda given: given.update(versions={}), "versions is {}"),
    "no date": (lambda given: given.update(started="yesterday"), "started is"),
    "dirty": (lambda given: given.update(commit="0123456789ab-dirty"), "had changes that are in no commit"),
    "unknown": (lambda given: given.update(user="me"), "user is not known"),
}


@pytest.mark.parametrize("name", SCHEMA)
def test_schema(folder, name):
    change, words = SCHEMA[name]
    found = changed(folder, change)
    assert {one[:2] for one in found} == {("error", "schema")} and any(words in said for _, _, said in found)


@pytest.mark.parametrize("name", VALUES)
def test_values(folder, name):
    change, words = VALUES[name]
    ((level, rule, said),) = changed(folder, lambda cell: change(cell["clips"]))
    assert (level, rule) == ("error", "values") and words in said


@pytest.mark.parametrize("name", PROVENANCE)
def test_provenance(folder, name):
    change, words = PROVENANCE[name]
    ((level, rule, said),) = changed(folder, lambda cell: change(cell["provenance"]))
    assert (level, rule) == ("error", "provenance") and words in said


def test_a_commit_without_changes_is_fine(folder):
    assert changed(folder, lambda cell: cell["provenance"].update(commit="0123456789ab")) == []


def test_limit(folder):
    cell = renamed(made_cell(shares(20), limit=8))
    Store(folder).put(cell)
    assert [(one.cell, one.words) for one in problems(folder)] == [(cell["cell"], "clips: 40, and the limit is 8")]


def test_a_name_must_be_the_hash_of_the_spec(folder):
    ((level, rule, words),) = changed(folder, lambda cell: cell["spec"].update(seed=7))
    assert (level, rule) == ("error", "hash")
    cell = attacked(10)
    cell["spec"]["seed"] = 7
    assert renamed(cell)["cell"] in words


def test_the_hash_is_that_of_the_bench(clips, labels, tmp_path):
    """Cells that the harness itself wrote keep every rule."""
    from conftest_models import build_net
    from robustvideo.benchmark import evaluate

    evaluate([build_net()], (clips, labels), "pgd:eps=8/255,steps=3", "shuffle:draws=1", threats=["oblivious"], store=tmp_path)
    found = problems(tmp_path)
    assert len(list(Store(tmp_path).cells())) >= 4
    assert [one for one in found if one.level == "error" and not one.words.startswith("provenance: commit")] == []


def test_a_file_must_lie_under_its_hash(folder):
    path = Store(folder).path(sound_cells()[2]["cell"])
    other = folder / "cells" / "zz" / path.name
    other.parent.mkdir()
    shutil.copy(path, other)
    assert [(one.rule, one.cell) for one in problems(folder)] == [("place", path.stem)]


@pytest.mark.parametrize(
    "text", ["{", "", "[]", "3", '{"schema": NaN}', "[" * 100_000, '{"a": 1}', "\x00", '{"schema": 1, "cell": "../../x"}']
)
def test_what_is_no_cell_is_a_line(folder, text):
    (folder / "cells" / "ab").mkdir(exist_ok=True)
    (folder / "cells" / "ab" / "torn\x1b[31m.json").write_text(text)
    found = problems(folder)
    assert found and {(one.level, one.rule) for one in found} == {("error", "schema")}
    assert all((one.words + one.cell).isprintable() for one in found)


def test_bytes_that_are_no_text_and_links_and_strangers(folder):
    (folder / "cells" / "notes.txt").write_bytes(b"\xff\xfe")
    (folder / "cells" / "link.json").symlink_to("/etc/hostname")
    words = [one.words for one in problems(folder)]
    assert len(words) == 2 and any("is a link" in one for one in words) and any("is not JSON" in one for one in words)


def test_no_store_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="holds no cells"):
        problems(tmp_path / "nothing")
    (tmp_path / "cells").mkdir()
    with pytest.raises(InputError, match="holds no cells"):
        problems(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda clips: clips["group"].__setitem__(3, "another video"),
        lambda clips: clips["id"].__setitem__(3, "another clip"),
        lambda clips: (clips["label"].__setitem__(39, 1), clips["pred"].__setitem__(39, 2)),
    ],
)
def test_cells_of_one_list_have_the_same_clips(folder, change):
    found = changed(folder, lambda cell: change(cell["clips"]), which=3)
    assert ("error", "clips") in {one[:2] for one in found}


def test_clips_that_failed_in_one_cell_are_no_difference(folder):
    def change(cell):
        cell["failed"] = [{"id": cell["clips"]["id"][-1], "reason": "torn"}]
        for values in cell["clips"].values():
            values.pop()

    assert changed(folder, change) == []


def test_budget(folder):
    found = changed(folder, lambda cell: cell["clips"]["linf"].__setitem__(5, 9 / 255))
    assert [one[:2] for one in found] == [("error", "over-budget")] and "largest linf change 0.0352941" in found[0][2]
    assert changed(folder, lambda cell: cell["evidence"].update(outside=1))[0][1] == "budget-projected"
    assert changed(folder, lambda cell: cell["clips"]["linf"].__setitem__(5, 8 / 255 + 1e-7)) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("cells.csv", "0.95,", "0.97,", "top1 is 0.97, its cells make 0.95"),
        ("cells.csv", "top1_low", "top1_lo", "column top1_low is missing"),
        ("clips.csv", "clip-0000", "clip-9999", "clip-9999 is of no cell"),
        ("leaderboard.csv", "0.95,", "0.99,", "clean is 0.99, its cells make 0.95"),
    ],
)
def test_tables_are_what_the_cells_make(folder, file, old, new, words):
    write_tables(Store(folder))
    results = Results.read([folder])
    files.write(files.files(build(results), results, []), folder)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    found = problems(folder)
    assert found and {(one.level, one.rule) for one in found} == {("error", "table")}
    assert any(words in one.words and one.words.startswith(file) for one in found)


def test_tables_are_links_or_no_text(folder):
    (folder / "cells.csv").symlink_to("/etc/hostname")
    (folder / "clips.csv").write_bytes(b"\xff\xfe")
    assert [one.words.partition(":")[0] for one in problems(folder)] == ["cells.csv is a link", "clips.csv cannot be read"]


def test_differences_of_tables():
    made = "cell,limit,top1\na,8,0.5\nb,,0.25\n"
    assert differences(made, made, ["cell"]) == []
    assert differences("cell,limit,top1\nb,,0.25\na,8.0,0.50000000000001\n", made, ["cell"]) == []  # another order, last digits
    assert differences("cell,limit,top1\na,8,0.5\n", made, ["cell"]) == ["row b is missing"]
    assert differences(made + "c,,1\n", made, ["cell"]) == ["row c is of no cell"]
    assert differences("cell,limit,top1\na,8,0.6\nb,,0.25\n", made, ["cell"]) == ["a: top1 is 0.6, its cells make 0.5"]
    assert differences("cell,limit,top1\na,8,\nb,,0.25\n", made, ["cell"]) == ["a: top1 is empty, its cells make 0.5"]
    for torn in ("", "cell\na,b\n", made + "a,8,0.5\n", 'cell,limit,top1\n"a', "cell,cell\n", "top1\n1\n"):
        assert "is no such table" in differences(torn, made, ["cell"])[0]


ORDERS = {
    "above-clean": ([made_cell(shares(10)), attacked(30)], [made_cell(shares(10)), attacked(13)]),
    "larger-eps-weaker": ([attacked(5, 4), attacked(30, 8)], [attacked(5, 4), attacked(8, 8)]),
    "more-steps-weaker": ([attacked(5, 8, 10), attacked(30, 8, 50)], [attacked(30, 8, 10), attacked(5, 8, 50)]),
    "severity-milder": ([corrupted(5, 1), corrupted(30, 5)], [corrupted(30, 1), corrupted(5, 5)]),
    "adaptive-weaker": (
        [attacked(5, defense="shuffle", threat="oblivious"), attacked(30, defense="shuffle")],
        [attacked(30, defense="shuffle", threat="oblivious"), attacked(5, defense="shuffle")],
    ),
}


@pytest.mark.parametrize("rule", ORDERS)
def test_orders_that_cannot_be(tmp_path, rule):
    planted, sound = ORDERS[rule]
    assert problems(put_all(tmp_path / "sound", sound)) == []
    ((level, found, cell, words),) = problems(put_all(tmp_path / "planted", planted))
    assert (level, found, cell) == ("alarm", rule, planted[1]["cell"])
    (lost, gained) = (sum(one["clips"]["correct"]) for one in planted)
    p = stats.binomtest(int(gained - lost), int(gained - lost), alternative="greater").pvalue
    assert f"p = {p:.2g}" in words and planted[0]["cell"] in words


def test_clips_of_one_video_are_one(tmp_path):
    """25 clips more are 3 videos more: p = 1/8."""
    alone = [made_cell(shares(10), per_source=1), attacked(35)]
    together = [made_cell(shares(10), per_source=10), attacked(35, per_source=10)]
    assert [one.rule for one in problems(put_all(tmp_path / "alone", alone))] == ["above-clean"]
    assert problems(put_all(tmp_path / "together", together)) == []


def test_oblivious_attacks_may_be_weaker_with_more(tmp_path):
    cells = [attacked(right, eps, defense="shuffle", threat="oblivious") for right, eps in ((5, 4), (30, 8))]
    assert problems(put_all(tmp_path, cells)) == []


@pytest.mark.parametrize("p", [[0.01], [0.01, 0.04, 0.03, 0.005], [0.5, 0.5, 1.0], [0.02, 0.02], [1e-9, 0.9, 0.049]])
def test_holm(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1].tolist())
    assert holm([]) == []


def test_verb(folder, capsys):
    verb.submission(folder)
    assert capsys.readouterr().out == "0 errors, 0 alarms\n"
    (folder / "cells" / "[red]torn").write_text("{")
    with pytest.raises(Exit) as stopped:
        verb.submission(folder)
    said = capsys.readouterr().out.splitlines()
    assert stopped.value.exit_code == 1 and said[0].startswith("error: schema: [red]torn: cells/[red]torn is not JSON")
    assert said[1:] == ["1 errors, 0 alarms"]
    with pytest.raises(Exit):
        verb.submission(folder, json=True)
    (one,) = json.loads(capsys.readouterr().out)
    assert one["level"] == "error" and set(one) == {"level", "rule", "cell", "words"}


def test_no_value_makes_it_crash(folder):
    """Every leaf of a cell, replaced by something else, ends in problems or none, and never in an exception."""
    cell = sound_cells()[7]
    path = Store(folder).path(cell["cell"])
    tried = 0
    for place, value in itertools.product(list(_leaves(cell)), (None, -1, 1e300, "\ud800", [], {}, [None], "a+", ":", True)):
        broken = copy.deepcopy(cell)
        part = broken
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = value
        for one in (broken, renamed(broken)) if isinstance(broken["spec"], dict) else (broken,):
            path.write_text(json.dumps(one))
            tried += 1
            assert all(found.words.isprintable() for found in _alone(path, folder))
    assert tried > 500


def _alone(path, folder):
    from robustvideo.leaderboard.submission import _read

    return _read(path, folder)[0]


def _leaves(value, place=()):
    if place:
        yield place
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(one, (*place, key))
    elif isinstance(value, list) and value and len(place) < 4:
        yield from _leaves(value[0], (*place, 0))
