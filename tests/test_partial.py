"""A cell that is interrupted goes on where it was, to the same numbers."""

import json
import os
import shutil

import cv2
import numpy as np
import pytest
import torch
from grids import model_file
from robustvideo.attacks.append import Append
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import Batch
from robustvideo.benchmark.evaluation import checks, measure, run
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.checks import Sample
from robustvideo.benchmark.evaluation.engine import partial
from robustvideo.benchmark.evaluation.engine.plan import grid_of
from robustvideo.benchmark.evaluation.measure import Measured
from robustvideo.benchmark.evaluation.memory import ROOMS
from robustvideo.benchmark.evaluation.request import Request
from robustvideo.benchmark.evaluation.store import Store
from robustvideo.benchmark.evaluation.target import CountedTarget

FOOTAGE = {}
"""Decoded once; everything else is made anew, as in another process."""


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    path = model_file(tmp_path_factory.mktemp("model"))
    common = {"model": [f"{path}:build"], "defense": ["shuffle"], "limit": 8}
    attacks = Request(**common, attack=["pgd:steps=2,random_start=true"])
    corruptions = Request(**common, corruption=["fog"], severity="3")
    return [*grid_of(attacks).cells(), *grid_of(corruptions).cells()[-2:]]


def bench_for(stop_after=None, size=3):
    """A bench, which is asked to stop after so many batches."""
    bench = Bench(torch.device("cpu"), size)
    bench.footage = FOOTAGE.setdefault(size, bench.footage)
    if stop_after is not None:
        answers = iter([False] * (stop_after - 1))
        bench.stopped = lambda: next(answers, True)
    return bench


def numbers(result):
    assert result["status"] == "ok", result["error"]
    return {name: value for name, value in result.items() if name != "provenance"}


def interrupted(cell, path):
    """The state after one more batch."""
    with pytest.raises(KeyboardInterrupt):
        run.run_cell(cell, bench_for(stop_after=1), path)
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def attacked(cells):
    return next(cell for cell in cells if str(cell.threat) == "white-box")


@pytest.fixture(scope="module")
def whole(attacked):
    return numbers(run.run_cell(attacked, bench_for()))


def test_every_kind_of_cell_goes_on_after_its_last_batch(cells, tmp_path, monkeypatch):
    kinds = set()
    for number, cell in enumerate(cells):
        keep = tmp_path / f"{number}.json"
        assert [interrupted(cell, keep)["batches"] for _ in range(3)] == [1, 2, 3]
        with monkeypatch.context() as patch:
            patch.setattr(run, "_measure_batch", lambda *_: pytest.fail("measured twice"))
            result = numbers(run.run_cell(cell, bench_for(), keep))
        assert result == numbers(run.run_cell(cell, bench_for()))
        kinds.add((cell.kind, str(cell.threat)))
    assert len(kinds) == 5 and len(cells) == 7


def test_ctrl_c_is_heard_between_the_checks_of_an_attack(attacked, whole, tmp_path, monkeypatch):
    """Three batches of eight clips, then two checks: a stop before either keeps all batches, and no later check is made."""
    made, craft = [], checks.craft
    monkeypatch.setattr(checks, "craft", lambda *more, **how: made.append(1) or craft(*more, **how))
    for heard, crafted in ((4, 0), (5, 1)):
        keep = tmp_path / f"{heard}.json"
        with pytest.raises(KeyboardInterrupt):
            run.run_cell(attacked, bench_for(stop_after=heard), keep)
        assert len(made) == crafted and json.loads(keep.read_text())["batches"] == 3
        made.clear()
    monkeypatch.setattr(run, "_measure_batch", lambda *_: pytest.fail("measured twice"))
    assert numbers(run.run_cell(attacked, bench_for(), keep)) == whole


def test_the_time_of_earlier_pieces_counts(attacked, tmp_path):
    path = tmp_path / "state.json"
    state = interrupted(attacked, path)
    assert 0 < state["wall_s"] < 60
    path.write_text(json.dumps(state | {"wall_s": 1000.0}))
    assert run.run_cell(attacked, bench_for(), path)["provenance"]["wall_s"] > 1000


def test_the_time_counts_once_where_batches_are_halved(attacked, tmp_path, monkeypatch):
    path, measure = tmp_path / "state.json", run._measure_batches
    path.write_text(json.dumps(interrupted(attacked, path) | {"wall_s": 1000.0}))

    def fails(cell, bench, kept):
        monkeypatch.setattr(run, "_measure_batches", measure)
        kept.load(bench.batch_of(cell), Measured(), Sample())
        kept.save(1, Measured(), Sample(), now=True)
        raise torch.OutOfMemoryError("made up")

    monkeypatch.setattr(run, "_measure_batches", fails)
    assert 1000 < run.run_cell(attacked, bench_for(), path)["provenance"]["wall_s"] < 1900


