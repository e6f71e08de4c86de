"""Drivers and workers killed at random moments, again and again: nothing is lost, torn or left over."""

import os
import random
import signal
import time

import pytest
from grids import assert_nothing_left, children, contents, finish, model_file, start, words

SPAN = 12.0
"""Seconds within which the killing is done: on a slow machine more of it hits workers that are only starting."""


@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_kill_9_at_random_moments(rounds, tmp_path):
    rnd, model = random.Random(rounds), model_file(tmp_path)
    grid = f"{model}:build:wait=0.1", "--attack", "pgd:steps=3", "--attack", "pgd:steps=4", "--quiet"
    local = "--executor", "local", "--workers", 2
    assert finish("run", *words(tmp_path / "calm", *grid)).returncode == 0
    calm, store, killed = contents(tmp_path / "calm"), tmp_path / "store", 0
    for _ in range(rounds):
        driver = start("run", *words(store, *grid, *local))
        time.sleep(rnd.uniform(0, SPAN))
        workers = children(driver.pid)
        if workers and rnd.random() < 0.5:
            os.kill(rnd.choice(workers), signal.SIGKILL)
            time.sleep(rnd.uniform(0, SPAN / 3))
        killed += driver.poll() is None
        driver.kill()
        driver.communicate()
        done = sorted((store / "cells").glob("??/*.json"))
        assert {path.stem for path in done} <= calm.keys()
        contents(store)  # none is torn
        for path in rnd.sample(done, min(2, len(done))):
            path.unlink()  # so that there is work for the next round
    last = finish("run", *words(store, *grid, *local))
    assert last.returncode == 0 and killed > 0, last.stderr
    assert contents(store) == calm
    assert_nothing_left(store)
    assert finish("run", *words(store, *grid, "--reuse", "only-cache")).returncode == 0
