"""Corruption metrics: worked by hand, as published, and never over what is not there."""

import math

import numpy as np
import pandas as pd
import pytest
from robustvideo.benchmark.core.errors import InputError
from robustvideo.leaderboard.corruption_metrics import PLACE, SCORES, corruption_metrics

DIGITS = dict(abs=1e-12)

ALEXNET = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
"""Published mean errors, by which ImageNet-C's mCE divides."""

YI = {
    "timesformer": (82.2, 71.4, 86.9),
    "resnet3d": (73.0, 59.2, 81.1),
    "i3d": (70.5, 57.7, 81.8),
    "slowfast": (69.2, 54.3, 78.5),
    "x3d": (62.6, 48.6, 77.6),
}
"""Published clean accuracy, mPC and rPC on Mini Kinetics-C, per cent."""


def rows(model, clean, accuracies, **other):
    """Cells of a model: `accuracies` maps a corruption to five numbers (NaN: failed), or to one for all severities."""
    place = {"dataset": "d", "split": "test", "limit": None, "manifest_sha256": "m", "seed": 0, "defense": "none"}
    place |= {"model": model, "weights_sha256": f"sha-{model}", "flags": "", "flips": None}
    made = [place | {"kind": "clean", "corruption": "none", "severity": None, "status": "ok", "top1": clean} | other]
    for corruption, values in accuracies.items():
        for severity, value in enumerate(np.broadcast_to(values, 5).tolist(), start=1):
            what = {"kind": "corruption", "corruption": corruption, "family": family(corruption), "severity": severity}
            status = "error" if math.isnan(value) else "ok"
            made.append(place | what | {"status": status, "top1": None if math.isnan(value) else value} | other)
    return made


def family(corruption):
    return "noise" if "noise" in corruption else "blur" if "blur" in corruption else "weather"


def metrics(*parts, baseline=None):
    return corruption_metrics(pd.DataFrame([row for part in parts for row in part]), baseline)


def of(table, model, **more):
    found = table[table["model"] == model]
    for name, value in more.items():
        found = found[found[name] == value]
    assert len(found) == 1
    return found.iloc[0]


GOOD = {"shot_noise": [0.8, 0.7, 0.6, 0.5, 0.4], "fog": [0.7, 0.6, 0.5, 0.4, 0.3], "snow": 0.3}
WEAK = {"shot_noise": [0.5, 0.4, 0.3, 0.2, 0.1], "fog": 0.4, "snow": 0.2}


def test_the_numbers_are_those_worked_by_hand():
    found = metrics(rows("good", 0.8, GOOD), rows("weak", 0.6, WEAK), baseline="weak")
    row = of(found.models, "good")
    assert row["corruptions"] == 3 and row["missing"] == row["left_out"] == 0 and row["flags"] == ""
    assert row["clean"] == 0.8
    # Means over severities: .6, .5, .3; the baseline's .3, .4, .2.
    assert row["mpc"] == pytest.approx(1.4 / 3, **DIGITS)
    assert row["rpc"] == pytest.approx(1.4 / 3 / 0.8, **DIGITS)
    assert row["mce"] == pytest.approx((0.4 / 0.7 + 0.5 / 0.6 + 0.7 / 0.8) / 3, **DIGITS)
    assert row["relative_mce"] == pytest.approx((0.2 / 0.3 + 0.3 / 0.2 + 0.5 / 0.4) / 3, **DIGITS)
    assert row["gamma_a"] == pytest.approx((0.8 + 0.7 + 0.5) / 3, **DIGITS)
    assert row["gamma_r"] == pytest.approx((0.75 + 0.625 + 0.375) / 3, **DIGITS)
    assert math.isnan(row["flips"])
    weak = of(found.models, "weak")
    assert weak["mce"] == pytest.approx(1, **DIGITS) and weak["relative_mce"] == pytest.approx(1, **DIGITS)
    fog = of(found.corruptions, "good", corruption="fog")
    assert fog["family"] == "weather" and fog["common"] and fog["missing"] == 0
    expected = [0.5, 0.5 / 0.6, 0.3 / 0.2, 0.7, 0.625]
    assert fog[SCORES[:5]].tolist() == pytest.approx(expected, **DIGITS)


def test_families_do_not_weigh_in_the_mean_over_corruptions():
    found = metrics(rows("good", 0.8, GOOD))
    weather, noise = (of(found.families, "good", family=name) for name in ("weather", "noise"))
    assert (weather["corruptions"], noise["corruptions"]) == (2, 1)
    assert weather["accuracy"] == pytest.approx(0.4, **DIGITS) and noise["accuracy"] == pytest.approx(0.6, **DIGITS)
    mpc = of(found.models, "good")["mpc"]
    assert mpc == pytest.approx((2 * 0.4 + 0.6) / 3, **DIGITS)
    assert abs(mpc - (0.4 + 0.6) / 2) > 0.03  # what families first would give


