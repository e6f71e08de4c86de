"""The store under failure, and the tables that are made of it."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest_models import build_net
from robustvideo.benchmark import InputSpec, Model, evaluate
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.evaluation.flags import cross_flags, own_flags
from robustvideo.benchmark.evaluation.store import Store
from robustvideo.benchmark.evaluation.tables import CELL_COLUMNS, CLIP_COLUMNS, cells_table
from robustvideo.leaderboard import files
from robustvideo.leaderboard.board import build
from robustvideo.leaderboard.markdown import markdown
from robustvideo.leaderboard.results import Results

PGD = "pgd:eps=8/255,steps=3"


@pytest.fixture(scope="module")
def once(net, clips, labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    evaluate(net, (clips, labels), PGD, "shuffle", store=folder)
    return folder


@pytest.fixture
def filled(once, tmp_path):
    """A store of five cells, to be spoilt."""
    shutil.copytree(once, tmp_path / "store")
    return Store(tmp_path / "store")


def test_the_same_run_again_computes_nothing(filled, net, clips, labels):
    before = {path: path.stat().st_mtime_ns for path in filled.folder.rglob("*.json")}
    assert len(before) == 5
    evaluate(net, (clips, labels), PGD, "shuffle", store=filled.folder)
    assert {path: path.stat().st_mtime_ns for path in filled.folder.rglob("*.json")} == before
    evaluate(net, (clips, labels), PGD, "shuffle", store=filled.folder, reuse="never")
    after = {path: path.stat().st_mtime_ns for path in filled.folder.rglob("*.json")}
    assert after.keys() == before.keys() and all(after[path] > before[path] for path in before)


def test_only_cache_computes_nothing(filled, net, clips, labels):
    rows = evaluate(net, (clips, labels), [PGD, "pgd:eps=2/255,steps=3"], "shuffle", store=filled.folder, reuse="only-cache")
    assert len(rows) == 5 and len(list(filled.cells())) == 5


def test_whatever_moves_a_number_moves_the_hash_and_nothing_else_does(net, clips, labels, tmp_path):
    def cells(**options):
        data = options.pop("data", (clips, labels))
        return set(evaluate(net, data, options.pop("attacks", PGD), store=tmp_path, **options)["cell"])

    base = cells()
    assert cells(batch_size=2) == base and cells(device="cpu") == base
    assert not cells(seed=1) & base
    assert not cells(limit=3) & base
    assert len(cells(attacks="pgd:eps=8/255,steps=4") & base) == 1, "only the clean cell is shared"
    assert not cells(data=(clips.flip(3), labels)) & base


def test_results_do_not_depend_on_the_batch_size(net, clips, labels):
    tables = [evaluate(net, (clips, labels), PGD, "shuffle", batch_size=size) for size in (5, 2)]
    for column in ("cell", "top1", "top5", "linf", "grad_calls"):
        assert tables[0][column].tolist() == tables[1][column].tolist()


def test_tables(filled):
    cells, clips = pd.read_csv(filled.folder / "cells.csv"), pd.read_csv(filled.folder / "clips.csv")
    assert list(cells) == CELL_COLUMNS and list(clips) == CLIP_COLUMNS
    assert len(cells) == 5 and len(clips) == 25
    merged = clips.groupby("cell")["correct"].mean()
    for row in cells.itertuples():
        assert row.top1 == pytest.approx(merged[row.cell], abs=1e-6)
        assert row.top1_low <= row.top1 <= row.top1_high and row.n == 5
    attacked = cells[cells["kind"] == "attack"]
    assert (attacked["linf"] <= 8 / 255 + 1e-6).all() and (attacked["grad_calls"] == 15).all()
    white = cells[cells["threat"] == "white-box"].iloc[0]
    assert white["asr"] == pytest.approx(1 - white["top1"]), "every clip is right before the attack"


def test_the_checks_do_not_depend_on_the_batch_size(net, clips, labels, tmp_path):
    for size in (5, 1):
        evaluate(net, (clips, labels), PGD, batch_size=size, store=tmp_path / str(size))
    found = [next(cell for cell in Store(tmp_path / str(size)).cells() if cell["evidence"].get("check")) for size in (5, 1)]
    assert found[0]["evidence"]["check"] == found[1]["evidence"]["check"] and found[0]["evidence"]["check"]["n"] == 5


class Signed(torch.nn.Module):
    """Two of these have the same state, and say the opposite."""

    def __init__(self, sign):
        super().__init__()
        self.sign = sign

    def forward(self, clips):
        bright = clips.mean(dim=(1, 2, 3, 4))[:, None]
        return torch.cat([bright, -bright], dim=1) * self.sign


def test_models_of_equal_state_are_not_taken_for_one_another(clips, tmp_path):
    models = [Model(Signed(sign), InputSpec(8, 12, 12, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), 2) for sign in (1, -1)]
    data = clips, torch.zeros(5, dtype=torch.long)
    apart = [evaluate(model, data, store=tmp_path)["top1"].item() for model in models]
    together = evaluate(models, data, store=tmp_path, reuse="never")["top1"].tolist()
    assert apart == [1.0, 0.0] and sorted(together) == [0.0, 1.0]


def test_a_model_that_was_trained_on_is_another_and_comes_back_as_it_was(clips, labels, tmp_path):
    model = build_net(seed=3).requires_grad_(True).train()
    first = evaluate(model, (clips, labels), store=tmp_path)
    assert model.training and all(value.requires_grad for value in model.parameters())
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    second = evaluate(model, (clips, labels), store=tmp_path)
    assert first["weights_sha256"].item() != second["weights_sha256"].item() and first["cell"].item() != second["cell"].item()


def test_a_tie_is_neither_right_nor_a_success(clips, tmp_path):
    class Flat(torch.nn.Module):
        def forward(self, x):
            return 0 * x.mean(dim=(1, 2, 3, 4))[:, None] + torch.zeros(1, 3)

    rows = evaluate(Model(Flat(), InputSpec(8, 12, 12), 3), (clips, torch.zeros(5, dtype=torch.long)), PGD)
    assert (rows["top1"] == 0).all()


def test_the_same_entry_twice_is_one_cell(net, clips, labels):
    assert len(evaluate(net, (clips, labels), [PGD, PGD], ["shuffle", "shuffle"])) == 5


def test_bad_tensors(net, clips, labels):
    for data in ((clips.numpy(), labels), (clips, labels.float()), (clips * 2, labels), (clips[:, :2], labels)):
        with pytest.raises(InputError, match="dataset"):
            evaluate(net, data)
    short = evaluate(net, (clips[:, :, :4], labels))
    assert short["status"].item() == "error" and "the model takes (3, 8, 12, 12)" in short["error"].item()
    with pytest.raises(InputError, match="wrap it"):
        evaluate(torch.nn.Sequential(torch.nn.Flatten()), (clips, labels))


def test_a_failed_cell_is_a_row_and_is_tried_again(net, clips, labels, tmp_path, monkeypatch):
    from robustvideo.attacks.pgd import PGD as Attack

    def broken(self, *_):
        raise RuntimeError("out of luck\nand more")

    monkeypatch.setattr(Attack, "run", broken)
    rows = evaluate(net, (clips, labels), PGD, store=tmp_path)
    failed = rows[rows["status"] == "error"].iloc[0]
    assert failed["error"] == "RuntimeError: out of luck and more" and failed["n"] == 0
    kept = evaluate(net, (clips, labels), PGD, store=tmp_path, reuse="always")
    assert (kept["status"] == "error").sum() == 1
    monkeypatch.undo()
    assert (evaluate(net, (clips, labels), PGD, store=tmp_path)["status"] == "ok").all()


def test_a_full_disk_is_one_line_and_loses_nothing(filled, net, clips, labels, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    before = {path: path.read_bytes() for path in filled.folder.rglob("*.json")}
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        evaluate(net, (clips, labels), "pgd:steps=2", store=filled.folder)
    assert {path: path.read_bytes() for path in filled.folder.rglob("*") if path.suffix in (".json", ".tmp")} == before


def test_strange_files_are_named(filled):
    odd = filled.folder / "cells" / "zz"
    odd.mkdir()
    (odd / "x.json").write_text("{")
    with pytest.raises(InputError, match="x.json is not JSON"):
        list(filled.cells())
    (odd / "x.json").write_text('{"schema": 99}')
    with pytest.raises(InputError, match="no cell of schema"):
        list(filled.cells())
    (odd / "x.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="x.json is not JSON"):
        list(filled.cells())


def test_a_cell_of_another_version_costs_a_run_no_tables(filled, net, clips, labels, capsys):
    odd = filled.folder / "cells" / "00" / f"{'0' * 24}.json"
    odd.parent.mkdir(exist_ok=True)
    odd.write_text('{"schema": 99, "status": "ok"}')
    (filled.folder / "cells.csv").unlink()
    rows = evaluate(net, (clips, labels), "pgd:steps=2", store=filled.folder)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"vbench: left out of the tables: store: {odd} is no cell of schema 1; use the vbench version that wrote it"
    assert set(pd.read_csv(filled.folder / "cells.csv")["cell"]) >= set(rows["cell"]) and (rows["status"] == "ok").all()


WRITER = """
import sys
from pathlib import Path
from robustvideo.benchmark.evaluation.store import SCHEMA, Store
store, number = Store(Path(sys.argv[1])), 0
while True:
    name = f"{number % 40:02x}" * 12
    store.put({"schema": SCHEMA, "cell": name, "spec": {}, "status": "ok", "clips": "x" * 200_000, "number": number})
    print(number, flush=True)
    number += 1
