"""Many processes over one store: the same cells, whoever computes them, and whatever kills them."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from grids import assert_nothing_left, children, contents, files, finish, model_file, start, until, words
from robustvideo.benchmark.cli.worker import worker
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.evaluation.engine.leases import Leases
from robustvideo.benchmark.evaluation.engine.worker import ABANDONED, tidy
from robustvideo.benchmark.evaluation.store import SCHEMA, Store

LOCAL = ("--executor", "local", "--workers", 2)
TSM = "tsm:frames=8,size=32,weights=random"
SHUFFLED = ("--defense", "shuffle")
MORE = ("--attack", "pgd:steps=3")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_file(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def undisturbed(model, tmp_path_factory):
    """The cells of the small grid."""
    store = tmp_path_factory.mktemp("undisturbed")
    ran = finish("run", *words(store, f"{model}:build:wait=0.3", *MORE, "--quiet"))
    assert ran.returncode == 0, ran.stderr
    assert_nothing_left(store)
    return contents(store)


@pytest.fixture
def again(model, tmp_path, undisturbed):
    """Runs the small grid once more over the test's store, and looks that everything is as it should be."""

    def run(*more):
        ran = finish("run", *words(tmp_path, f"{model}:build:wait=0.3", *MORE, "--quiet", *more))
        assert ran.returncode == 0, ran.stderr
        assert contents(tmp_path) == undisturbed
        assert_nothing_left(tmp_path)

    return run


def test_the_same_cells_whoever_computes_them(tmp_path, capsys):
    for name, more in (("inline", ()), ("local", LOCAL)):
        ran = finish("run", *words(tmp_path / name, TSM, *SHUFFLED, "--quiet", *more))
        assert ran.returncode == 0, ran.stderr
        assert_nothing_left(tmp_path / name)
    assert not list((tmp_path / "local" / "log").iterdir()), "workers had nothing to say"
    assert finish("plan", *words(tmp_path / "hand", TSM, *SHUFFLED, "--queue")).returncode == 0
    pair = [start("worker", "--store", str(tmp_path / "hand"), "--device", "cpu") for _ in range(2)]
    said = [process.communicate(timeout=900)[1] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], said
    lines = [line for text in said for line in text.splitlines() if "nothing was open" not in line]
    assert len(lines) == 5, "each cell was computed by one of them"
    assert len(files(tmp_path / "hand", "queue")) == 1, "a plan of one's own stays, for workers that come later"
    assert (tmp_path / "hand" / "cells.csv").exists()
    inline, local, hand = (contents(tmp_path / name) for name in ("inline", "local", "hand"))
    assert len(inline) == 5 and inline == local == hand

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "hand" / "cells").rglob("*.json")}
    worker(tmp_path / "hand", None, "cpu", None, False)
    assert "nothing was open" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "hand" / "cells").rglob("*.json")} == before


@pytest.fixture
def queued(model, tmp_path):
    """A plan of one clean cell, as a file that may be spoilt."""
    assert finish("plan", *words(tmp_path, f"{model}:build", "--queue")).returncode == 0
    (path,) = files(tmp_path, "queue")
    return path


def test_bad_plans_are_one_line(queued, tmp_path):
    good = json.loads(queued.read_text())

    def fails(match, name=None, **changes):
        queued.write_text(json.dumps(good | changes))
        with pytest.raises(InputError, match=match):
            worker(tmp_path, name, "cpu", None, True)
        assert files(tmp_path, "leases") == [] and contents(tmp_path) == {}

    fails("is no plan of this version: its schema is 99", schema=99)
    fails("is no plan of this version", cells=[{"what": 1}])
    fails("is no plan of this version: its request has the id", request=good["request"] | {"model": ["nobody"]})
    fails("use the same version, weights and data", cells=[one | {"hash": "0" * 24} for one in good["cells"]])
    fails("is no cell of the plan's request", cells=[one | {"index": 77} for one in good["cells"]])
    fails("no plan abc in its queue", name="abc")
    queued.write_text("{")
    with pytest.raises(InputError, match="is no plan of this version"):
        worker(tmp_path, None, "cpu", None, True)
    queued.unlink()
    with pytest.raises(InputError, match="no plan in its queue; run vbench plan"):
        worker(tmp_path, None, "cpu", None, True)
    with pytest.raises(InputError, match="no plan in its queue"):
        worker(tmp_path / "nowhere", None, "cpu", None, True)
    assert not (tmp_path / "nowhere").exists()


def until_working(store):
    """Waits for the first batch, which takes a second: a claim is followed by one more look whether to stop."""
    until(lambda: files(store, "leases"))
    time.sleep(0.2)


