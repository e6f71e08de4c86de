"""Runs over the nodes of a Ray cluster: a head and two nodes with made-up GPUs, all on this machine."""

import json
import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import clusters
import grids
import pytest
from clusters import add, raylets
from download_server import serving
from grids import BROKEN, model_file, until
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.evaluation.engine import actor, cluster, nodes
from robustvideo.benchmark.evaluation.engine.leases import Leases
from robustvideo.benchmark.evaluation.engine.plan import Plan
from robustvideo.benchmark.evaluation.request import Request
from robustvideo.benchmark.evaluation.store import Store

pytestmark = pytest.mark.xdist_group("ray")  # one cluster for all of them

GRID = "--dataset", "shapes", "--limit", "8"
SLOW = ("--model", "model.py:build:wait=2.5", *GRID, "--corruption", "brightness,contrast")


@pytest.fixture(scope="module")
def machines():
    with clusters.machines() as made:
        yield made


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    model_file(folder)
    (folder / "broken.py").write_text(BROKEN)
    return folder


def start(world, store, *words):
    return grids.start("run", *words, "--store", str(store), folder=world)


def end(run):
    out, err = run.communicate(timeout=900)
    return run.returncode, out, err


def on(machines):
    return "--executor", "ray", "--address", machines.address


def holders(store, but=()):
    """The processes that hold a cell."""
    found = set()
    for path in (store / "leases").glob("*.json"):
        try:
            found.add(json.loads(path.read_text())["pid"])
        except (OSError, ValueError):
            continue
    return found - set(but)


def content(store):
    """The cells without what tells where and when they were made."""
    cells = {cell["cell"]: cell for cell in Store(store).cells()}
    for cell in cells.values():
        del cell["provenance"]
        cell.pop("trace", None)
    return cells


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.ray
def test_the_cells_are_those_of_this_process_and_a_bug_is_one_row(machines, world, tmp_path):
    grid = ("--model", "tsm", "--attack", "pgd:steps=2,broken.py:Broken", "--defense", "shuffle", *GRID)
    code, _, err = end(start(world, tmp_path / "here", *grid))
    assert code == 1, err
    code, out, err = end(start(world, tmp_path / "there", *grid, *on(machines)))
    assert code == 1, err
    assert content(tmp_path / "there") == content(tmp_path / "here")
    failed = [cell for cell in content(tmp_path / "there").values() if cell["status"] == "error"]
    assert failed and all(cell["error"] == "RuntimeError: nothing works" for cell in failed)
    assert "[8/8]" in err and "nothing works" in out and "Traceback" not in err
    assert not list((tmp_path / "there" / "queue").iterdir()) and not list((tmp_path / "there" / "leases").iterdir())


@pytest.mark.ray
def test_a_worker_and_then_a_node_is_killed(machines, world, tmp_path):
    run = start(world, tmp_path / "s", *SLOW, *on(machines))
    first = until(lambda: holders(tmp_path / "s"))
    os.kill(first.pop(), signal.SIGKILL)
    both = until(lambda: len(now := holders(tmp_path / "s", first)) and len(holders(tmp_path / "s")) == 2 and now)
    nodes_of = raylets(machines)
    victim = parent(next(pid for pid in both if parent(pid) in nodes_of))
    os.kill(victim, signal.SIGKILL)
    code, _, err = end(run)
    machines.remove_node(nodes_of[victim], allow_graceful=False)
    add(machines)
    assert code == 0, err
    assert len(content(tmp_path / "s")) == 11 and {cell["status"] for cell in Store(tmp_path / "s").cells()} == {"ok"}


