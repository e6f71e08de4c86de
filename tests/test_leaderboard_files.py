"""The files of a leaderboard: the same twice, written together or not at all, and compared with what lies in a folder."""

import io
import os
import re
import sys

import pandas as pd
import pytest
from robustvideo.benchmark.cli.main import main
from robustvideo.benchmark.core.errors import InputError
from robustvideo.leaderboard.files import OWN, differences, files, left_over, write
from robustvideo.leaderboard.results import Results
from robustvideo.leaderboard.rows import Board, Column, Picture, Row, Section, Value
from robustvideo.leaderboard.tracks import Track
from stores import PGD, made_cell, put_all

PLACE = {"dataset": "shapes", "split": "test", "limit": None, "manifest_sha256": "m", "seed": 0, "threat_model": "frames kept"}
PICTURE = Picture("tradeoff", "Clean against worst", "A point per <row>.", b"\x89PNG\r\n", "<svg>\n<g/>\n<g/>\n</svg>")
ALWAYS = ["leaderboard.md", "leaderboard.csv", "leaderboard_long.csv", "leaderboard.tex", "leaderboard.html"]


def board(model="tsm"):
    columns = (Column("clean", "clean", "clean", "Accuracy."), Column("worst", "worst", "worst", "The worst."))
    values = {"clean": Value(0.9, 0.8, 0.95), "worst": Value(0.5, 0.4, 0.6)}
    row = Row(model, "none", model, "none", 8, values, (1, 1), "a", (), "abc", PLACE, "2026-11-21T12:00:00+00:00")
    return Board("Leaderboard", "About.", (Section("shapes, test", columns, (row,), PLACE),))


def corrupted(model="tsm:preset=tiny,frames=none,size=none"):
    right = [1, 1, 1, 0]
    noise = [made_cell(right, model, corruption="gaussian-noise", severity=severity) for severity in range(1, 6)]
    return [made_cell([1] * 4, model), *noise]


@pytest.fixture
def made():
    return files(board(), Results(corrupted()), [PICTURE])


def test_every_format_is_there(made):
    tables = ["corruption_models.csv", "corruption_families.csv", "corruptions.csv"]
    assert list(made) == [*ALWAYS, "pictures/tradeoff.png", "pictures/tradeoff.svg", *tables]
    text = made["leaderboard.md"]
    assert text.index("# Leaderboard") < text.index("pictures/tradeoff.png") < text.index("# Corruptions")
    assert "![A point per &lt;row&gt;.]" in text and "| 75.0 |" in text, "mPC of three right clips of four"
    assert pd.read_csv(io.StringIO(made["corruptions.csv"]))["accuracy"].tolist() == [0.75]
    assert set(made) - {"pictures/tradeoff.png", "pictures/tradeoff.svg"} < set(OWN)


def test_the_same_cells_make_the_same_bytes(made, tmp_path):
    again = Results.read([put_all(tmp_path, corrupted())])
    assert files(board(), again, [PICTURE]) == made


def test_what_was_written_does_not_differ(made, tmp_path):
    paths = write(made, tmp_path / "deep" / "out")
    assert [str(path.relative_to(tmp_path / "deep" / "out")) for path in paths] == list(made)
    assert differences(made, tmp_path / "deep" / "out") == [] and left_over(made, tmp_path / "deep" / "out") == []
    present = {str(path.relative_to(tmp_path / "deep/out")) for path in (tmp_path / "deep/out").rglob("*") if path.is_file()}
    assert present == set(made), "nothing else is left behind"
    assert (tmp_path / "deep/out/pictures/tradeoff.png").read_bytes() == PICTURE.png