@pytest.mark.parametrize("more", [(), LOCAL], ids=["inline", "local"])
def test_ctrl_c_finishes_the_batch_and_the_same_command_goes_on(more, model, again, tmp_path):
    """As a terminal sends it, to the whole group."""
    process = start("run", *words(tmp_path, f"{model}:build:wait=0.3", *MORE, "--quiet", *more), group=True)
    until_working(tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=900)
    assert process.returncode == 130 and "the same command goes on" in said and "Traceback" not in said, said
    assert [json.loads(path.read_text())["batches"] for path in files(tmp_path, "partial")] in ([1], [1, 1], [2], [1, 2], [2, 1])
    assert files(tmp_path, "leases") == [] and files(tmp_path, "queue") == []
    again(*more)


def test_ctrl_c_twice_ends_at_once(model, again, tmp_path):
    process = start("run", *words(tmp_path, f"{model}:build:wait=0.3", *MORE, "--quiet"))
    until(lambda: files(tmp_path, "leases"))
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "vbench: finishing this batch; once more ends at once\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=900)
    assert process.returncode == 130 and said == ""
    assert len(files(tmp_path, "leases")) == 1, "nobody had the time to give it back"
    again()


def test_sigterm_to_a_worker_gives_its_lease_back(model, again, tmp_path):
    assert finish("plan", *words(tmp_path, f"{model}:build:wait=0.3", *MORE, "--queue")).returncode == 0
    process = start("worker", "--store", str(tmp_path), "--device", "cpu", "--quiet")
    until_working(tmp_path)
    process.terminate()
    _, said = process.communicate(timeout=900)
    assert process.returncode == 130 and said == ""
    assert files(tmp_path, "leases") == [] and len(files(tmp_path, "partial")) == 1
    files(tmp_path, "queue")[0].unlink()
    again()


def test_workers_end_with_a_driver_that_was_killed(model, again, tmp_path):
    process = start("run", *words(tmp_path, f"{model}:build:wait=0.3", *MORE, "--quiet", *LOCAL))
    until(lambda: len(files(tmp_path, "leases")) == 2)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.communicate()
    until(lambda: not any(alive(pid) for pid in workers))
    again(*LOCAL)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_worker_that_was_killed_is_started_again(model, undisturbed, tmp_path):
    process = start("run", *words(tmp_path, f"{model}:build:wait=0.3", *MORE, *LOCAL))
    until(lambda: files(tmp_path, "leases"))
    pid = json.loads(files(tmp_path, "leases")[0].read_text())["pid"]
    assert pid in children(process.pid)
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid not in children(process.pid) and len(children(process.pid)) == 2)
    _, said = process.communicate(timeout=900)
    assert process.returncode == 0, said
    assert contents(tmp_path) == undisturbed
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(("crime", "workers"), [("kill", 2), ("exit", 1)])
def test_a_cell_that_kills_its_workers_is_given_up(crime, workers, model, tmp_path):
    spec = f"{model}:build:crime={crime}"
    more = MORE if workers == 1 else ()  # two such cells are more deaths than starts again without a finished cell
    ran = finish("run", *words(tmp_path, spec, *more, "--quiet", "--executor", "local", "--workers", workers))
    assert ran.returncode == 1, ran.stderr
    clean, *failed = sorted(contents(tmp_path).values(), key=lambda cell: cell["spec"]["kind"] != "clean")
    assert clean["status"] == "ok" and len(failed) == (2 if more else 1)
    assert all(cell["error"].startswith("2 workers died over this cell") for cell in failed)
    assert_nothing_left(tmp_path)


def test_a_cell_that_kills_run_after_run_is_given_up(model, tmp_path):
    """Its worker is the driver, so that every run is a new one."""
    ran = words(tmp_path, f"{model}:build:crime=kill", "--quiet", "--executor", "inline")
    assert finish("run", *ran).returncode == -signal.SIGKILL
    (lease,) = files(tmp_path, "leases")
    lease.write_text(json.dumps(json.loads(lease.read_text()) | {"earlier": 3}))
    assert finish("run", *ran).returncode == -signal.SIGKILL
    assert json.loads(files(tmp_path, "leases")[0].read_text())["earlier"] == 4
    last = finish("run", *ran)
    assert last.returncode == 1 and sum(cell["status"] == "error" for cell in contents(tmp_path).values()) == 1, last.stderr
    assert "5 workers died over this cell" in str(list(contents(tmp_path).values()))
    assert_nothing_left(tmp_path)


def test_a_cell_that_kills_one_worker_is_not_given_up(model, tmp_path):
    spec = f"{model}:build:crime=kill-once,marker={tmp_path / 'marker'}"
    ran = finish("run", *words(tmp_path, spec, "--quiet", "--executor", "local", "--workers", 1))
    assert ran.returncode == 0, ran.stderr
    assert [cell["status"] for cell in contents(tmp_path).values()] == ["ok", "ok"]
    assert_nothing_left(tmp_path)


