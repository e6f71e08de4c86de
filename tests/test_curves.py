"""Curves and matrices from stored cells."""

import copy
import io
import sys

import pandas as pd
import pytest
from conftest_models import build_net
from PIL import Image
from robustvideo.benchmark import evaluate
from robustvideo.benchmark.cli.main import main
from robustvideo.benchmark.evaluation.store import Store
from robustvideo.leaderboard import curve_files
from robustvideo.leaderboard.curves import frame_curves, query_curves, transfers

PGD = "pgd:eps=8/255,steps=3"
TABLES = {"frames.csv", "queries.csv", "transfer.csv"}


@pytest.fixture(scope="module")
def once(clips, labels, tmp_path_factory):
    """Two models, each attacked with clips made on itself and on the other, with and without a defence."""
    folder = tmp_path_factory.mktemp("store")
    models = [build_net(), build_net(seed=6)]
    evaluate(models, (clips, labels), PGD, "shuffle:draws=1", threats=["transfer", "oblivious"], store=folder)
    return list(Store(folder).cells())


@pytest.fixture
def cells(once):
    return copy.deepcopy(once)


def attacked(cells, threat="white-box"):
    return next(cell for cell in cells if cell["spec"]["kind"] == "attack" and cell["spec"]["threat"].startswith(threat))


def black_box(cells, solved, **changes):
    """A cell whose clips were first seen fooled at these calls, of 20 each."""
    cell = attacked(cells)
    cell["reports"] = ["queries"]
    cell["clips"] |= {"solved": solved, "queries": [20] * 5, "gradients": [0] * 5} | changes
    return cell


def test_success_against_queries(cells):
    black_box(cells, [1, 7, -1, 7, 12])
    curve = query_curves(cells)
    assert curve[["queries", "success"]].values.tolist() == [[1, 0.2], [7, 0.6], [12, 0.8], [20, 0.8]]
    assert (curve["clips"] == 5).all()


def test_the_interval_is_wilson_s(cells):
    peer = pytest.importorskip("statsmodels.stats.proportion")
    black_box(cells, [1, 7, -1, 7, 12])
    row = query_curves(cells).iloc[1]
    assert (row["success_low"], row["success_high"]) == pytest.approx(peer.proportion_confint(3, 5, method="wilson"))


def test_gradients_count_as_calls(cells):
    black_box(cells, [-1, 30, -1, -1, -1], gradients=[15] * 5)
    assert query_curves(cells)["queries"].tolist() == [1, 30, 35]


def test_long_curves_are_thinned_and_keep_their_ends(cells):
    cell = black_box(cells, [-1] * 5)
    count = 1000
    many = {
        "solved": list(range(2, count + 2)),
        "queries": [5000] * count,
        "gradients": [0] * count,
        "group": list(map(str, range(count))),
    }
    cell["clips"] |= many
    curve = query_curves(cells)
    assert len(curve) <= 202 and curve["queries"].iloc[[0, -1]].tolist() == [1, 5000] and curve["success"].iloc[-1] == 1
    assert curve["success"].is_monotonic_increasing


@pytest.mark.parametrize("change", ["not reported", "oblivious", "universal", "failed"])
def test_cells_without_a_curve(cells, change):
    cell = black_box(cells, [3] * 5)
    if change == "not reported":
        cell["reports"] = []
    elif change == "oblivious":
        cell["spec"]["threat"] = "oblivious"
    elif change == "universal":
        cell["evidence"]["fit"] = {"clips": 3, "gradients": 0, "queries": 9}
    else:
        cell |= {"status": "error", "clips": {}}
    assert query_curves(cells).empty