def test_each_difference_has_its_line(made, tmp_path):
    write(made, tmp_path)
    (tmp_path / "leaderboard.tex").unlink()
    lines = made["leaderboard.md"].split("\n")
    number = next(number for number, line in enumerate(lines, 1) if "| 90.0" in line or "90.0 [" in line)
    edited = made["leaderboard.md"].replace("90.0", "99.0", 1)
    (tmp_path / "leaderboard.md").write_text(edited)
    (tmp_path / "leaderboard.csv").write_text(made["leaderboard.csv"] + "more\n")
    (tmp_path / "leaderboard_long.csv").write_bytes(made["leaderboard_long.csv"].encode()[:-1])
    (tmp_path / "queries.csv").write_text("old")
    (tmp_path / "cells.csv").write_text("not ours")
    ends = {name: made[name].count("\n") + 1 for name in ("leaderboard.csv", "leaderboard_long.csv")}
    assert differences(made, tmp_path) == [
        f"leaderboard.md: differs from line {number}",
        f"leaderboard.csv: differs from line {ends['leaderboard.csv']}",
        f"leaderboard_long.csv: differs from line {ends['leaderboard_long.csv']}",
        "leaderboard.tex: missing",
        "queries.csv: left over from an earlier leaderboard; delete it",
    ]
    assert differences(made, tmp_path / "nowhere") == [f"{name}: missing" for name in made]


def test_pictures_are_only_looked_for(made, tmp_path):
    write(made, tmp_path)
    (tmp_path / "pictures/tradeoff.png").write_bytes(b"drawn by another version")
    (tmp_path / "pictures/own.png").write_bytes(b"somebody's")
    assert differences(made, tmp_path) == []
    (tmp_path / "pictures/tradeoff.svg").unlink()
    assert differences(made, tmp_path) == ["pictures/tradeoff.svg: missing"]


def test_pictures_inside_the_page_are_left_out_and_nothing_else(tmp_path):
    page = 'a\n<img src="data:image/svg+xml;base64,{}">\nb\nc\n'
    made = {"leaderboard.html": page.format("QUJD")}
    (tmp_path / "leaderboard.html").write_text(page.format("R" * 40))
    assert differences(made, tmp_path) == []
    (tmp_path / "leaderboard.html").write_text(page.format("R").replace("\nc", "\nd"))
    assert differences(made, tmp_path) == ["leaderboard.html: differs from line 4"]
    for hidden in ("<svg><h1>rank 1</h1></svg>", '<svg x="><h1>rank 1</h1></svg>', 'R"><h1>rank 1</h1><i title="R'):
        (tmp_path / "leaderboard.html").write_text(page.format(hidden))
        assert differences(made, tmp_path) == ["leaderboard.html: differs from line 2"]


def test_carriage_returns_are_differences(made, tmp_path):
    write(made, tmp_path)
    (tmp_path / "leaderboard.csv").write_bytes(made["leaderboard.csv"].replace("\n", "\r\n").encode())
    assert differences(made, tmp_path) == ["leaderboard.csv: differs from line 1"]


def test_a_half_character_is_written(tmp_path):
    write(files(board("a\ud800b"), Results([])), tmp_path)
    assert "a?b" in (tmp_path / "leaderboard.csv").read_text()


def test_all_or_none(made, tmp_path, monkeypatch):
    write({"leaderboard.md": "old"}, tmp_path)
    (tmp_path / "corruptions.csv").mkdir()
    with pytest.raises(InputError, match=r"^out: cannot write .*corruptions.csv is a folder"):
        write(made, tmp_path)
    (tmp_path / "corruptions.csv").rmdir()
    written = os.fsync

    def full(handle):
        if any((one / "leaderboard.tex").exists() for one in tmp_path.glob(".leaderboard.*")):
            raise OSError(28, "No space left on device")
        written(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        write(made, tmp_path)
    assert (tmp_path / "leaderboard.md").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} <= {"leaderboard.md", "pictures"}


