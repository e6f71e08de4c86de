"""`vbench diff`: two stores side by side."""

import json

import numpy as np
import pytest
from gate_verbs import vbench
from scipy import stats
from stores import PGD, made_cell, put_all

FGSM = "fgsm:norm=linf,eps=8/255"


def diff(a, b):
    ran = vbench("diff", a, b, "--json")
    found = json.loads(ran.out)
    assert ran.code == (0 if found["changes"] else 3), ran
    return found


@pytest.fixture
def stores(tmp_path):
    """A cell that falls by two of ten clips, one that gains one and one that stays; one cell alone on each side."""
    right = [1.0] * 8 + [0.0] * 2
    a = [
        made_cell(right),
        made_cell(right, attack=PGD),
        made_cell(right, defense="shuffle"),
        made_cell(right, corruption="fog", severity=1),
    ]
    fallen, risen = [0.0, 0.0, *right[2:]], [*right[:-1], 1.0]
    b = [made_cell(right, weights_sha256="b"), made_cell(fallen, attack=PGD, weights_sha256="b")]
    b += [made_cell(risen, defense="shuffle", weights_sha256="b"), made_cell(right, corruption="fog", severity=2)]
    b[-1]["spec"]["weights_sha256"] = "b"
    return put_all(tmp_path / "a", a), put_all(tmp_path / "b", b)


def test_the_largest_change_comes_first(stores):
    found = diff(*stores)
    told = [(one["name"].split("|")[2].partition(":")[0], one["lost"], one["gained"]) for one in found["changes"]]
    assert told == [("pgd", 2, 0), ("clean", 0, 1), ("clean", 0, 0)]
    assert found["changes"][0]["difference"] == pytest.approx(-0.2) and found["changes"][0]["clips"] == 10
    assert (found["only_a"], found["only_b"]) == (["tsm|none|fog:1"], ["tsm|none|fog:2"])


def test_the_interval_is_the_paired_t_of_scipy(tmp_path):
    rng = np.random.default_rng(0)
    before, after = (rng.integers(0, 2, 60).astype(float) for _ in range(2))
    stores = [put_all(tmp_path / name, [made_cell(right)]) for name, right in (("a", before), ("b", after))]
    (one,) = diff(*stores)["changes"]
    assert (one["low"], one["high"]) == pytest.approx(stats.ttest_rel(after, before).confidence_interval(), abs=1e-9)


def test_clips_of_one_video_count_as_one(tmp_path):
    """Equal groups: the t interval of the groups' means (Donner and Klar 2000)."""
    rng = np.random.default_rng(1)
    before, after = (rng.integers(0, 2, 60).astype(float) for _ in range(2))
    stores = [put_all(tmp_path / name, [made_cell(right, per_source=4)]) for name, right in (("a", before), ("b", after))]
    (one,) = diff(*stores)["changes"]
    means = (after - before).reshape(15, 4).mean(axis=1)
    assert (one["low"], one["high"]) == pytest.approx(stats.ttest_1samp(means, 0).confidence_interval(), abs=1e-9)


def test_a_baseline_file_can_stand_on_either_side(stores, tmp_path):
    a, b = stores
    base = tmp_path / "base.json"
    assert vbench("baseline", a, "--out", base).code == 0
    whole, left, right = diff(a, b), diff(base, b), diff(a, base)
    timeless = [one | {"seconds_a": None} for one in whole["changes"]]
    assert left["changes"] == timeless and left["only_a"] == whole["only_a"]
    assert {one["difference"] for one in right["changes"]} == {0.0} and right["only_a"] == right["only_b"] == []


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (made_cell([1.0] * 10, protocol=1), "protocol: 2 -> 1"),
        (made_cell([1.0] * 10, versions={"model": "2", "dataset": "1"}), "version of model: 1 -> 2"),
        (made_cell([1.0] * 10, manifest_sha256="0" * 64), "manifest: 29982f58ad55 -> 000000000000"),
        (made_cell([1.0] * 8), "2 clips only in A, 0 only in B"),
        (made_cell([1.0] * 10, per_source=2), "their source videos are not"),
        (made_cell([1.0] * 10, error="out of memory"), "failed in B: out of memory"),
    ],
)
def test_what_cannot_be_compared_is_told_and_not_compared(tmp_path, made, says):
    a, b = put_all(tmp_path / "a", [made_cell([1.0] * 10)]), put_all(tmp_path / "b", [made])
    found = diff(a, b)
    assert found["changes"] == [] and found["apart"][0]["name"] == "tsm|none|clean" and says in found["apart"][0]["reason"]
    ran = vbench("diff", a, b)
    assert ran.code == 3 and f"not comparable: tsm|none|clean: {found['apart'][0]['reason']}" in ran.out
    assert len(ran.error.splitlines()) == 1 and "nothing was compared" in ran.error and "cells differ" not in ran.out