def test_gamma_is_what_the_other_metrics_say():
    rng = np.random.default_rng(0)
    for model in "abc":
        clean = rng.uniform(0.2, 1)
        row = of(metrics(rows(model, clean, {name: rng.uniform(0, 1, 5) for name in ALEXNET})).models, model)
        assert row["gamma_r"] == pytest.approx(row["rpc"], **DIGITS)
        assert row["gamma_a"] == pytest.approx(1 - clean + row["mpc"], **DIGITS)


@pytest.mark.parametrize("model", YI)
def test_published_robustness_follows_from_published_accuracies(model):
    clean, mpc, rpc = YI[model]
    # Twelve corruptions whose mean is the published one, though none of them has it.
    spread = np.linspace(-8, 8, 12)
    row = of(metrics(rows(model, clean / 100, {f"c{n}": (mpc + spread[n]) / 100 for n in range(12)})).models, model)
    assert 100 * row["mpc"] == pytest.approx(mpc, abs=1e-9)
    assert 100 * row["rpc"] == pytest.approx(rpc, abs=0.15)  # published figures are rounded to .1


def test_mce_is_the_rule_of_imagenet_c():
    rng = np.random.default_rng(1)
    errors = {name: rng.uniform(0.1, 0.95, 5) for name in ALEXNET}
    alexnet = rows("alexnet", 0.565, {name: 1 - value for name, value in ALEXNET.items()})
    found = metrics(alexnet, rows("resnet", 0.76, {name: 1 - value for name, value in errors.items()}), baseline="sha-alexnet")
    by_rule = np.mean([100 * errors[name].mean() / ALEXNET[name] for name in ALEXNET])
    assert 100 * of(found.models, "resnet")["mce"] == pytest.approx(by_rule, abs=1e-9)
    # The published constants have a mean of 78.9 %.
    assert 1 - of(found.models, "alexnet")["mpc"] == pytest.approx(sum(ALEXNET.values()) / 15, **DIGITS)


def test_flip_probability_needs_all_its_cells():
    cells = rows("good", 0.8, GOOD, flips=0.25)
    assert of(metrics(cells).models, "good")["flips"] == pytest.approx(0.25, **DIGITS)
    cells[3]["flips"] = None
    found = metrics(cells)
    assert math.isnan(of(found.models, "good")["flips"])
    assert of(found.models, "good")["mpc"] == pytest.approx(1.4 / 3, **DIGITS)
    assert of(found.corruptions, "good", corruption="fog")["flips"] == pytest.approx(0.25, **DIGITS)


def test_a_failed_or_absent_cell_is_counted_and_leaves_no_mean():
    failed = rows("good", 0.8, GOOD | {"fog": [0.7, math.nan, 0.5, math.nan, 0.3]})
    absent = [row for row in rows("good", 0.8, GOOD) if not (row["corruption"] == "fog" and row["severity"] in (2, 4))]
    for cells in (failed, absent):
        found = metrics(cells)
        row = of(found.models, "good")
        assert row["missing"] == 2 and row["corruptions"] == 3
        assert np.isnan(row[["mpc", "rpc", "mce", "gamma_a", "gamma_r"]].astype(float)).all() and row["clean"] == 0.8
        fog, snow = (of(found.corruptions, "good", corruption=name) for name in ("fog", "snow"))
        assert math.isnan(fog["accuracy"]) and fog["missing"] == 2
        assert snow["accuracy"] == pytest.approx(0.3, **DIGITS) and snow["missing"] == 0
        weather, noise = (of(found.families, "good", family=name) for name in ("weather", "noise"))
        assert math.isnan(weather["accuracy"]) and weather["missing"] == 2
        assert noise["accuracy"] == pytest.approx(0.6, **DIGITS) and noise["missing"] == 0


def test_only_what_all_models_have_is_aggregated():
    less = {name: WEAK[name] for name in ("fog", "snow")}
    found = metrics(rows("good", 0.8, GOOD), rows("weak", 0.6, less), rows("clean only", 0.9, {}), baseline="weak")
    assert sorted(found.models["model"]) == ["good", "weak"]
    good = of(found.models, "good")
    assert (good["corruptions"], good["left_out"]) == (2, 1)
    assert good["mpc"] == pytest.approx(0.4, **DIGITS)
    assert good["mce"] == pytest.approx((0.5 / 0.6 + 0.7 / 0.8) / 2, **DIGITS)
    shot = of(found.corruptions, "good", corruption="shot_noise")
    assert not shot["common"] and shot["accuracy"] == pytest.approx(0.6, **DIGITS) and math.isnan(shot["ce"])
    assert "noise" not in set(found.families["family"])
    nothing = metrics(rows("good", 0.8, {"fog": 0.5}), rows("weak", 0.6, {"snow": 0.5}))
    assert (nothing.models["corruptions"] == 0).all() and nothing.models["mpc"].isna().all()
    assert nothing.families.empty and len(nothing.corruptions) == 2