def test_what_does_not_fit_is_ignored(attacked, whole, tmp_path):
    keep = tmp_path / "keep.json"
    state = interrupted(attacked, keep)
    assert numbers(run.run_cell(attacked, bench_for(size=4), keep))["clips"] == whole["clips"], "another batch size"
    older = {name: value for name, value in state.items() if name != "schema"} | {"sample": {}, "evidence": {}}
    others = [json.dumps(one) for one in (older, older | {"schema": state["schema"] + 1})]
    for text in ("", keep.read_text()[:-20], "[1]", "3", "\x00", *others):
        keep.write_text(text)
        assert numbers(run.run_cell(attacked, bench_for(), keep)) == whole


def test_numbers_are_never_put_to_other_clips(attacked, whole, tmp_path):
    keep = tmp_path / "keep.json"
    state = interrupted(attacked, keep)
    keep.write_text(json.dumps(state | {"ids": state["ids"][1:] + state["ids"][:1]}))
    result = run.run_cell(attacked, bench_for(), keep)
    assert result["status"] == "error" and "other clips can be decoded than before" in result["error"]
    assert numbers(run.run_cell(attacked, bench_for(), keep)) == whole, "as it says: run it again"


def test_an_automatic_batch_size_is_the_one_that_the_cell_was_begun_with(attacked, whole, tmp_path, monkeypatch):
    """Another process may have found another one: by other memory, or because it ran out of it."""
    keep, sizes, measure = tmp_path / "keep.json", [], run._measure_batch
    interrupted(attacked, keep)
    monkeypatch.setattr(run, "_measure_batch", lambda *more: sizes.append(len(more[4].ids)) or measure(*more))
    bench = bench_for(size=None)
    result = run.run_cell(attacked, bench, keep)
    assert numbers(result) == whole and sizes == [3, 2] and result["provenance"]["batch_size"] == 3
    assert bench.batch_of(attacked) == 32, "other cells have their own"
    ROOMS.clear()
    keep.unlink()
    interrupted(attacked, keep)
    tried = []

    def full(*more):
        tried.append(len(more[4].ids))
        if tried[-1] > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        measure(*more)

    monkeypatch.setattr(run, "_measure_batch", full)
    bench = bench_for(size=None)
    assert numbers(run.run_cell(attacked, bench, keep))["clips"] == whole["clips"] and tried == [3] + 8 * [1]
    assert bench.batch_of(attacked) == 1, "and what did not fit is halved from there, for all"
    ROOMS.clear()
    monkeypatch.setattr(run, "_measure_batch", lambda *more: sizes.append(len(more[4].ids)) or measure(*more))
    keep.write_text(json.dumps(json.loads(keep.read_text() or "{}") | {"batch_size": 64}))
    sizes.clear()
    assert numbers(run.run_cell(attacked, bench_for(size=None), keep))["clips"] == whole["clips"] and sizes == [8], "too large"


def test_a_cell_that_fails_after_hours_goes_on_in_the_next_run(attacked, whole, tmp_path, monkeypatch):
    """What was lost, a file system say, may be there again."""
    store, bench, measure, calls = Store(tmp_path), bench_for(), run._measure_batch, []
    error = InputError("dataset", "the disk is away")

    def fails(*more):
        calls.append(1)
        if len(calls) == 3:
            raise error
        measure(*more)

    monkeypatch.setattr(partial, "EVERY", 0)
    monkeypatch.setattr(run, "_measure_batch", fails)
    (done,) = run.run_grid([attacked], bench, store)
    assert done.result["status"] == "error" and store.partial(bench.hash(attacked)).exists()
    (done,) = run.run_grid([attacked], bench_for(), store)
    assert numbers(done.result) == whole and len(calls) == 4 and not store.partial(bench.hash(attacked)).exists()
    calls.clear()
    error = RuntimeError("an attack of somebody's, who will mend it: then all of it is to be measured anew")
    (done,) = run.run_grid([attacked], bench, store, reuse="never")
    assert done.result["status"] == "error" and not store.partial(bench.hash(attacked)).exists()


