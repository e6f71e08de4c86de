"""Claims on cells: one holder, dead ones replaced, living ones left alone."""

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import pytest
from grids import until
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.evaluation.engine import leases as module
from robustvideo.benchmark.evaluation.engine.leases import Leases, born

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")


@pytest.fixture
def two(tmp_path):
    with Leases(tmp_path, "run") as one, Leases(tmp_path, "run") as other:
        yield one, other


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    process.stdin.close()


def leave(leases, name, **changes):
    """A lease file of somebody else."""
    path = leases.folder / f"{name}.json"
    path.write_text(json.dumps(asdict(replace(leases.me, owner="somebody", **changes))))
    return path


def age(path, seconds):
    now = path.stat().st_mtime
    os.utime(path, (now - seconds, now - seconds))


def test_one_of_many_claimants_gets_a_lease(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        crowd = [Leases(tmp_path, "run").__enter__() for _ in range(8)]
        for number in range(25):
            assert sum(one is not None for one in pool.map(Leases.claim, crowd, [f"cell{number}"] * 8)) == 1
        for one in crowd:
            one.__exit__(None, None, None)
    assert list((tmp_path / "leases").iterdir()) == [], "all is given back at the end, and no draft is left"


def test_a_lease_is_free_again_when_it_is_given_back(two):
    one, other = two
    assert one.claim("cell").deaths == 0 and other.claim("cell") is None
    other.release("cell")
    assert other.claim("cell") is None, "nobody gives back what is not theirs"
    one.release("cell")
    with other.holding("cell") as lease:
        assert lease.owner == other.me.owner and one.claim("cell") is None
    assert one.claim("cell") is not None


def test_a_dead_process_of_this_host_is_replaced_at_once(two, sleeper):
    one, _ = two
    leave(one, "cell", pid=sleeper.pid, born=born(sleeper.pid))
    assert one.claim("cell") is None, "it lives"
    sleeper.kill()
    until(lambda: born(sleeper.pid) is None)
    assert one.claim("cell").deaths == 1
    assert json.loads((one.folder / "cell.json").read_text())["deaths"] == 1
    sleeper.wait()


@needs_proc
def test_a_process_number_that_is_used_again_is_another_process(two):
    one, _ = two
    leave(one, "cell", born=one.me.born - 1)
    assert one.claim("cell") is not None


def test_deaths_of_this_run_and_of_earlier_ones_are_told_apart(two, tmp_path, sleeper):
    one, _ = two
    sleeper.kill()
    sleeper.wait()
    gone = {"pid": sleeper.pid, "born": 1}
    leave(one, "a", **gone, deaths=1)
    leave(one, "b", **gone, deaths=1, run="another")
    leave(one, "c", **gone, deaths=1, earlier=3)
    leave(one, "d", **gone, deaths=1, earlier=3, run="another")
    found = [one.claim(name) for name in "abcd"]
    assert [(lease.deaths, lease.earlier) for lease in found] == [(2, 0), (0, 2), (2, 3), (0, 5)]
    names = [Leases(tmp_path).me.run for _ in range(2)]
    assert names[0] != names[1], "a run without a name is one of its own"


def test_another_host_is_believed_for_a_minute_of_the_file_systems_clock(two, monkeypatch):
    one, _ = two
    path = leave(one, "cell", host="elsewhere", pid=1)
    age(path, one.ttl - 30)
    assert one.claim("cell") is None
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: 1e12)  # a clock of this host that is wrong
        assert one.claim("cell") is None
    age(path, 31)
    assert one.claim("cell") is not None


def test_a_living_worker_gives_signs_of_life(tmp_path):
    with Leases(tmp_path, "run", ttl=0.3) as one:
        one.claim("cell")
        path = one.folder / "cell.json"
        age(path, 1000)
        old = path.stat().st_mtime_ns
        until(lambda: path.stat().st_mtime_ns != old)
        one.release("cell")
    assert not path.exists()


@pytest.mark.parametrize("text", ["", '{"owner": "x"', "[]", '{"owner": "x"}'])
def test_a_torn_lease_is_free_after_its_time(text, two):
    one, _ = two
    path = one.folder / "cell.json"
    path.write_text(text)
    assert one.claim("cell") is None
    age(path, one.ttl + 1)
    assert one.claim("cell").deaths == 0


def test_a_lease_that_somebody_else_took_over_meanwhile_is_put_back(two):
    one, other = two
    dead = replace(one.me, owner="dead", born=1)
    assert other.claim("cell")
    assert not one._bury(one.folder / "cell.json", dead)
    assert one.claim("cell") is None and other._read(other.folder / "cell.json") == other.me


def test_a_worker_that_was_taken_for_dead_leaves_the_new_lease_alone(two):
    one, other = two
    one.claim("cell")
    path = leave(one, "cell")
    one.release("cell")
    assert json.loads(path.read_text())["owner"] == "somebody"


def test_file_systems_without_hard_links(two, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    one, other = two
    assert one.claim("cell") and other.claim("cell") is None
    assert [path.name for path in one.folder.iterdir()] == ["cell.json"]


def test_processes_that_are_hidden_from_us_are_judged_by_their_age(two, monkeypatch):
    one, _ = two
    monkeypatch.setattr(module, "born", lambda pid: 0)
    path = leave(one, "cell")
    assert one.claim("cell") is None
    age(path, one.ttl + 1)
    assert one.claim("cell") is not None


def test_a_store_that_cannot_be_written_is_one_line(two, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="store: cannot make"), Leases(tmp_path / "file", "run"):
        pass

    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    one, _ = two
    path = leave(one, "dead", born=1)
    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(InputError, match=r"cannot write .*dead.json: Read-only"):
        one.claim("dead")
    assert path.exists()
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(InputError, match=r"cannot write .*new.json: Read-only"):
        one.claim("new")
    assert [path.name for path in one.folder.iterdir()] == ["dead.json"]