def test_of_several_cells_of_one_name_the_most_alike_are_held_against_each_other(tmp_path):
    a = [made_cell([1.0] * 9, limit=None), made_cell([1.0] * 9, limit=9, seed=3)]
    b = [made_cell([1.0] * 8, limit=8, seed=7), made_cell([1.0] * 8, limit=8)]
    found = diff(put_all(tmp_path / "a", a), put_all(tmp_path / "b", b))
    said = sorted(one["reason"] for one in found["apart"])
    assert [("seed" in one, "limit: none -> 8" in one, "limit: 9 -> 8" in one) for one in said] == [
        (True, False, True),
        (False, True, False),
    ]


def test_the_same_work_on_other_clips_is_told_as_such(tmp_path):
    a = [made_cell([1.0] * 8, limit=8), made_cell([1.0] * 8, limit=8, attack=PGD), made_cell([1.0] * 8, limit=8, seed=1)]
    b = [made_cell([1.0] * 9, limit=9), made_cell([1.0] * 9, limit=9, attack=FGSM), made_cell([1.0] * 10, dataset="other")]
    stores = put_all(tmp_path / "a", a), put_all(tmp_path / "b", b)
    found, ran = diff(*stores), vbench("diff", *stores)
    reasons = sorted(one["reason"] for one in found["apart"])
    assert len(reasons) == 2 and reasons[0].startswith("dataset: shapes -> other") and reasons[1].startswith("limit: 8 -> 9")
    assert [len(found[side]) for side in ("changes", "only_a", "only_b")] == [0, 1, 1]
    assert ran.out.count("not comparable: tsm|none|clean") == 2 and "limit: 8 -> 9" in ran.out
    assert ran.code == 3 and len(ran.error.splitlines()) == 1 and "nothing was compared" in ran.error
    some = vbench("diff", stores[0], put_all(tmp_path / "b", a[1:2]))
    assert some.code == 0 and some.error == "" and "0 of 1 cells differ" in some.out
    assert some.out.count("not comparable: tsm|none|clean") == 2, "a cell that can be compared hides no other"


def test_of_two_measurements_the_comparable_one_counts(tmp_path):
    a = put_all(tmp_path / "a", [made_cell([1.0] * 10)])
    newer = made_cell([0.0] * 10, protocol=3)
    newer["provenance"]["started"] = "2099-01-01T00:00:00+00:00"
    b = put_all(tmp_path / "b", [made_cell([1.0] * 9 + [0.0]), newer])
    assert [one["lost"] for one in diff(a, b)["changes"]] == [1]


def test_the_table_for_people(stores):
    ran = vbench("diff", *stores)
    row = next(line for line in ran.out.splitlines() if line.startswith("│ tsm|none|pgd"))
    shown = [cell.strip() for cell in row.split("│")][1:-1]
    assert shown[1:4] + shown[5:] == ["80.0", "60.0", "-20.0", "2/0", "10", "1.5 -> 1.5"]
    assert ran.out.splitlines()[-1] == "2 of 3 cells differ; B - A in points, paired by clip"


def test_hostile_names_stay_text(tmp_path):
    names = "[red]x[/red]", "\x1b[31m", "a|b\nc"
    store = put_all(tmp_path / "[bold]a[/bold]", [made_cell([1.0] * 5, model=name) for name in names])
    told = vbench("diff", store, store).out
    assert "[red]x[/red]|none|clean" in told and r"\x1b[31m|none|clean" in told and r"a|b\nc|none|clean" in told
    assert "\x1b" not in told and "[bold]a[/bold]" in told


def test_bad_input_is_one_line(stores, tmp_path):
    torn = tmp_path / "torn.json"
    torn.write_text("{")
    for bad in (tmp_path / "nowhere", torn):
        ran = vbench("diff", stores[0], bad)
        assert ran.code == 2 and len(ran.error.splitlines()) == 1 and str(bad) in ran.error