def test_a_disk_that_is_full_for_a_while_costs_no_cell(attacked, whole, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(partial, "EVERY", 0)
    monkeypatch.setattr(os, "fsync", full)
    assert numbers(run.run_cell(attacked, bench_for(), tmp_path / "partial" / "keep.json")) == whole
    assert list((tmp_path / "partial").iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setattr(partial, "EVERY", 0)
    run.run_cell(attacked, bench_for(), tmp_path / "partial" / "keep.json")
    assert json.loads((tmp_path / "partial" / "keep.json").read_text())["batches"] == 3
    shutil.rmtree(tmp_path / "partial")


@pytest.mark.parametrize("attack", ["flicker:universal=true,cyclic=true,steps=6,fit_clips=16", "append:steps=6,fit_clips=16"])
@pytest.mark.parametrize("threat", ["oblivious", "adaptive:eot=2"])
def test_a_universal_perturbation_goes_on_in_the_round_where_it_was(attack, threat, cells, tmp_path, monkeypatch):
    """Six rounds of a batch; the numbers of Adam, the clips that wait and every stream are those of an undisturbed making."""
    asked = Request(model=[cells[0].model.text], attack=[attack], defense=["shuffle"], threat=[threat], limit=4)
    cell = next(cell for cell in grid_of(asked).cells() if str(cell.threat) == threat)
    whole, keep, rounds = numbers(run.run_cell(cell, bench_for())), tmp_path / "keep.json", []
    answer = CountedTarget.gradient
    monkeypatch.setattr(
        CountedTarget, "gradient", lambda self, clips, *more: rounds.append(len(clips)) or answer(self, clips, *more)
    )
    for _ in range(3):
        state = interrupted(cell, keep)
        assert state["batches"] == 0 and state["fitting"]
    assert len(rounds) == 3, "a round each"
    assert numbers(run.run_cell(cell, bench_for(), keep)) == whole
    assert whole["evidence"]["fit"]["gradients"] == 6 * 8 * (2 if "eot" in threat else 1)


def test_what_was_made_for_another_cell_is_kept_with_the_next_one(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(partial, "EVERY", 0)
    asked = Request(model=[cells[0].model.text], attack=["append:steps=3"], defense=["shuffle", "smoothing"], limit=4)
    first, second = [cell for cell in grid_of(asked).cells() if str(cell.threat) == "oblivious"]
    bench, keep = bench_for(), tmp_path / "keep.json"
    run.run_cell(first, bench)
    run.run_cell(first, bench, keep)
    assert json.loads(keep.read_text())["fitting"] == "", "made where nothing was kept"
    other = bench_for()
    run.run_cell(first, other, keep)
    answers = iter([False])
    other.stopped = lambda: next(answers, True)
    with pytest.raises(KeyboardInterrupt):
        run.run_cell(second, other, tmp_path / "second.json")
    assert json.loads((tmp_path / "second.json").read_text())["fitting"] == json.loads(keep.read_text())["fitting"] != ""


def test_a_perturbation_goes_on_in_batches_of_another_size_and_not_on_other_clips(cells, tmp_path, monkeypatch):
    asked = Request(model=[cells[0].model.text], attack=["append:steps=6,fit_clips=16"], limit=4)
    cell, keep, rounds = grid_of(asked).cells()[1], tmp_path / "keep.json", []
    whole = numbers(run.run_cell(cell, bench_for()))
    interrupted(cell, keep)
    interrupted(cell, keep)
    state, answer = keep.read_text(), CountedTarget.gradient
    monkeypatch.setattr(CountedTarget, "gradient", lambda self, *more: rounds.append(1) or answer(self, *more))
    assert numbers(run.run_cell(cell, bench_for(size=2), keep)) == whole and len(rounds) == 4
    keep.write_text(state)
    other = bench_for()
    batch = other.fitting_batch(cell)
    other.fitting_batch = lambda cell: Batch(batch.records[1:], batch.clips[1:])  # one that was read then cannot be read now
    assert numbers(run.run_cell(cell, other, keep))["evidence"]["fit"]["clips"] == 15 and len(rounds) == 4 + 6


def test_one_set_of_rounds_is_kept(cells, monkeypatch):
    monkeypatch.setattr(Append, "fit", lambda self, target, *more: [list(target.rounds(2, dict, print)) for _ in range(2)])
    asked = Request(model=[cells[0].model.text], attack=["append"], limit=4)
    result = run.run_cell(grid_of(asked).cells()[1], bench_for())
    assert result["status"] == "error" and "one set of rounds" in result["error"]


def test_later_moments_go_on_after_their_last_batch(cells, tmp_path, monkeypatch):
    for number, label in enumerate("abcdefgh"):
        folder = tmp_path / "videos" / label / "clip"
        folder.mkdir(parents=True)
        for frame in range(12):
            level = np.full((16, 16, 3), 20 * frame + number, dtype=np.uint8)
            cv2.imwrite(str(folder / f"{frame:02d}.png"), level)
    data = f"folder:root={tmp_path / 'videos'}"
    asked = Request(model=[cells[0].model.text], dataset=data, shifts=2, defense=["shuffle"], threat=["oblivious"])
    cell = grid_of(asked).cells()[1]
    whole = numbers(run.run_cell(cell, Bench(batch_size=4)))
    assert len(whole["clips"]["flips"]) == 8 and cell.defense
    keep, judged, judge = tmp_path / "keep.json", [], measure.judge
    monkeypatch.setattr(measure, "judge", lambda *more: judged.append(1) or judge(*more))
    for heard in (3, 3):  # asked after every batch of the clips as they are, and before every later one
        answers = iter([False] * heard)
        bench = Bench(batch_size=4, stopped=lambda answers=answers: next(answers, True))
        with pytest.raises(KeyboardInterrupt):
            run.run_cell(cell, bench, keep)
    assert len(judged) == 3 and [len(seen) for seen in json.loads(keep.read_text())["later"]] == [8, 4]
    assert numbers(run.run_cell(cell, Bench(batch_size=4), keep)) == whole and len(judged) == 4
