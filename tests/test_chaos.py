"""Drivers, workers and nodes killed at random moments, again and again: nothing is lost, torn or left over."""

import json
import os
import random
import signal
import time
from contextlib import nullcontext

import clusters
import pytest
from grids import assert_nothing_left, children, contents, finish, model_file, start, words
from robustvideo.benchmark.evaluation.engine.leases import born

SPAN = 12.0
"""Seconds within which the killing is done: on a slow machine more of it hits workers that are only starting."""

LOCAL = "--executor", "local", "--workers", 2


@pytest.mark.parametrize(("rounds", "ray"), [(3, False), pytest.param(50, True, marks=pytest.mark.slow)])
def test_kill_9_at_random_moments(rounds, ray, tmp_path):
    """The 50 rounds take turns between processes of this machine and a Ray cluster, whose nodes die as well."""
    rnd, model = random.Random(rounds), model_file(tmp_path)
    grid = f"{model}:build:wait=0.03", "--attack", "pgd:steps=3", "--attack", "pgd:steps=4", "--quiet"
    grid += "--defense", "shuffle:draws=1"
    assert finish("run", *words(tmp_path / "calm", *grid)).returncode == 0
    calm, store, killed = contents(tmp_path / "calm"), tmp_path / "store", dict.fromkeys(("driver", "worker", "node"), 0)
    with clusters.machines() if ray else nullcontext() as machines:
        for number in range(rounds):
            cluster = machines if number % 2 else None
            executor = ("--executor", "ray", "--address", cluster.address) if cluster else LOCAL
            driver = start("run", *words(store, *grid, *executor))
            time.sleep(rnd.uniform(0, SPAN))
            victim = rnd.choice(["worker", "driver", "node"] if cluster else ["worker", "driver"])
            if victim != "driver":
                killed[victim] += kill_node(rnd, cluster) if victim == "node" else kill_one(rnd, workers(store, driver, cluster))
                time.sleep(rnd.uniform(0, SPAN / 3))
            killed["driver"] += driver.poll() is None
            driver.kill()
            driver.communicate()
            done = sorted((store / "cells").glob("??/*.json"))
            assert {path.stem for path in done} <= calm.keys()
            contents(store)  # none is torn
            for path in rnd.sample(done, min(2, len(done))):
                path.unlink()  # so that there is work for the next round
    print(killed)
    last = finish("run", *words(store, *grid, *LOCAL))
    assert last.returncode == 0, last.stderr
    assert contents(store) == calm
    assert finish("cache", "prune", "--store", str(store)).returncode == 0  # the cluster's plan, which nobody went on with
    assert_nothing_left(store)
    assert finish("run", *words(store, *grid, "--reuse", "only-cache")).returncode == 0
    assert killed["driver"] and (not ray or all(killed.values()))


def workers(store, driver, cluster):
    """Processes that compute; Ray's are known by the leases that they hold."""
    if not cluster:
        return children(driver.pid)
    found = []
    for path in (store / "leases").glob("*.json"):
        try:
            lease = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if born(lease["pid"]) == lease["born"]:  # not one that an earlier round killed, nor who has its number now
            found.append(lease["pid"])
    return found


def kill_one(rnd, processes):
    for pid in rnd.sample(processes, min(1, len(processes))):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True
    return False


def kill_node(rnd, cluster):
    """With all that runs on it; another one takes its place."""
    pid, node = rnd.choice(sorted(clusters.raylets(cluster).items(), key=lambda item: item[0]))
    os.kill(pid, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)
    clusters.add(cluster)
    return True