@pytest.mark.slow  # three runs, two minutes; the other executors' tests of this kind are in test_workers.py
@pytest.mark.ray
def test_a_driver_is_killed_and_run_again_and_interrupted(machines, world, tmp_path):
    run = start(world, tmp_path / "s", *SLOW, *on(machines))
    workers = until(lambda: len(now := holders(tmp_path / "s")) == 2 and list((tmp_path / "s").glob("cells/*/*.json")) and now)
    run.kill()
    end(run)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").glob("cells/*/*.json")}
    assert 0 < len(before) < 11
    run = start(world, tmp_path / "s", *SLOW, *on(machines))
    until(lambda: holders(tmp_path / "s", workers))
    run.send_signal(signal.SIGINT)
    code, _, err = end(run)
    assert code == 130 and "the same command goes on" in err and "Traceback" not in err
    assert not holders(tmp_path / "s", workers), "the workers ended in an orderly way"
    code, _, err = end(start(world, tmp_path / "s", *SLOW, *on(machines)))
    assert code == 0, err
    assert len(content(tmp_path / "s")) == 11 and {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.ray
def test_without_an_address_it_is_started_here_and_leaves_nothing_running(machines, world, tmp_path):
    run = start(world, tmp_path / "s", "--model", "model.py:build:wait=0.5", *GRID, "--executor", "ray", "--workers", "1")
    pid = until(lambda: holders(tmp_path / "s")).pop()
    raylet = parent(pid)
    assert raylet not in raylets(machines)
    code, _, err = end(run)
    assert code == 0 and "[1/1]" in err, err
    until(lambda: not Path(f"/proc/{pid}").exists() and not Path(f"/proc/{raylet}").exists())


@pytest.mark.ray
def test_a_store_that_a_node_does_not_see(machines, world, tmp_path, monkeypatch):
    # The driver's folder is taken away from under it: for a worker it looks like a disk of another host.
    request = Request(model=["tsm"], limit=8)
    store = Store(tmp_path / "elsewhere")
    plan = Plan(request, ())
    monkeypatch.setattr(Plan, "id", "gone")
    plan.path(store).parent.mkdir(parents=True)
    plan.path(store).touch()
    running = cluster.Cluster(plan, store, machines.address, 1)
    plan.path(store).unlink()
    running._fill = lambda *_, **__: None
    with running:
        running._members.append(running._start(early=True))
        with pytest.raises(InputError, match=r"store: node .* does not see the store .*elsewhere; name a folder that every node"):
            until(lambda: running._look_after([], False))


@pytest.mark.ray
@pytest.mark.parametrize(("ours", "words"), [(("1.0.0", "3.11.7"), "Ray: 1.0.0"), (("", "3.9.1"), "Python: 3.9.1")])
def test_another_version(machines, monkeypatch, ours, words):
    ours = (ours[0] or nodes.ray().__version__, ours[1])
    monkeypatch.setattr("ray._private.utils.compute_version_info", lambda: ours)
    with pytest.raises(InputError, match=rf"address: cannot use the cluster at .*: Version mismatch.* {words}"):
        nodes.connect(machines.address)


def test_without_ray_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"executor: ray is not installed; pip install robustvideo\[ray\]"):
        nodes.check(None)


@pytest.mark.ray
def test_an_address_that_does_not_answer():
    pytest.importorskip("ray", reason="needs robustvideo[ray]")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        free = taken.getsockname()[1]
    with pytest.raises(InputError, match=rf"address: no Ray cluster answers at 127.0.0.1:{free}: .*; start one, or leave it out"):
        nodes.check(f"127.0.0.1:{free}")
    with serving(b"not a cluster") as site, pytest.raises(InputError, match="what answers at .* is no Ray cluster"):
        nodes.check(site.url.removeprefix("http://").rstrip("/"))
    for address in ("here", "auto", "ray://127.0.0.1:10001", "127.0.0.1:"):
        with pytest.raises(InputError, match="is not host:port"):
            nodes.check(address)


class AuthenticationError(Exception):
    """Of Ray's own kind."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionError("nobody is there"), "nobody is there; if it was started with a token, set RAY_AUTH_MODE=token here$"),
        (AuthenticationError("no token\nwas found"), "no token was found$"),
    ],
)
def test_what_rays_core_writes_while_it_connects_is_not_seen(capfd, monkeypatch, error, words):
    def fails(**_):
        os.write(2, b"[W 42] a raw line\n")
        raise error

    monkeypatch.setattr(nodes, "check", lambda address: None)
    monkeypatch.setattr(nodes, "ray", lambda: SimpleNamespace(init=fails, shutdown=lambda: None))
    with pytest.raises(InputError, match=f"^address: cannot use the cluster at head:1: {words}"):
        nodes.connect("head:1")
    os.write(2, b"ours\n")
    assert capfd.readouterr().err == "ours\n"


def of(*sizes):
    return [{"Resources": {"CPU": float(cpus), **({"GPU": float(gpus)} if gpus else {})}} for gpus, cpus in sizes]


@pytest.mark.parametrize(
    ("sizes", "device", "workers", "slot", "room"),
    [
        ([(0, 4), (8, 64), (4, 64)], "auto", None, (1, 1, 8), 12),
        ([(1, 0)], "cuda", None, (1, 0, 1), 1),
        ([(2, 8)], "cpu", None, (0, 2, 2), 4),
        ([(0, 1), (0, 8)], "auto", None, (0, 1, 1), 9),
        ([(0, 3), (0, 3)], "auto", 2, (0, 3, 3), 2),
        ([(0, 3), (0, 3)], "auto", 3, (0, 1, 1), 6),
        ([(0, 2)], "auto", 9, (0, 1, 1), 2),
    ],
)
def test_what_a_worker_takes(sizes, device, workers, slot, room):
    found = nodes.slot(of(*sizes), device, workers)
    assert found == slot and nodes.places(of(*sizes), found) == room


@pytest.mark.parametrize(
    ("sizes", "device", "words"),
    [([(0, 4)], "cuda", "has no GPU"), ([(0, 0)], "auto", "has no CPU"), ([(2, 4)], "cuda:1", "numbers the GPUs itself")],
)
def test_what_a_cluster_cannot_give(sizes, device, words):
    with pytest.raises(InputError, match=words):
        nodes.slot(of(*sizes), device, None)


@pytest.mark.parametrize(("innocent", "deaths"), [(True, 0), (False, 1)])
def test_the_leases_of_a_dead_worker_on_another_host_are_free_at_once(tmp_path, innocent, deaths):
    dead, driver, other = (Leases(tmp_path, "run") for _ in range(3))
    dead.me = replace(dead.me, host="elsewhere")
    with dead, other:
        assert dead.claim("cell") and other.claim("cell") is None
        driver.free(other.me.owner, innocent)
        assert other.claim("cell") is None, "only those of the dead one"
        driver.free(dead.me.owner, innocent)
        lease = other.claim("cell")
        assert lease and lease.deaths == deaths


@pytest.mark.parametrize("early", [True, False])
def test_a_node_that_came_late_and_cannot_work_does_not_end_the_run(tmp_path, monkeypatch, early):
    answers = SimpleNamespace(get=lambda call: f"{call} has other weights", exceptions=SimpleNamespace(RayError=KeyError))
    monkeypatch.setattr(cluster, "ray", lambda: answers)
    plan, store, said = Plan(Request(model=["tsm"]), ()), Store(tmp_path), []
    plan.path(store).parent.mkdir(parents=True)
    plan.path(store).touch()
    running = cluster.Cluster(plan, store, None, 2, said.append)
    member = cluster._Member(None, "tsm", early, actor.Hello("owner", "node", "late", "", ""))
    running._members.append(member)
    if early:
        with pytest.raises(InputError, match="executor: a worker on late ended: tsm has other weights"):
            running._hear(member)
        return
    running._hear(member)
    assert said == ["a worker on late ended: tsm has other weights"] and (running._deaths, running._members) == (0, [])
    monkeypatch.setattr(cluster, "places", lambda *_: 2)
    monkeypatch.setattr(cluster, "LOOK", -1)
    monkeypatch.setattr(running, "_start", lambda early: member)
    running.workers = None
    for there, started in ((["node", "good"], 1), (["good", "mended"], 2)):
        monkeypatch.setattr(cluster, "nodes", lambda there=there: [{"NodeID": name} for name in there])
        running._fill(9)
        assert len(running._members) == started, "none in its place, as long as it is there"


def test_an_error_of_an_actor_comes_as_text_with_its_trace_in_the_store(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyError("odd")

    settings = actor.Settings(str(tmp_path), "p", "run", "cpu", 1, str(Path.cwd()), {})
    assert "p.json" in actor.Actor(settings).work()
    monkeypatch.setattr(Plan, "read", fail)
    assert actor.Actor(settings).work().startswith("KeyError: 'odd' (see ")
    assert "KeyError" in next((tmp_path / "log").iterdir()).read_text()
