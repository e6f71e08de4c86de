"""Accuracy against eps, from stored cells."""

import numpy as np
import pytest
from robustvideo.benchmark.evaluation.stats import interval
from robustvideo.leaderboard.curves import eps_curves, without_eps
from scipy import stats
from stores import PGD, made_cell


def shares(right, count=40):
    return [1.0] * right + [0.0] * (count - right)


def attacked(right, eps, **changes):
    return made_cell(shares(right), attack=PGD.replace("8/255", f"{eps}/255"), eps=eps / 255, **changes)


def test_curve_starts_clean_and_has_wilson_intervals():
    table = eps_curves([attacked(10, 8), made_cell(shares(38)), attacked(25, 4)])
    assert table["eps"].tolist() == [0.0, 4 / 255, 8 / 255]
    assert table["accuracy"].tolist() == [38 / 40, 25 / 40, 10 / 40]
    for row, right in zip(table.to_dict("records"), (38, 25, 10), strict=True):
        wilson = stats.binomtest(right, 40).proportion_ci(method="wilson")
        assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx((wilson.low, wilson.high))
    assert set(table["curve"]) == {PGD.replace("eps=8/255,", "")} and set(table["norm"]) == {"linf"}
    assert table["attack"].tolist()[0] == "none" and set(table["line"]) == {0}


def test_a_curve_of_several_draws_starts_clean_too():
    """The attacker's parts have versions that the clean cell of the pipeline lacks."""
    versions = {"dataset": "1", "model": "1", "defense 0": "1"}
    several = {"defense": "shuffle", "threat": "adaptive:eot=4", "versions": versions | {"attack": "1", "threat": "2"}}
    clean = made_cell(shares(38), defense="shuffle", versions=versions)
    assert len(eps_curves([attacked(10, 8, **several), clean, attacked(25, 4, **several)])) == 3


def test_clips_of_one_video_widen_the_interval():
    values = shares(20)
    table = eps_curves(
        [made_cell(values, attack=PGD.replace("8/255", f"{eps}/255"), eps=eps / 255, per_source=4) for eps in (4, 8)]
    )
    groups = [f"{number // 4}" for number in range(40)]
    low, high = interval(values, groups)
    wilson = stats.binomtest(20, 40).proportion_ci(method="wilson")
    assert table["accuracy_low"].tolist() == pytest.approx([low, low]) and table["accuracy_high"].tolist() == pytest.approx(
        [high, high]
    )
    assert high - low > wilson.high - wilson.low


def test_one_budget_makes_no_curve():
    assert eps_curves([made_cell(shares(38)), attacked(20, 8)]).empty
    assert eps_curves([]).empty


@pytest.mark.parametrize(
    "changes",
    [
        {"threat": "transfer:other"},
        {"model": "r3d_18"},
        {"defense": "shuffle", "threat": "oblivious"},
        {"seed": 1},
        {"norm": "l2"},
        {"weights_sha256": "0" * 64},
        {"defense_sha256": ["1" * 64]},
        {"versions": {"dataset": "1", "model": "1", "attack": "2"}},
        {"limit": 40},
    ],
)
def test_what_differs_in_more_than_eps_is_another_curve(changes):
    same = [made_cell(shares(38)), attacked(25, 4), attacked(10, 8)]
    table = eps_curves([*same, attacked(12, 12, **changes)])
    assert table["eps"].tolist() == [0.0, 4 / 255, 8 / 255]
    both = eps_curves([*same, attacked(12, 12, **changes), attacked(2, 16, **changes)])
    assert both.groupby("line")["eps"].max().tolist() in ([8 / 255, 16 / 255], [16 / 255, 8 / 255])


def test_other_parameters_make_another_curve():
    other = PGD.replace("steps=50", "steps=10").replace("8/255", "12/255")
    table = eps_curves([attacked(25, 4), attacked(10, 8), made_cell(shares(3), attack=other, eps=12 / 255)])
    assert table["eps"].tolist() == [4 / 255, 8 / 255]


def test_the_strongest_of_equal_budgets_counts():
    twice = [attacked(10, 8), attacked(7, 8, strength="first-success")]
    table = eps_curves([attacked(25, 4), *twice])
    assert table["accuracy"].tolist() == [25 / 40, 7 / 40]


def test_clean_accuracy_of_another_pipeline_starts_no_curve():
    clean = [made_cell(shares(38), seed=1), made_cell(shares(38), defense="shuffle"), made_cell([], error="no")]
    table = eps_curves([*clean, attacked(25, 4), attacked(10, 8)])
    assert table["eps"].tolist() == [4 / 255, 8 / 255]


def test_failed_and_unbounded_cells_are_no_points():
    cells = [
        attacked(25, 4),
        attacked(10, 8),
        attacked(0, 12, error="it broke"),
        made_cell(shares(1), attack="flicker:beta=0.5", eps=1.0),
    ]
    assert eps_curves(cells)["eps"].tolist() == [4 / 255, 8 / 255]


def test_random_passes_are_averaged():
    values = list(np.linspace(0, 1, 40).round(3))
    cells = [made_cell(values, attack=PGD.replace("8/255", f"{eps}/255"), eps=eps / 255) for eps in (4, 8)]
    assert eps_curves(cells)["accuracy"].tolist() == pytest.approx([np.mean(values)] * 2)


@pytest.mark.parametrize(
    ("attack", "left"),
    [
        ("pgd:norm=linf,eps=8/255,steps=5", "pgd:norm=linf,steps=5"),
        ("fgsm:eps=0.1", "fgsm"),
        ("mine.py:Attack:eps=0.1,k=2", "mine.py:Attack:k=2"),
        ("flicker", "flicker"),
        ("pgd:eps", "pgd:eps"),
        (":eps=1", ":eps=1"),
        ("a:,,", "a:,,"),
    ],
)
def test_spec_without_eps(attack, left):
    assert without_eps(attack) == left
