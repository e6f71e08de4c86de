"""The README's command, whole, on the shipped world: the shape of its table and the relations that must hold, not its figures."""

import json
import subprocess
import sys

import pandas as pd
import pytest

pytestmark = pytest.mark.xdist_group("main job")  # run once for all of them


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("main")
    words = ["run", "--model", "tsm", "--attack", "pgd", "--defense", "shuffle", "--json", "--store", str(folder)]
    run = subprocess.run([sys.executable, "-m", "robustvideo.benchmark.cli.main", *words], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return pd.DataFrame(json.loads(run.stdout))


def row(table, defended, threat):
    chosen = table[(table["defense"] != "none") == defended]
    chosen = chosen[chosen["threat"].str.partition(":")[0] == threat]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_the_table_has_its_five_rows_and_nothing_failed(table):
    assert len(table) == 5
    assert (table["status"] == "ok").all() and (table["failed"] == 0).all() and table["n"].nunique() == 1
    assert (table["top1_low"] <= table["top1"]).all() and (table["top1"] <= table["top1_high"]).all()


def test_the_relations_that_must_hold(table):
    assert row(table, False, "none")["top1"] >= 0.9
    assert row(table, False, "white-box")["top1"] < 0.1
    assert row(table, True, "adaptive")["top1"] <= row(table, True, "oblivious")["top1"] + 0.01
    assert row(table, True, "oblivious")["top1"] <= row(table, True, "none")["top1"] + 0.01


def test_budgets_and_flags(table):
    attacked = table[table["kind"] == "attack"]
    assert (attacked["linf"] <= 4 / 255 * (1 + 1e-5)).all() and (attacked["linf"] > 3.9 / 255).all()
    for flags in attacked["flags"]:
        assert not {"zero-gradient", "nonfinite-gradient", "budget-projected", "weaker-than-single-step"} & set(flags.split())