def test_a_file_in_the_place_of_the_folder(made, tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(InputError, match="out: cannot write"):
        write(made, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "x"


@pytest.fixture
def vbench(monkeypatch, capsys):
    """The verb; pictures, which have tests of their own, are not drawn."""
    monkeypatch.setattr("robustvideo.leaderboard.pictures.pictures", lambda results, board: [PICTURE])

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["vbench", "leaderboard", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def two(tmp_path):
    """Two stores, of a model each."""
    cells = [made_cell([1] * 6 + [0] * 2, model) for model in ("tsm", "i3d")]
    attacked = [made_cell([1] * 3 + [0] * 5, model, PGD) for model in ("tsm", "i3d")]
    return [put_all(tmp_path / name, [cells[n], attacked[n]]) for n, name in enumerate(("one", "other"))]


def test_the_verb_writes_checks_and_finds(two, vbench, tmp_path):
    out = tmp_path / "board"
    code, said, err = vbench(*two, "--out", out)
    assert code == 0 and (out / "leaderboard.md").read_text() == said and "| tsm |" in said and "| i3d |" in said
    paths = [line for line in err.splitlines() if line.startswith(str(out))]
    assert set(paths) == {str(path) for path in out.rglob("*") if path.is_file()}
    assert len(pd.read_csv(out / "leaderboard.csv")) == 2 and not list(two[0].glob("leaderboard*"))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert vbench(*two, "--out", out, "--check")[:2] == (0, f"{out}: all {len(paths)} files are as the stores make them\n")
    code, said, _ = vbench(two[0], "--out", out, "--check")
    assert code == 1 and "leaderboard.csv: differs from line " in said
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}, "a check writes nothing"


def test_the_page_offers_the_tracks_that_the_store_has_cells_of(vbench, tmp_path):
    models = [f"{name}:preset=tiny,frames=none,size=none" for name in ("tsm", "i3d")]
    fog, pgd = Track.read("shapes-corruptions").corruptions[4], Track.read("shapes-linf").attacks[0]
    cells = [made_cell([1] * 4, models[0], corruption=fog, severity=level) for level in range(1, 6)]
    cells += [made_cell([1] * 4, models[1], corruption="gaussian-noise", severity=level) for level in range(1, 6)]
    store = put_all(tmp_path, [*(made_cell([1] * 4, model) for model in models), *cells, made_cell([0] * 4, models[0], pgd)])

    def offered(*more):
        assert vbench(store, "-q", *more)[0] == 0
        found = re.findall(r'<option value="[0-9]*">(.*)</option>', (store / "leaderboard.html").read_text())
        return [one for one in found if one != "all"]

    assert offered() == ["all cells", "shapes-corruptions", "shapes-linf"]
    plain = put_all(tmp_path / "plain", [made_cell([1] * 4, models[0]), made_cell([0] * 4, models[0], PGD.replace("8/", "2/"))])
    assert vbench(plain, "-q")[0] == 0 and 'id="track"' not in (plain / "leaderboard.html").read_text(), "clean alone is no track"
    assert offered("--track", "shapes-linf") == [], "its page is the track's"
    assert vbench(store, "--track", "shapes-corruptions", "--baseline", models[1])[0] == 2
    assert offered("--baseline", models[1]) == ["all cells", "shapes-linf"], "what the command refuses is not offered"


def test_by_default_it_goes_into_the_first_store(two, vbench):
    assert vbench(two[1], two[0], "--quiet")[2] == ""
    assert {path.name for path in two[1].glob("leaderboard*")} == set(ALWAYS) and not list(two[0].glob("leaderboard*"))


def test_a_left_over_file_is_named_and_stays(two, vbench):
    (two[0] / "queries.csv").write_text("old")
    code, _, err = vbench(*two, "-q")
    assert code == 0 and err.splitlines() == [f"{two[0] / 'queries.csv'} is left over from an earlier leaderboard; delete it"]
    assert vbench(*two, "--check")[:2] == (1, "queries.csv: left over from an earlier leaderboard; delete it\n")
    assert (two[0] / "queries.csv").read_text() == "old"


@pytest.mark.parametrize(
    ("words", "message"),
    [(["nowhere"], "holds no cells"), (["{store}", "--track", "nosuch"], "track"), (["{store}", "--baseline", "x"], "baseline")],
)
def test_bad_input_is_one_line(words, message, two, vbench, tmp_path):
    code, said, err = vbench(*(word.format(store=two[0]) for word in words), "--out", tmp_path / "board")
    assert code == 2 and said == "" and message in err and len(err.splitlines()) == 1
    assert not (tmp_path / "board").exists(), "nothing is half-written"


def test_stores_that_contradict_each_other_are_refused_in_one_line(two, vbench, tmp_path):
    again = put_all(tmp_path / "again", [made_cell([0] * 6 + [1] * 2, "tsm")])
    code, said, err = vbench(*two, again, "--out", tmp_path / "board")
    assert (code, said) == (2, "") and len(err.splitlines()) == 1 and not (tmp_path / "board").exists()
    assert f"is right about other clips in {two[0]} than in {again}" in err
