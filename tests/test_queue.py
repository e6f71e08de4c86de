"""What stands in a store while its plans are worked on, and what becomes of it: plans, adversarial clips, leases."""

import errno
import os
from pathlib import Path

import pytest
import torch
from grids import files, model_file
from robustvideo.benchmark.cli.follow import _queued
from robustvideo.benchmark.cli.worker import worker
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.evaluation import run
from robustvideo.benchmark.evaluation.api import bench_of
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.engine.leases import Leases
from robustvideo.benchmark.evaluation.engine.plan import plan, stays
from robustvideo.benchmark.evaluation.engine.prune import prune
from robustvideo.benchmark.evaluation.engine.summary import Summary
from robustvideo.benchmark.evaluation.engine.worker import tidy, unfinished, work
from robustvideo.benchmark.evaluation.request import Request
from robustvideo.benchmark.evaluation.store import Store


@pytest.fixture
def asked(tmp_path):
    """Two attacks, each handed on to a defence."""
    model = [f"{model_file(tmp_path)}:build"]
    more = {"attack": ["fgsm", "pgd:steps=1"], "defense": ["shuffle"], "threat": ["oblivious"], "limit": 4, "device": "cpu"}

    def request(**changes):
        return Request(model=model, **(more | changes), store=str(tmp_path / "store"))

    return request


def planned(request):
    return plan(request, Bench(), Store(Path(request.store))), Store(Path(request.store))


def test_a_plan_of_ones_own_goes_and_one_of_somebody_else_stays(asked):
    found, store = planned(asked())
    path = found.path(store)
    with _queued(found, store):
        assert stays(path) is False
    assert not path.exists()
    with pytest.raises(KeyboardInterrupt), _queued(found, store):
        raise KeyboardInterrupt
    assert not path.exists()
    found.write(store)  # an older driver's, or left by one that was killed
    with pytest.raises(KeyboardInterrupt), _queued(found, store):
        raise KeyboardInterrupt
    assert path.exists(), "the older driver goes on"
    with _queued(found, store):
        pass
    assert not path.exists(), "all of it is done"
    found.write(store, stays=True)
    before = path.read_bytes()
    with _queued(found, store):
        pass
    assert path.read_bytes() == before, "workers may come later"


def test_what_failed_is_tried_again_although_the_plan_of_a_killed_driver_lies_there(asked):
    found, store = planned(asked(attack=None))
    path = found.write(store)
    os.utime(path, (1, 1))
    first = found.cells[0]
    store.put({"schema": 1, "cell": first.hash, "spec": {}, "status": "error", "error": "x", "clips": {}})
    os.utime(store.path(first.hash), (2, 2))
    since = path.stat().st_mtime
    assert not unfinished(first, found, store, since)
    with _queued(found, store):
        assert unfinished(first, found, store, path.stat().st_mtime)


def test_a_driver_does_not_take_away_the_plan_of_one_that_came_after_it(asked):
    found, store = planned(asked())
    path = found.path(store)
    with _queued(found, store):
        found.write(store)  # the later one's
        os.utime(path, (9e9, 9e9))
    assert path.exists()
    with _queued(found, store):
        pass
    assert not path.exists()
    worker(store.folder, found.id, "cpu", os.getppid(), True)  # one that comes too late has nothing to do
    assert not list(store.folder.glob("cells/*/*"))
    with pytest.raises(InputError, match=f"no plan {found.id} in its queue"):
        worker(store.folder, found.id, "cpu", None, True)


def test_adversarial_clips_lie_there_no_longer_than_they_are_needed(asked):
    found, store = planned(asked())
    found.write(store)
    sets = []
    with Leases(store.folder) as leases:
        for done in work(found, store, leases, Bench()):
            sets += [len(list(store.folder.glob("artifacts/*")))] if str(done.cell.threat) == "white-box" else []
    assert sets == [1, 1] and not list(store.folder.glob("artifacts/*"))
    assert Summary.of(found, Bench()).shared_bytes == 4 * 3 * 4 * 16 * 16


def test_prune_takes_finished_plans_and_on_request_open_ones(asked):
    found, store = planned(asked())
    found.write(store, stays=True)
    prune(store)
    assert found.path(store).exists(), "its cells are open"
    worker(store.folder, None, "cpu", None, True)
    prune(store)
    assert files(store.folder, "queue") == [] and len(list(store.cells())) == 8
    other, _ = planned(asked(seed=1))
    other.write(store)
    prune(store, everything=True)
    assert files(store.folder, "queue") == []


