"""Intervals against scipy and statsmodels."""

import numpy as np
import pytest
from robustvideo.benchmark.evaluation.stats import interval, wilson
from scipy.stats import binomtest


@pytest.mark.parametrize(("right", "n"), [(0, 10), (3, 10), (10, 10), (87, 160), (1, 1)])
def test_wilson_is_scipys(right, n):
    theirs = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right / n, n) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_independent_clips_get_wilson():
    assert interval([1, 0, 1, 1], list("abcd")) == wilson(0.75, 4)


def test_clips_of_one_video_get_the_cluster_robust_interval_of_statsmodels():
    api = pytest.importorskip("statsmodels.api")
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(25), 5)
    values = (draw.random(25)[groups] > draw.random(125)).astype(float)
    fit = api.OLS(values, np.ones(125)).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    low, high = fit.conf_int(0.05)[0]
    assert interval(values, [str(group) for group in groups]) == pytest.approx((low, high), abs=1e-9)
    plain = wilson(values.mean(), 125)
    assert high - low > plain[1] - plain[0], "ignoring the groups would look more certain than the data are"


def test_no_clip_and_one_video():
    assert all(np.isnan(interval([], [])))
    assert interval([1.0, 1.0], ["a", "a"]) == wilson(1.0, 1)


def test_groups_that_agree_do_not_make_a_certain_interval():
    low, high = interval([1, 0, 0] * 3, [group for group in "abc" for _ in range(3)])
    assert low < 1 / 3 < high and (low, high) == pytest.approx(wilson(1 / 3, 3))