"""


def test_kill_9_at_random_moments_tears_nothing(tmp_path):
    rnd = random.Random(7)
    for _ in range(6):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout
        assert writer.stdout.readline() == "0\n"
        time.sleep(rnd.uniform(0, 0.15))
        writer.send_signal(signal.SIGKILL)
        written = [0, *(int(line) for line in writer.stdout.read().split())]
        writer.wait()
        numbers = {cell["cell"]: cell["number"] for cell in Store(tmp_path).cells()}
        for number in written[-40:]:
            assert numbers[f"{number % 40:02x}" * 12] >= number, "what was announced as stored is there"


def stored(**changes):
    cell = json.loads(json.dumps({"evidence": {"zero": 0, "nonfinite": 0, "outside": 0}, "failed": []}))
    return cell | changes


@pytest.mark.parametrize(
    ("check", "flags"),
    [
        ({"attack": 0.25, "doubled": 0.25, "single_step": 0.5}, []),
        ({"attack": 0.25, "doubled": 0.24, "single_step": 0.5}, ["not-converged"]),
        ({"attack": 0.25, "doubled": 0.25, "single_step": 0.2}, ["weaker-than-single-step"]),
        ({"attack": 0.25, "doubled": None, "single_step": None}, []),
    ],
)
def test_own_flags(check, flags):
    assert own_flags(stored(evidence={"check": check})) == flags


def test_cross_flags():
    assert cross_flags(0.5, 0.9, 0.6, "adaptive:eot=1") == []
    assert cross_flags(0.95, 0.9, None, "white-box") == ["attacked-above-clean"]
    assert cross_flags(0.7, 0.9, 0.6, "adaptive:eot=1") == ["adaptive-weaker-than-oblivious"]
    assert cross_flags(0.7, 0.9, 0.6, "oblivious") == []


def test_flags_of_neighbours_come_from_the_stored_files(filled):
    """Rewrite the stored clean cell as worse than the attacked ones: the table notices without any recomputation."""
    for path in filled.folder.rglob("cells/??/*.json"):
        cell = json.loads(path.read_text())
        if cell["spec"]["kind"] == "clean":
            cell["clips"]["correct"] = [0.0] * 5
        elif cell["spec"]["threat"] != "oblivious":
            cell["clips"]["correct"] = [1.0] * 5
        else:
            cell["clips"]["correct"] = [0.5] * 5
        path.write_text(json.dumps(cell))
    table = cells_table(filled.cells()).set_index("threat")
    assert "attacked-above-clean" in table.loc["white-box", "flags"]
    assert "adaptive-weaker-than-oblivious" in table.loc["adaptive:eot=1", "flags"]
    assert pd.isna(table.loc["white-box", "asr"])


def listed(store):
    """The leaderboard's rows, section by section."""
    return [row for section in build(Results.read([store.folder])).sections for row in section.rows]