def test_accuracy_by_frame(cells):
    cell = attacked(cells)
    # Clip 1 was wrong anyway in all of its frames; the last clips lie in batches in which nothing was tried.
    cell["notes"] = {"fooled_by_frame": [[0.0, 1.0, 0.0], None, [None, None, None], [0.0, 1.0, 1.0]]}
    curve = frame_curves(cells)
    assert curve["frame"].tolist() == [0, 1, 2] and curve["accuracy"].tolist() == [0.4, 0.0, 0.2]
    assert curve["mean"].tolist() == pytest.approx([0.2] * 3) and curve["worst"].tolist() == [0.0] * 3


def test_other_notes_make_no_frame_curve(cells):
    attacked(cells)["notes"] = {"fooled_by_frame": [1.0, 0.0, None, 1.0, 1.0], "period": [[1.0]] * 5}
    assert frame_curves(cells).empty


def test_the_transfer_matrix(once):
    table = transfers(once)
    bare, behind = table[table["defense"] == "none"], table[table["defense"] != "none"]
    for rows, own in ((bare, "white-box"), (behind, "oblivious")):
        assert len(rows) == 4 and len(rows.groupby(["source", "model"])) == 4
        diagonal = rows[rows["source"] == rows["model"]]
        assert (diagonal["threat"] == own).all() and (rows["threat"].str.startswith("transfer:").sum()) == 2
    by_hash = {cell["cell"]: cell for cell in once}
    for row in table.to_dict("records"):
        stored = by_hash[row["cell"]]["clips"]["correct"]
        assert row["accuracy"] == pytest.approx(sum(stored) / len(stored)) and row["clips"] == 5
    own, other = (bare[(bare["source"] == bare["model"]) == same]["accuracy"].mean() for same in (True, False))
    assert own < other, "clips made on a model hurt it more than another"


def test_without_transfers_there_is_no_matrix(once):
    assert transfers([cell for cell in once if not cell["spec"]["threat"].startswith("transfer")]).empty


@pytest.fixture
def vbench(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["vbench", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


def test_the_leaderboard_writes_them(cells, vbench, tmp_path):
    black_box(cells, [1, 7, -1, 7, 12])["notes"] = {"fooled_by_frame": [[0.0, 1.0]] * 5}
    store = Store(tmp_path / "store")
    for cell in cells:
        store.put(cell)
    code, out, err = vbench("leaderboard", store.folder, "--out", tmp_path / "out")
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert code == 0 and {*TABLES, "pictures/queries.png", "pictures/frames.svg"} <= set(written)
    assert len(err.splitlines()) == len(written) and all(name in err for name in written)
    assert (tmp_path / "out" / "leaderboard.md").read_text() == out
    for title in ("# Leaderboard", "## Success against queries", "## Accuracy by attacked frame", "## Transfer, made on"):
        assert title in out
    assert "| 1 | 10 | all |" in out and "| 20.0 | 60.0 | 80.0 [37.6, 96.4] at 20 |" in out
    assert len(pd.read_csv(tmp_path / "out" / "queries.csv")) == 4
    for name in ("queries", "frames"):
        assert Image.open(io.BytesIO((tmp_path / "out" / "pictures" / f"{name}.png").read_bytes())).size[0] > 500


def test_a_store_without_such_cells_gets_none(cells, vbench, tmp_path):
    store = Store(tmp_path)
    for cell in cells:
        if not cell["spec"]["threat"].startswith("transfer"):
            store.put(cell)
    code, out, _ = vbench("leaderboard", tmp_path)
    assert code == 0 and "## Success" not in out and "## Transfer" not in out
    files = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert "leaderboard.csv" in files and not files & TABLES


def test_a_mark_beyond_a_cell_s_queries_stays_open(cells):
    few, many = black_box(cells, [2] * 5), copy.deepcopy(attacked(cells))
    many |= {"cell": "other"}
    many["clips"]["queries"] = [2000] * 5
    text = curve_files.markdown({"queries": query_curves([few, many])})
    assert "| 0.0 | 100.0 | - | - |" in text and "| 0.0 | 100.0 | 100.0 | 100.0 |" in text