def test_a_device_that_fails_is_no_fault_of_the_cell(model, tmp_path):
    """A worker leaves and another one takes over; where there is no other, the run ends in a line and nothing is stored of it."""
    spec = f"{model}:build:crime=device-once,marker={tmp_path / 'marker'}"
    ran = finish("run", *words(tmp_path / "local", spec, "--quiet", "--executor", "local", "--workers", 1))
    assert ran.returncode == 0, ran.stderr
    assert [cell["status"] for cell in contents(tmp_path / "local").values()] == ["ok", "ok"]
    assert_nothing_left(tmp_path / "local")
    (tmp_path / "marker").unlink()
    ran = finish("run", *words(tmp_path / "inline", spec, "--quiet"))
    assert ran.returncode == 2 and len(ran.stderr.strip().splitlines()) == 1, ran.stderr
    assert "device: cpu has failed over" in ran.stderr and "uncorrectable ECC error" in ran.stderr
    assert contents(tmp_path / "inline") == {} and files(tmp_path / "inline", "leases") == []


def test_a_device_that_stays_sick_is_left_out(model, tmp_path):
    """After three starts again; the cells that it was given have two deaths each, and are rows."""
    ran = finish("run", *words(tmp_path, f"{model}:build:crime=device", *MORE, "--quiet", "--executor", "local", "--workers", 1))
    assert ran.returncode == 2 and "all workers ended" in ran.stderr and "uncorrectable ECC error" in ran.stderr, ran.stderr
    assert sum(cell["status"] == "error" for cell in contents(tmp_path).values()) <= 2


def test_an_exception_is_a_row_and_is_not_tried_again(model, tmp_path):
    spec = f"{model}:build:crime=raise,marker={tmp_path / 'marker'}"
    ran = finish("run", *words(tmp_path, spec, "--quiet", *LOCAL))
    assert ran.returncode == 1
    assert sorted(cell["error"] for cell in contents(tmp_path).values()) == ["", "RuntimeError: not my day"]
    assert (tmp_path / "marker.log").read_text() == "raised\n"
    assert_nothing_left(tmp_path)


FULL = """
import os
import sys

def full(descriptor):
    raise OSError(28, "No space left on device")

if "worker" in sys.orig_argv:
    os.fsync = full
"""


def test_the_driver_says_what_its_workers_say(model, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FULL)
    ran = finish("run", *words(tmp_path / "store", f"{model}:build", "--quiet", *LOCAL), sitecustomize=tmp_path / "site")
    (line,) = ran.stderr.splitlines()
    assert ran.returncode == 2 and line.startswith("vbench: executor: a worker ended: vbench: store: cannot write")
    assert line.endswith("No space left on device")
    assert_nothing_left(tmp_path / "store")


@pytest.mark.parametrize("kind", ["leases", "queue", "log"])
def test_a_store_that_cannot_be_written_is_one_line(kind, model, tmp_path):
    (tmp_path / kind).write_text("in the way")
    ran = finish("run", *words(tmp_path, f"{model}:build", "--quiet", *LOCAL))
    assert ran.returncode == 2 and len(ran.stderr.splitlines()) == 1 and "store: cannot" in ran.stderr, ran.stderr


def test_what_killed_workers_left_is_taken_away(tmp_path):
    store = Store(tmp_path)
    done, open_, busy = "a" * 24, "b" * 24, "c" * 24
    for name in (done, busy):
        store.put({"schema": SCHEMA, "cell": name, "spec": {}, "status": "ok", "clips": {}})
    for name in (done, open_, busy):
        store.partial(name).parent.mkdir(exist_ok=True)
        store.partial(name).write_text("{}")
    old, new = tmp_path / "cells" / "aa" / ".x.json.tmp", tmp_path / "partial" / ".y.json.tmp"
    for path in (old, new):
        path.write_text("half a ")
    os.utime(old, (time.time() - ABANDONED - 60,) * 2)
    with Leases(tmp_path) as mine, Leases(tmp_path) as other:
        other.claim(busy)
        shutil.copy(mine.folder / f"{busy}.json", mine.folder / f"{done}.json")
        lease = json.loads((mine.folder / f"{done}.json").read_text())
        (mine.folder / f"{done}.json").write_text(json.dumps(lease | {"owner": "dead", "pid": 2**22 + 1}))
        tidy(store, mine)
        assert [path.stem for path in files(tmp_path, "leases")] == [busy]
    assert {path.stem for path in files(tmp_path, "partial")} == {open_, busy}
    assert not old.exists() and new.exists(), "the writer of a new one may live"
