"""Estimates of plans: a store tells what the same cells took before, and the longest go first."""

import csv
from functools import partial
from pathlib import Path

import pytest
from grids import asked, model_file, planned
from robustvideo.benchmark.evaluation import run
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.engine.plan import Plan, grid_of
from robustvideo.benchmark.evaluation.engine.rates import Rates
from robustvideo.benchmark.evaluation.engine.summary import Summary
from robustvideo.benchmark.evaluation.store import Store
from robustvideo.benchmark.evaluation.tables import write_tables

PASS, DECODED = 0.01, 3
"""Made-up seconds of a forward pass, and how many times as long it takes where clips are decoded, too."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return f"{model_file(tmp_path_factory.mktemp('model'))}:build"


@pytest.fixture
def ask(model, tmp_path):
    """A request on eight clips."""

    return partial(asked, model=[model], store=str(tmp_path / "store"))


def record(found, store):
    """Runs the cells, and stores the seconds that their passes would have taken; returns them."""
    bench, ticks, seconds = Bench(), [], []
    bench.tick = ticks.append
    for one in found.cells:
        ticks.clear()
        cell = found.cell(one)
        result = run.run_cell(cell, bench)
        assert result["status"] == "ok", result["error"]
        seconds.append(PASS * sum(ticks) * (DECODED if cell.kind == "clean" else 1))
        result["provenance"]["wall_s"] = seconds[-1]
        store.put(result)
    write_tables(store)
    return seconds


GRIDS = {
    "fooled clips leave": {"attack": ["pgd:steps=4", "pgd:steps=20", "square:queries=20"]},
    "full strength": {"attack": ["pgd:steps=4", "noise:queries=9"], "defense": ["shuffle", "smoothing:draws=3"]},
    "eot": {"attack": ["pgd:steps=2"], "defense": ["smoothing:draws=3"], "threat": ["adaptive:eot=3", "oblivious"]},
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_the_estimate_of_recorded_cells_is_the_time_that_they_took(ask, grid):
    store = Store(Path(ask().store))
    took = record(planned(ask(**grid)), store)
    found = planned(ask(**grid, reuse="never"))
    said = Summary.of(found, Bench()).seconds
    assert sum(said) == pytest.approx(sum(took), rel=0.25)
    for one, estimated, seconds in zip(found.cells, said, took, strict=True):
        assert seconds / 2 < estimated < 2 * seconds, one.name


def test_whoever_comes_first_makes_the_adversarial_clips_unless_they_lie_there(ask):
    """An oblivious cell whose undefended neighbour is stored makes them itself."""
    request = ask(attack=["pgd:steps=3"], defense=["bit-depth", "jpeg"], threat=["oblivious"], batch_size=3)
    store, bench = Store(Path(request.store)), Bench(batch_size=3)

    def work_by_threat():
        found = planned(request, bench)
        return [one.work for one in found.cells if " (oblivious)" in one.name], found

    (first, second), found = work_by_threat()
    assert first == second == 8, "the undefended cell makes them, which the plan holds open"
    white = next(found.cell(one) for one in found.cells if "white-box" in one.name)
    store.put(run.run_cell(white, bench))
    assert work_by_threat()[0] == [8 + 8 * 3 * 3, 8]
    folder = store.folder / "artifacts" / bench.crafted_key(white)
    folder.mkdir(parents=True)
    for number, expected in ((0, 8 + 8 * 3 * 3), (1, 8 + 8 * 3 * 3), (2, 8)):
        (folder / f"{number}.npz").touch()
        assert work_by_threat()[0][0] == expected, "three batches are all of them"


def stored_rows(folder, rows):
    """A table of cells as a run writes it, of these columns and nothing else that matters."""
    usual = {"status": "ok", "device": "cpu", "dtype": "float32", "kind": "attack", "strength": "full", "attack": "pgd:steps=5"}
    usual |= {"defense": "none", "threat": "white-box", "n": 32, "failed": 0, "flips": "", "wall_s": 1.0}
    folder.mkdir(exist_ok=True)
    with (folder / "cells.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*usual, "model"])
        writer.writeheader()
        writer.writerows(usual | row for row in rows)


def test_only_comparable_cells_count_and_no_file_is_run(ask, tmp_path):
    bench, found = Bench(), planned(ask(attack=["pgd:steps=5"]))
    clean, attacked = (found.cell(one) for one in found.cells)
    of, store = {"model": clean.model.text}, Store(tmp_path / "store")
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")

    def rate(cell, *rows, precision="float32"):
        stored_rows(store.folder, rows)
        return Rates(store, Bench(precision=precision), [clean, attacked]).seconds(cell, 1)

    passes = 32 * (1 + 3 * 5) + 16 * (1 + 3 * 10 + 1 + 3)  # and the checks: twice the steps, and one
    brief = of | {"strength": "first-success"}
    assert rate(attacked, brief) == pytest.approx(1 / passes) and rate(clean, brief) is None
    assert rate(attacked, of) == rate(clean, of) == pytest.approx(1 / passes), "what is known of full strength bounds the others"
    assert rate(clean, of, of | {"kind": "clean", "attack": "none", "threat": "none"}) == pytest.approx(1 / 32)
    assert rate(attacked, of, of | {"dtype": "bf16", "wall_s": 8}, precision="bf16") == pytest.approx(8 / passes)
    others = [{"device": "Another GPU"}, {"status": "error"}, {"threat": "oblivious"}, {"threat": "transfer:x"}, {"model": "y"}]
    others += [{"attack": "gone"}, {"flips": "0.5"}, {"attack": f"{tmp_path}/evil.py:X"}, {"defense": f"{tmp_path}/evil.py:X"}]
    assert rate(attacked, *(of | other for other in others)) is None and not (tmp_path / "ran").exists()
    (store.folder / "cells.csv").write_text("of,another,version\n1,2,3\n")
    assert Rates(store, bench, [clean]).seconds(clean, 1) is None
    assert all(0 < one < 60 for one in Summary.of(found, bench).seconds), "one pass is timed"


def test_the_longest_bundle_goes_first_by_time_where_the_store_tells_it(ask, model, tmp_path):
    slow, strange = f"{model}:wait=0.0001", f"{model}:wait=0.0002"
    request = ask(model=[model, slow, strange], attack=["pgd:steps=9", "pgd:steps=1"])
    names = {one.text: name for one, name in zip(grid_of(request).models, ("fast", "slow", "strange"), strict=True)}

    def order(found):
        first = [found.cell(bundle[0]) for bundle in found.bundles()]
        return [f"{names[cell.model.text]} {cell.attack.create().steps}" for cell in first if cell.attack]

    by_passes = ["fast 9", "slow 9", "strange 9", "fast 1", "slow 1", "strange 1"]
    assert order(planned(request)) == by_passes
    texts = {name: text for text, name in names.items()}
    stored_rows(tmp_path / "store", [{"model": texts["fast"]}, {"model": texts["slow"], "wall_s": 100}])
    found = planned(request)
    assert order(found) == ["slow 9", "strange 9", "slow 1", "strange 1", "fast 9", "fast 1"]
    path = found.write(Store(tmp_path / "store"))
    (tmp_path / "store" / "cells.csv").unlink()
    assert order(Plan.read(path)) == order(found), "the plan says so to every worker, whatever the store holds by then"
