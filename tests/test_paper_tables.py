"""The papers' tables: the grids of the TOML files, what a store holds of them, the numbers made of others, the verb."""

import csv
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from robustvideo.benchmark.cli.main import app
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.evaluation.stats import wilson
from robustvideo.benchmark.evaluation.studies import derived, grids, tables
from robustvideo.benchmark.evaluation.studies.grids import find_grid
from robustvideo.benchmark.evaluation.studies.places import Setting
from robustvideo.benchmark.evaluation.studies.sift import as_cell
from robustvideo.benchmark.evaluation.studies.states import entries
from robustvideo.benchmark.evaluation.studies.tables import outcome, outcome_of, published
from scipy import stats
from stores import made_cell, put_all
from typer.testing import CliRunner

NAMES = grids.names()


def stored(want, correct, **more):
    """A made-up cell of what a table wants."""
    dataset, split, limit, seed, model, defense, attack, threat, corruption, severity = want.key
    made = {"split": split, "limit": limit, "seed": seed, "dataset": dataset} | more
    return made_cell(correct, model, attack, defense, threat, corruption, severity, **made)


def place_of(grid, row, column):
    (found,) = [place for place in grid.places if (place.row, place.column) == (row, column)]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_published_number_has_its_place(name):
    grid = find_grid(name)
    labels = {(place.row, place.column) for place in grid.places}
    assert len(labels) == len(grid.places) and grid.title and grid.source and grid.differs
    made = {"best_steps": {"alpha", "slope", "intercept"}, "gains": {"Top-1 gain", "Top-5 gain"}}.get(grid.derive, set())
    rows = {row for row, _ in labels}
    for row, column in published(grid.published):
        own = (row, column) in labels or column in made or (grid.derive == "best_shuffle" and row.endswith(" / best"))
        assert own and (row in rows or grid.derive), f"{row}, {column} is published and has no place"
    with (tables.PUBLISHED / grid.published).open(encoding="utf-8", newline="") as file:
        assert len(published(grid.published)) == sum(bool(line["value"]) for line in csv.DictReader(file))


@pytest.mark.parametrize("name", NAMES)
def test_every_component_can_be_made_and_keys_are_those_of_the_engine(name):
    made = {}
    for want in find_grid(name).wants:
        for component in filter(None, (want.attack, want.corruption, *want.defense)):
            made.setdefault(component.text, component)
        cell = as_cell(want)
        engine = (cell.model.text, cell.defense_text, str(cell.threat or "none"), cell.severity)
        assert engine == (want.key[4], want.key[5], want.key[7], want.key[9])
        assert cell.kind in ("clean", "attack", "corruption") and not (want.attack and want.corruption)
    for component in made.values():
        live = component.create()
        if component.entry.kind == "corruption":
            live.setting(5)  # the severity table has it
        if component.entry.kind == "attack":
            assert live.eot == 1  # or the engine would raise the draws above those of the key


@pytest.mark.parametrize("name", NAMES)
def test_no_defended_number_without_its_adaptive_counterpart(name):
    grid = find_grid(name)
    known = {(place.row, want.key[:7]) for place in grid.places for want in place.wants if want.threat.startswith("adaptive")}
    weaker = [place for place in grid.places if place.threat in ("oblivious", "grey-box") and place.wants]
    assert all((place.row, want.key[:7]) in known for place in weaker for want in place.wants)


def test_the_index_names_everything_once():
    listed = [entry["name"] for entry in grids.index()]
    assert len(set(listed)) == len(listed) and set(NAMES) <= set(listed)
    for entry in grids.index():
        assert (entry["name"] in NAMES) + ("why" in entry) + ("study" in entry) == 1
    files = {path.stem for path in tables.PUBLISHED.glob("*-*.csv")} - {"rose-text"}
    assert files <= set(listed)


def test_a_column_of_several_attacks_is_their_mean(tmp_path):
    grid = find_grid("at-table4")
    place = place_of(grid, "Benign", "Masked PGD")
    assert len(place.wants) == 3
    shares = [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]
    put_all(tmp_path, [stored(want, share) for want, share in zip(place.wants, shares, strict=True)])
    row = outcome("at-table4", tmp_path).set_index(["row", "column"]).loc["Benign", "Masked PGD"]
    mean = (1 + 1 / 3 + 0 + 0) / 4
    assert row["ours"] == pytest.approx(mean) and row["clips"] == 4 and row["state"] == "measured"
    assert (row["low"], row["high"]) == pytest.approx(wilson(mean, 4))
    assert row["published"] == pytest.approx(0.07) and len(row["cells"].split()) == 3