def test_one_bad_plan_does_not_keep_a_worker_from_the_others(asked):
    found, store = planned(asked(attack=None))
    path = found.write(store, stays=True)
    (path.parent / "0000.json").write_text("{")
    with pytest.raises(InputError, match="0000.json is no plan of this version"):
        worker(store.folder, None, "cpu", None, True)
    assert len(list(store.cells())) == 2


def test_an_idle_worker_helps_with_what_another_one_is_at(asked):
    """It leaves a bundle to the one that is in it, until nothing else is open: then it goes past the cell in other hands."""
    found, store = planned(
        asked(attack=None, corruption=["brightness"], severity="4", defense=["shuffle", "uniform"], threat=None)
    )
    found.write(store)
    (bundle,) = [bundle for bundle in found.bundles() if len(bundle) > 1]
    done = []
    bench = Bench(stopped=lambda: len(done) == 5)
    with Leases(store.folder) as other, Leases(store.folder) as leases:
        assert other.claim(bundle[0].hash)
        with pytest.raises(KeyboardInterrupt):
            for one in work(found, store, leases, bench):
                done.append(str(one.cell))
    assert len(found.cells) == 6 and len(done) == 5 and bundle[0].name not in done
    assert done[-2:] == [one.name for one in bundle[1:]], "last of all"


def test_no_worker_makes_a_universal_perturbation_that_another_one_makes(asked):
    found, store = planned(asked(attack=["append:steps=1"], defense=["shuffle"]))
    found.write(store)
    (bundle,) = [bundle for bundle in found.bundles() if len(bundle) > 1]
    done, looks = [], iter([False] * 12)
    bench = Bench(stopped=lambda: next(looks, True))
    with Leases(store.folder) as other, Leases(store.folder) as leases:
        assert other.claim(bundle[0].hash)
        with pytest.raises(KeyboardInterrupt):
            for one in work(found, store, leases, bench):
                done.append(str(one.cell))
    assert done and not {one.name for one in bundle} & set(done)


def test_a_store_of_another_version_is_no_cell_that_cannot_work(asked):
    found, store = planned(asked(attack=None))
    path = store.path(found.cells[0].hash)
    path.parent.mkdir(parents=True)
    path.write_text('{"schema": 99}')
    with pytest.raises(InputError, match="store: .* is no cell of schema 1; use the vbench version that wrote it"):
        plan(asked(attack=None), Bench(), store, strict=False)


def test_what_another_version_has_left_ends_no_run(tmp_path):
    store = Store(tmp_path)
    for path, text in ((store.path("abcd"), '{"schema": 99}'), (store.partial("abcd"), "{}")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    with Leases(store.folder) as leases:
        tidy(store, leases)
    assert store.partial("abcd").exists()


def test_only_cache_computes_nothing(asked):
    found, store = planned(asked(reuse="only-cache"))
    found.write(store, stays=True)
    worker(store.folder, None, "cpu", None, True)
    assert not list(store.folder.glob("cells/*/*"))


def test_a_disk_that_turns_read_only_hides_no_error(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    with Leases(tmp_path) as leases:
        assert leases.claim("a" * 24)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", refuse)
            leases.release("a" * 24)
        assert len(files(tmp_path, "leases")) == 1, "it grows old by itself"


def test_a_defence_that_cannot_stand_is_a_row(asked, monkeypatch):
    def fail(*_):
        raise RuntimeError("does not stand")

    monkeypatch.setattr(run, "_declared", fail)
    found, _ = planned(asked(attack=None))
    results = [run.run_cell(found.cell(one), Bench()) for one in found.cells]
    assert [result["status"] for result in results] == ["ok", "error"]
    assert results[1]["error"] == "RuntimeError: does not stand"


def test_this_machine_need_not_have_what_others_compute_on(asked):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match="device"):
        bench_of(asked(device="cuda"))
    with pytest.raises(InputError, match="tf32"):
        bench_of(asked(precision="tf32"))
    for request in (asked(device="cuda"), asked(precision="tf32")):
        assert not bench_of(request, elsewhere=True).computes
    bench = bench_of(asked(device="cuda", precision="tf32", executor="ray"))
    found, store = planned(asked())
    assert "time unknown, as no such cell is stored, 0.018 MB" in str(Summary.of(found, bench))


def test_options_of_other_executors_are_not_ignored():
    with pytest.raises(InputError, match="workers: inline computes in this process; add --executor local or ray"):
        Request(workers=2)
    with pytest.raises(InputError, match="address: local needs none; add --executor ray"):
        Request(address="10.0.0.1:6379", executor="local")