def test_leaderboard(filled, tmp_path):
    rows = listed(filled)
    assert sorted(row.defense for row in rows) == ["none", "shuffle:h1=none,h2=none,preset=auto,draws=10"]
    assert rows[0].values["worst"].mean >= rows[1].values["worst"].mean
    clips = pd.read_csv(filled.folder / "clips.csv").merge(pd.read_csv(filled.folder / "cells.csv"), on="cell")
    shuffled = clips[(clips["defense"] != "none") & (clips["kind"] == "attack")]
    by_hand = shuffled.groupby("clip")["correct"].min().mean()
    (worst,) = [row.values["worst"].mean for row in rows if row.defense != "none"]
    assert worst == pytest.approx(by_hand)
    results = Results.read([filled.folder])
    files.write(files.files(build(results), results), tmp_path / "out")
    assert pd.read_csv(tmp_path / "out" / "leaderboard.csv")["clips"].tolist() == [5, 5]
    page = (tmp_path / "out" / "leaderboard.md").read_text()
    assert page.startswith(markdown(build(results))) and "full knowledge" in page


def test_a_defended_row_without_its_adaptive_number_says_so(filled):
    for path in filled.folder.rglob("cells/??/*.json"):
        if json.loads(path.read_text())["spec"]["threat"].startswith("adaptive"):
            path.unlink()
    plain, behind = listed(filled)
    assert plain.defense == "none", "a row without a worst case stands last"
    assert "no-adaptive:pgd" in behind.flags and not any(flag.startswith("no-adaptive") for flag in plain.flags)
    assert "worst" not in behind.values and behind.rank is None and plain.rank == (1, 1)