def test_a_number_lacks_while_one_of_its_cells_does(tmp_path):
    place = place_of(find_grid("at-table4"), "Benign", "Masked PGD")
    put_all(tmp_path, [stored(want, [1, 1]) for want in place.wants[:2]])
    row = outcome("at-table4", tmp_path).set_index(["row", "column"]).loc["Benign", "Masked PGD"]
    assert row["state"] == "missing" and row["reason"] == "not measured yet: vbench paper at-table4" and np.isnan(row["ours"])


def test_failed_cells_missing_checkpoints_and_skips_say_why(tmp_path):
    grid = find_grid("rose-table3")
    half = place_of(grid, "rate 50%", "Top-1")
    put_all(tmp_path, [stored(want, [1], error="RuntimeError: no memory") for want in half.wants])
    rows = outcome("rose-table3", tmp_path).set_index("row")
    assert rows.loc["rate 50%", "state"] == "failed" and rows.loc["rate 50%", "reason"] == "RuntimeError: no memory"
    elsewhere = outcome("rose-table3", tmp_path, Setting(dataset="shapes-motion")).set_index("row")
    assert elsewhere.loc["rate 75%", "state"] == "missing"
    assert "vbench train --model tsm --defense rose:rate=0.75 --dataset shapes-motion" in elsewhere.loc["rate 75%", "reason"]
    skipped = outcome("rose-table4", tmp_path).set_index("row").loc["severity 2 or 3"]
    assert skipped["state"] == "skipped" and skipped["reason"] and skipped["published"] == pytest.approx(0.9655)


def test_the_number_of_draws_is_no_part_of_a_checkpoint():
    grid = find_grid("shuffling-table5")
    (want,) = place_of(grid, "I3D / Denoise", "Clean").wants
    shipped = replace(want, model=find_grid("at-table1").places[0].wants[0].model)
    assert want.defense[0].values["draws"] == 4 and tables.refusal(shipped) == ""  # shipped for tsm, with the default draws


def test_a_successful_newer_cell_counts():
    grid = find_grid("at-table1")
    (want,) = place_of(grid, "Benign", "eps=0").wants
    cells = [stored(want, [share], weights_sha256=str(number)) for number, share in enumerate([1, 0, 1])]
    for cell, day in zip(cells, "231", strict=True):
        cell["provenance"]["started"] = f"2026-11-0{day}T00:00:00+00:00"
    cells.append(stored(want, [1], weights_sha256="x", error="failed"))
    cells[-1]["provenance"]["started"] = "2026-11-09T00:00:00+00:00"
    row = outcome_of(grid, cells).set_index(["row", "column"]).loc["Benign", "eps=0"]
    assert (row["state"], row["ours"]) == ("measured", 0)


def test_the_best_step_and_its_line():
    grid = find_grid("at-fig2")
    steps = {1: 0.4, 2: 0.7, 4: 1, 6: 1.5, 8: 2, 12: 3}
    cells = []
    for place in grid.places:
        cell = stored(place.wants[0], [0, 0])
        near = abs(place.values["step"] - steps[place.values["eps"]])
        cell["clips"]["margin"] = [near - 1, near - 3]
        cells.append(cell)
    rows = outcome_of(grid, cells).set_index(["row", "column"])
    line = stats.linregress(list(steps), list(steps.values()))
    for eps, step in steps.items():
        assert rows.loc[f"eps={eps}", "alpha"]["ours"] == step
    assert rows.loc["fit", "slope"]["ours"] == pytest.approx(line.slope)
    assert rows.loc["fit", "slope"]["high"] - line.slope == pytest.approx(stats.t.ppf(0.975, 4) * line.stderr)
    assert rows.loc["fit", "slope"]["published"] == 0.2 and rows.loc["eps=8", "alpha"]["published"] == 1.8
    part = outcome_of(grid, cells[1:]).set_index(["row", "column"])  # a step of the first budget is missing
    assert ("eps=1", "alpha") not in part.index and ("eps=2", "alpha") in part.index


def test_the_best_shuffle_and_gains():
    grid = find_grid("shuffling-fig10")
    right = {("I3D / h1=2, h2=1", "Clean"): 1, ("I3D / h1=2, h2=1", "I-FGSM"): 0}
    right |= {("I3D / h1=3, h2=2", "Clean"): 0.75, ("I3D / h1=3, h2=2", "I-FGSM"): 0.5}
    cells = [stored(place_of(grid, *key).wants[0], [share] * 4) for key, share in right.items()]
    rows = outcome_of(grid, cells).set_index(["row", "column"])
    best = rows.loc["I3D / best"]
    assert (best.loc["h1", "ours"], best.loc["h2", "ours"], best.loc["I-FGSM", "ours"]) == (3, 2, 0.5)
    assert best.loc["I-FGSM", "published"] == pytest.approx(0.944) and best.loc["h2", "published"] == 4
    taf = find_grid("taf-table1")
    plain, tuned = "SSV1 / TSM / 8 frames", "SSV1 / TSM+TAF / 8 frames"
    cells = [stored(place_of(taf, row, "Top-1").wants[0], share) for row, share in ((plain, [1, 0]), (tuned, [1, 1]))]
    gain = outcome_of(taf, cells).set_index(["row", "column"]).loc[tuned, "Top-1 gain"]
    assert gain["ours"] == 0.5 and gain["published"] == pytest.approx(0.013) and gain["unit"] == "points"