def test_other_clips_and_other_defenses_are_other_rows():
    defended = rows("good", 0.7, {name: 0.5 for name in GOOD}, defense="shuffle")
    elsewhere = rows("good", 0.5, {"fog": 0.25}, limit=8)
    found = metrics(rows("good", 0.8, GOOD), defended, elsewhere)
    assert len(found.models) == 3 and found.models["limit"].notna().sum() == 1
    assert of(found.models, "good", defense="shuffle")["rpc"] == pytest.approx(0.5 / 0.7, **DIGITS)
    assert of(found.models, "good", limit=8)["corruptions"] == 1
    assert of(found.models[found.models["limit"].isna()], "good", defense="none")["corruptions"] == 3
    assert list(found.models.columns[: len(PLACE)]) == PLACE


def test_a_baseline_must_be_there_and_complete():
    good = rows("good", 0.8, GOOD)
    with pytest.raises(InputError, match="no undefended corruption cells of 'goood' on d test; did you mean good"):
        metrics(good, baseline="goood")
    with pytest.raises(InputError, match="no undefended corruption cells of 'weak'"):
        metrics(good, rows("weak", 0.6, WEAK, defense="shuffle"), baseline="weak")
    failed = rows("weak", 0.6, WEAK | {"fog": [0.4, math.nan, 0.4, 0.4, math.nan]})
    with pytest.raises(InputError, match="cells of 'weak' on d test are missing: 2 of fog; run them first"):
        metrics(good, failed, baseline="weak")
    with pytest.raises(InputError, match="missing: its clean cell"):
        metrics(good, rows("weak", 0.6, WEAK)[1:], baseline="weak")
    others = (rows(f"tsm:preset={name}", 0.6, WEAK) for name in "ab")
    with pytest.raises(InputError, match="'tsm' is several on d test: tsm:preset=a with weights .* and tsm:preset=b"):
        metrics(good, *others, baseline="tsm")
    assert of(metrics(good, rows("tsm:preset=a", 0.6, WEAK), baseline="tsm").models, "good")["mce"] < 1
    assert metrics(good).models["mce"].isna().all()


def test_what_is_undefined_is_said():
    found = metrics(rows("good", 0.8, GOOD), rows("firm", 0.5, GOOD | {"snow": 0.5, "fog": 1.0}), baseline="firm")
    row = of(found.models, "good")
    assert math.isnan(row["mce"]) and math.isnan(row["relative_mce"]) and row["mpc"] == pytest.approx(1.4 / 3, **DIGITS)
    assert {"undefined-ce:fog", "undefined-relative-ce:fog", "undefined-relative-ce:snow"} <= set(row["flags"].split())
    zero = of(metrics(rows("zero", 0.0, GOOD)).models, "zero")
    assert math.isnan(zero["rpc"]) and math.isnan(zero["gamma_r"]) and zero["gamma_a"] == pytest.approx(1 + 1.4 / 3, **DIGITS)
    unclean = of(metrics(rows("good", 0.8, GOOD)[1:]).models, "good")
    assert unclean["flags"] == "no-clean" and math.isnan(unclean["rpc"]) and unclean["mpc"] == pytest.approx(1.4 / 3, **DIGITS)


def test_repeated_cells_must_agree():
    cells = rows("good", 0.8, GOOD, flags="published-severities:no-op")
    again = rows("good", 0.8, GOOD, flips=0.5)
    agreeing = of(metrics(cells, again).models, "good")
    assert agreeing["mpc"] == pytest.approx(1.4 / 3, **DIGITS) and agreeing["flips"] == 0.5
    assert agreeing["flags"] == "published-severities:no-op"
    again[1]["top1"] = 0.1
    differing = of(metrics(cells, again).models, "good")
    assert differing["missing"] == 1 and math.isnan(differing["mpc"])
    assert "ambiguous:shot_noise" in differing["flags"].split()
    failed = rows("good", 0.8, GOOD | {"fog": math.nan})
    assert of(metrics(cells, failed).models, "good")["mpc"] == pytest.approx(1.4 / 3, **DIGITS)


def test_a_table_without_corruptions_gives_empty_tables():
    found = metrics(rows("good", 0.8, {}))
    assert found.models.empty and found.corruptions.empty and found.families.empty
    assert {"mpc", "mce", "flags"} <= set(found.models.columns)


def test_a_table_that_went_through_a_file_gives_the_same(tmp_path):
    cells = pd.DataFrame([*rows("good", 0.8, GOOD), *rows("weak", 0.6, WEAK | {"fog": math.nan})])
    cells.to_csv(tmp_path / "cells.csv", index=False)
    read = pd.read_csv(tmp_path / "cells.csv")
    pd.testing.assert_frame_equal(corruption_metrics(cells).models, corruption_metrics(read).models, check_dtype=False)