def test_rows_of_other_clips_and_lesser_attacks_are_kept_apart(filled, net, clips, labels):
    evaluate(net, (clips[:3], labels[:3]), PGD, store=filled.folder)
    assert len(listed(filled)) == 3 and markdown(build(Results.read([filled.folder]))).count("## tensors") == 2
    other = build_net(seed=8)
    evaluate(other, (clips, labels), "pgd:eps=1/255,steps=1", store=filled.folder)
    undefended = [row for row in listed(filled) if row.defense == "none" and row.clips == 5]
    assert sum("missing:pgd" in row.flags for row in undefended) == 2, "each lacks the attack of the other"


def test_stores_with_nothing_to_show(filled, net, clips, labels, tmp_path, monkeypatch):
    for path in filled.folder.rglob("cells/??/*.json"):
        cell = json.loads(path.read_text())
        path.write_text(json.dumps(cell | {"status": "error", "error": "x", "clips": {}, "evidence": {}}))
    assert all("worst" not in row.values and row.values["clean"].failed == "x" for row in listed(filled))
    for path in filled.folder.rglob("cells/??/*.json"):
        path.unlink()
    with pytest.raises(InputError, match="holds no cells"):
        listed(filled)


def test_hostile_names_stay_in_their_cell(filled):
    path = next(filled.folder.rglob("cells/??/*.json"))
    cell = json.loads(path.read_text())
    cell["spec"]["model"] = "a|b<script>\nc`d"
    path.write_text(json.dumps(cell))
    lines = markdown(build(Results.read([filled.folder]))).splitlines()
    row = next(line for line in lines if "script" in line)
    assert "a\\|b&lt;script&gt; c\\`d" in row
    assert row.replace("\\|", "").count("|") == next(line for line in lines if line.startswith("| rank")).count("|")


def test_no_store(tmp_path):
    with pytest.raises(InputError, match="holds no cells"):
        Results.read([Path(tmp_path)])