def test_elsewhere_the_published_settings_hold(tmp_path):
    setting = Setting(f"kinetics400:root={tmp_path}", 4, {"i3d": "x.pth", "x3d": "x3d:preset=l,weights=y.pth"})
    grid = find_grid("shuffling-table5", setting)
    place = place_of(grid, "I3D / Ours", "I-FGSM")
    (want,) = place.wants
    assert want.limit == 4 and want.model.values["weights"] == "x.pth"
    assert want.attack.short == "ifgsm" and want.defense[0].short == "shuffle:preset=i3d"
    assert place_of(grid, "X3D / No", "Clean").wants[0].model.values["preset"] == "l"
    assert not any("Tiny models" in line for line in grid.differs)
    assert "x3d is x3d:preset=l; this table's is x3d:preset=m." in grid.differs


def test_typos_are_answered(tmp_path):
    with pytest.raises(InputError, match="did you mean shuffling-table5"):
        find_grid("shufling-table5")
    with pytest.raises(InputError, match="cannot be measured: MixUp"):
        find_grid("taf-table4")
    with pytest.raises(InputError, match="has no model 'i4d'"):
        find_grid("shuffling-table5", Setting(checkpoints={"i4d": "x.pth"}))
    result = CliRunner().invoke(app, ["paper", "at-table1", "--checkpoint", "tsm", "--store", str(tmp_path)])
    assert isinstance(result.exception, InputError) and "not MODEL=FILE" in str(result.exception)


def test_the_list_knows_what_was_measured(tmp_path):
    place = place_of(find_grid("at-table1"), "Benign", "eps=0")
    put_all(tmp_path, [stored(place.wants[0], [1, 1])])
    states = {entry.name: entry.state for entry in entries(tmp_path)}
    assert states["at-table1"].startswith("measured in this store (1 of 30 numbers)")
    assert states["shuffling-table2"] == "runs here"
    assert states["rose-table5"].startswith("part of it runs here, 3 of 8 numbers: the models' samplers")
    assert states["taf-table4"].startswith("cannot be run here: ")
    printed = CliRunner().invoke(app, ["paper", "list", "--json", "--store", str(tmp_path)])
    assert {row["name"] for row in json.loads(printed.stdout)} >= {*states, "temporal-shuffling/fig5"}


def test_an_outcome_needs_no_torch(tmp_path):
    put_all(tmp_path, [made_cell([1])])
    code = "import sys; from robustvideo.benchmark.evaluation.studies.tables import outcome; from pathlib import Path;"
    code += f"print(len(outcome('shuffling-table5', Path({str(tmp_path)!r}))), 'torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.split() == ["248", "False"], run.stderr


def test_the_verb_runs_a_table_once(tmp_path, monkeypatch):
    (tmp_path / "tables").mkdir()
    text = """
title = "tiny [b]table"
source = "nobody"
published = "none.csv"
dataset = "shapes"
split = "test"
limit = 2
differs = ["all"]
[[columns]]
label = "clean"
[[columns]]
label = "noise"
corruption = ["gaussian_noise:table=tiny-64", "shot_noise:table=tiny-64"]
severity = [1, 2]
[[rows]]
label = "TSM"
model = "tsm"
[[rows]]
label = "untrained"
model = "tsm"
defense = "at:eps=3/255"
[[rows]]
label = "none"
model = "tsm"
skip = "for a reason"
"""
    (tmp_path / "tables" / "mini.toml").write_text(text)
    monkeypatch.setattr(grids, "FOLDER", tmp_path / "tables")
    words = ["paper", "mini", "--store", str(tmp_path / "s"), "--out", str(tmp_path / "o"), "--device", "cpu"]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    assert "100.0" in first.stdout and "for a reason" in first.stdout and "tiny [b]table" in first.stdout
    assert "at:eps=3/255 --dataset shapes" in " ".join(first.stdout.split())
    table = pd.read_csv(tmp_path / "o" / "mini.csv")
    assert list(table["state"]) == ["measured", "measured", "missing", "missing", "skipped", "skipped"]
    assert list(table["clips"][:2]) == [2, 2] and len(table["cells"][1].split()) == 4
    again = CliRunner().invoke(app, words)
    assert "5 cells, 5 of them stored before" in again.stderr
    rows = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert rows[0]["ours"] == 1 and rows[4]["ours"] is None


def test_functions_of_derived_numbers_are_the_ones_that_are_named():
    assert {find_grid(name).derive for name in NAMES} - {""} == set(derived.FUNCTIONS)
