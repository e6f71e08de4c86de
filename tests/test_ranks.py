"""Ranges of ranks and groups of ties, by hand and against scipy's paired bootstrap."""

import numpy as np
import pytest
from robustvideo.leaderboard import ranks
from robustvideo.leaderboard.ranks import FEWEST, ranked
from scipy.stats import bootstrap

CLIPS = [f"clip-{number}" for number in range(40)]


def right(count, of=40):
    """The first `count` clips are right."""
    return [1.0] * count + [0.0] * (of - count)


def test_two_videos_by_hand():
    """Four equally likely draws of two videos: 11, 12, 21, 22.

    Row A is right on video 1, B on video 2. A is first in 11, tied in 12 and 21 (both take the better rank) and second in 22:
    it is second in a quarter of all draws, which is more than 2.5 %, and so is B.
    """
    found = ranked([[1.0, 0.0], [0.0, 1.0]], ["one", "two"])
    assert found.ranges == [(1, 2), (1, 2)] and found.ties == ["a", "a"]


def test_ranks_leave_a_gap_after_a_tie():
    found = ranked([right(5), right(40), right(40)], CLIPS)
    assert found.ranges == [(3, 3), (1, 1), (1, 1)] and found.ties == ["b", "a", "a"]


def test_a_clearly_better_row_is_first_whatever_is_drawn():
    rng = np.random.default_rng(1)
    weak = (rng.random((2, 200)) < 0.3).astype(float)
    found = ranked([weak[0].tolist(), [1.0] * 200, weak[1].tolist()], [str(number) for number in range(200)])
    assert found.ranges[1] == (1, 1) and found.ties[1] == "a"
    assert {found.ties[0], found.ties[2]} == {"b"} and found.ranges[0][1] == 3


@pytest.mark.parametrize("seed", range(6))
def test_the_verdict_on_a_pair_is_scipys(seed):
    """Ties are decided by whether the interval of the paired difference holds 0: its ends against scipy's, far from 0."""
    rng = np.random.default_rng(seed)
    ease = rng.random(120)
    shares = np.stack([ease < 0.6, ease + 0.3 * rng.standard_normal(120) < 0.6 - 0.05 * seed]).astype(float)

    def difference(one, other, axis=-1):
        return one.mean(axis=axis) - other.mean(axis=axis)

    theirs = bootstrap(tuple(shares), difference, paired=True, vectorized=True, n_resamples=4000, method="percentile", rng=seed)
    low, high = theirs.confidence_interval
    means = ranks._drawn(shares.T, np.ones(120, int), 4000, 0)
    ours = np.quantile(means[:, 0] - means[:, 1], [0.025, 0.975])
    assert ours == pytest.approx((low, high), abs=0.012)
    if min(abs(low), abs(high)) > 0.012:
        found = ranked(shares.tolist(), [str(number) for number in range(120)])
        assert (found.ties[0] == found.ties[1]) == (low < 0 < high)


def test_whole_videos_are_drawn():
    """Ten clips of one video are one observation: what forty clips settle, four videos do not."""
    worse = [0.0 if number % 10 < 4 else 1.0 for number in range(40)]
    alone = ranked([[1.0] * 40, worse], CLIPS)
    together = ranked([[1.0] * 40, worse], [f"video-{number // 10}" for number in range(40)])
    assert alone.ties == ["a", "b"] and together.ties == ["a", "a"]


@pytest.mark.parametrize(("differ", "letters"), [(FEWEST - 1, ["a", "a"]), (FEWEST, ["a", "b"])])
def test_few_clips_tell_nothing_apart(differ, letters):
    assert ranked([right(40), right(40 - differ)], CLIPS).ties == letters


def test_one_video_and_no_row():
    assert ranked([[1.0, 1.0], [0.0, 0.0]], ["same", "same"]) == ([(1, 2), (1, 2)], ["a", "a"])
    assert ranked([], []) == ([], [])


def test_more_rows_do_not_change_a_draw_and_the_same_call_is_the_same(monkeypatch):
    rng = np.random.default_rng(3)
    rows = (rng.random((5, 40)) < np.linspace(0.3, 0.7, 5)[:, None]).astype(float).tolist()
    assert ranked(rows, CLIPS) == ranked(rows, CLIPS)
    monkeypatch.setattr(ranks, "BLOCK", 40 * 7)  # a few draws at a time
    assert ranked(rows, CLIPS) == ranked(rows, CLIPS)


def test_many_groups_have_letters():
    steps = [right(640 - 20 * number, 640) for number in range(30)]
    found = ranked(steps, [str(number) for number in range(640)])
    assert found.ties[:2] == ["a", "b"] and found.ties[25:28] == ["z", "aa", "ab"]
    assert found.ranges == [(number, number) for number in range(1, 31)]
