"""The test of the gate: against all sign patterns by hand, statsmodels, scipy, and runs in which nothing changed."""

import itertools
import math

import numpy as np
import pytest
from robustvideo.leaderboard.gate.paired import ALPHA, Block, flip, interval, mcnemar
from scipy.stats import binomtest

MODELS, CELLS = 4, 48


def grid(seed, tests, clips, changed=0.3, per_source=1, prefix="v"):
    """Differences in {-1, 0, 1}, and source videos."""
    rng = np.random.default_rng(seed)
    moved = rng.choice([-1.0, 0.0, 1.0], (tests, clips), p=[changed / 2, 1 - changed, changed / 2])
    return moved, [f"{prefix}{number // per_source:04d}" for number in range(clips)]


def by_hand(families):
    """Adjusted p of every test: loops over all sign patterns and all families, from the definition."""
    names = sorted({name for family in families for _, groups in family for name in groups})

    def statistics(family, sign):
        found = []
        for moved, groups in family:
            for row in moved:
                sums = {name: sum(d for d, group in zip(row, groups, strict=True) if group == name) for name in set(groups)}
                norm = math.sqrt(sum(one**2 for one in sums.values()))
                found.append(sum(sign[name] * one for name, one in sums.items()) / norm if norm else 0.0)
        return found

    patterns = [dict(zip(names, signs, strict=True)) for signs in itertools.product([1, -1], repeat=len(names))]
    seen = [[statistics(family, sign) for sign in patterns] for family in families]
    maxima = [[max(0.0, *one) for one in family] for family in seen]  # a gain is no drop of a size

    def share(values, reached):
        return sum(one >= reached - 1e-9 for one in values) / len(values)

    smallest = [min(share(values, values[k]) for values in maxima) for k in range(len(patterns))]
    return [
        [sum(one <= share(values, reached) + 1e-12 for one in smallest) / len(smallest) for reached in family[0]]
        for values, family in zip(maxima, seen, strict=True)
    ]


def blocks(family):
    return [Block.of(moved, groups) for moved, groups in family]


def adjusted(families, which=0, **options):
    drops = flip([blocks(family) for family in families], **options)[which]
    return [
        np.concatenate([drops.adjusted(number, (1 - 2 * which) * block.statistic) for block in blocks(family)]).tolist()
        for number, family in enumerate(families)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_a_grid_is_what_all_sign_patterns_give_by_hand(seed):
    families = [[grid(seed, 3, 7, 0.8)]]
    assert adjusted(families)[0] == pytest.approx(by_hand(families)[0], abs=1e-9)


def test_clips_of_one_video_and_sets_of_clips_that_share_videos_are_flipped_together():
    first, second = grid(5, 3, 8, 0.8, per_source=2), grid(6, 2, 6, 0.8, per_source=2)
    other = (second[0], [f"other {group}" for group in second[1]])
    shared, apart = [[first, second]], [[first, other]]
    assert adjusted(shared)[0] == pytest.approx(by_hand(shared)[0], abs=1e-9)
    assert adjusted(apart)[0] == pytest.approx(by_hand(apart)[0], abs=1e-9)
    assert adjusted(shared)[0] != pytest.approx(adjusted(apart)[0])


def test_two_families_are_judged_together_and_gains_are_drops_the_other_way_round():
    families = [[grid(1, 2, 7, 0.8)], [grid(2, 3, 7, 0.8)]]
    turned = [[(-moved, groups) for moved, groups in family] for family in families]
    for mine, theirs in zip(adjusted(families), by_hand(families), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-9)
    for mine, theirs in zip(adjusted(families, which=1), by_hand(turned), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-9)


def test_random_flips_come_near_all_of_them():
    families = [[grid(3, 4, 12, 0.9)]]
    every, some = (np.array(adjusted(families, draws=draws)[0]) for draws in (5000, 2000))
    assert flip([blocks(families[0])], draws=2000)[2] == 2000
    assert not np.array_equal(every, some)
    assert np.abs(every - some) == pytest.approx(0, abs=4 * math.sqrt(0.25 / 2000))


def test_the_order_of_tests_and_clips_changes_nothing_and_a_seed_repeats():
    moved, groups = grid(7, 5, 60, 0.4, per_source=3)
    rng = np.random.default_rng(0)
    clips, tests = rng.permutation(60), rng.permutation(5)
    mixed = (moved[tests][:, clips], [groups[k] for k in clips])
    plain = np.array(adjusted([[(moved, groups)]])[0])
    assert adjusted([[mixed]])[0] == plain[tests].tolist()
    assert adjusted([[(moved, groups)]], seed=1)[0] != plain.tolist()


def test_no_difference_is_no_news():
    drops, gains, count = flip([[], [Block.of(np.zeros((3, 20)), list(map(str, range(20))))]])
    assert count == 1
    assert drops.adjusted(1, np.zeros(3)).tolist() == gains.adjusted(1, np.zeros(3)).tolist() == [1.0] * 3


def test_the_statistic_is_that_of_mcnemar_for_clips_of_their_own():
    moved, groups = grid(8, 6, 100)
    lost, gained = (moved > 0).sum(axis=1), (moved < 0).sum(axis=1)
    assert Block.of(moved, groups).statistic == pytest.approx((lost - gained) / np.sqrt(lost + gained))


def test_the_smallest_detectable_loss_is_significant_and_one_less_is_not():
    quiet = np.zeros((6, 64))
    names = [str(k) for k in range(64)]
    fewest = flip([[Block.of(quiet, names)]])[0].smallest(0, 1.0, 64)
    assert fewest == 5, "2^-5 < 0.05 < 2^-4, and cells that stay the same can give no false alarm"
    for count, significant in ((fewest - 1, False), (fewest, True)):
        moved = quiet.copy()
        moved[2, :count] = 1
        assert (adjusted([[(moved, names)]])[0][2] < ALPHA) == significant


def test_the_smallest_detectable_loss_grows_with_noise_and_uneven_videos_and_may_be_too_large():
    moved, groups = grid(9, 48, 400, 0.1)
    drops = flip([[Block.of(moved, groups)]])[0]
    fewest = drops.smallest(0, 1.0, 400)
    assert fewest is not None and 8 <= fewest <= 13, "Holm over 48 cells needs ceil(log2(48 / 0.05)) = 10"
    planted = np.vstack([moved, np.zeros(400)])
    planted[-1, :fewest] = 1
    assert adjusted([[(planted, groups)]])[0][-1] < ALPHA
    uneven = drops.smallest(0, 0.5, 400)
    assert uneven is not None and uneven > fewest
    assert drops.smallest(0, 1.0, fewest - 1) is None


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (3, 0), (10, 2), (5, 5), (2, 9), (40, 21)])
def test_mcnemar_is_scipys_and_statsmodels(lost, gained):
    p = float(mcnemar(np.array(lost), np.array(gained)))
    if lost + gained:
        assert p == pytest.approx(binomtest(lost, lost + gained, alternative="greater").pvalue, abs=1e-12)
    else:
        assert p == 1
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    both = tables.mcnemar([[50, lost], [gained, 7]], exact=True).pvalue
    if lost > gained:  # theirs is two-sided: twice the smaller tail
        assert 2 * p == pytest.approx(both, abs=1e-12)


def test_the_interval_of_a_difference_is_the_cluster_robust_one_of_statsmodels():
    api = pytest.importorskip("statsmodels.api")
    moved, groups = grid(10, 3, 90, 0.5, per_source=3)
    low, high = interval(Block.of(moved, groups))
    for number, row in enumerate(moved):
        codes = np.unique(groups, return_inverse=True)[1]
        fit = api.OLS(row, np.ones(90)).fit(cov_type="cluster", cov_kwds={"groups": codes}, use_t=True)
        assert (low[number], high[number]) == pytest.approx(tuple(fit.conf_int(0.05)[0]), abs=1e-9)


def test_the_interval_where_nothing_changed_is_what_that_excludes():
    names = [str(k) for k in range(64)]
    low, high = interval(Block.of(np.zeros((1, 64)), names))
    bound = binomtest(0, 64).proportion_ci(method="exact").high
    assert (-low[0], high[0]) == pytest.approx((bound, bound))
    assert np.isnan(interval(Block.of(np.ones((1, 3)), ["a"] * 3))).all()


def run(rng, clips, per_source=1, one=0.0, model=0.0, models=MODELS, cells=CELLS):
    """Differences of two noisy measurements of one truth, (cells, clips), those of the models' worst cases, and the sources.

    A measurement turns the answer of a clip over in 1 of 200; half of that noise is common to the cells of a model, and where
    clips share a source video, half of that to its clips. `one` and `model` are shares of clips that really get lost, in the
    first cell or in all cells of the first model.
    """
    owner, source = np.arange(cells) * models // cells, np.arange(clips) // per_source
    hard = rng.normal(size=source[-1] + 1)[source] + rng.normal(size=clips)
    truth = hard + rng.normal(size=(cells, clips)) < rng.normal(size=(cells, 1))

    def measured(right):
        common = rng.random((models, clips)) < 0.005
        if per_source > 1:
            common = (rng.random((models, source[-1] + 1)) < 0.005)[:, source]
        own = rng.random((cells, clips)) < 0.0025
        joined = rng.random((cells, clips)) < 0.5
        return np.where((common[owner] & joined) | own, ~right, right)

    harmed = truth.copy()
    for number in range(cells):
        share = one * (number == 0) + model * (owner[number] == 0)
        right = np.flatnonzero(truth[number])
        harmed[number, rng.permutation(right)[: round(share * clips)]] = False
    before, after = measured(truth), measured(harmed)
    worst = [before[owner == k].min(axis=0).astype(float) - after[owner == k].min(axis=0) for k in range(models)]
    return before.astype(float) - after, np.array(worst), [f"v{k}" for k in source]


def found(rng, clips, draws, whole_videos=True, **what):
    """Adjusted p of the models and of the cells of one run."""
    moved, worst, groups = run(rng, clips, **what)
    names = groups if whole_videos else [str(k) for k in range(clips)]
    families = [[Block.of(worst, names)], [Block.of(moved, names)]]
    drops = flip(families, draws, int(rng.integers(1 << 30)))[0]
    return drops.adjusted(0, families[0][0].statistic), drops.adjusted(1, families[1][0].statistic)


def stops(families, draws, rng, allowed=0.02):
    """Whether the gate would stop a run: an adjusted p below ALPHA, and a drop that the default tier does not allow."""
    drops = flip([[Block.of(*one)] for one in families], draws, int(rng.integers(1 << 30)))[0]
    significant, stopped = False, False
    for number, (moved, names) in enumerate(families):
        low = drops.adjusted(number, Block.of(moved, names).statistic) < ALPHA
        significant |= bool(low.any())
        stopped |= bool((low & (np.asarray(moved).mean(axis=1) > allowed)).any())
    return significant, stopped


def test_where_nothing_changed_alarms_are_rare():
    rng = np.random.default_rng(0)
    alarms = sum(min(p.min() for p in found(rng, 120, 200, per_source=2, models=2, cells=8)) < ALPHA for _ in range(300))
    assert alarms <= 300 * ALPHA + 3 * math.sqrt(300 * ALPHA * (1 - ALPHA))


@pytest.mark.slow
@pytest.mark.parametrize("clips", [200, 1000])
@pytest.mark.parametrize("per_source", [1, 4])
def test_at_most_five_per_cent_of_runs_raise_a_false_alarm(clips, per_source):
    rng = np.random.default_rng(clips + per_source)
    runs, significant, stopped = 1000, 0, 0
    for _ in range(runs):
        moved, worst, groups = run(rng, clips, per_source=per_source)
        low, stop = stops([(worst, groups), (moved, groups)], 1000, rng)
        significant, stopped = significant + low, stopped + stop
    said = f"significant {significant / runs:.3f}, stopped {stopped / runs:.3f}"
    print(f"\nA/A, {clips} clips, {per_source} per source video: {said}")
    assert stopped <= ALPHA * runs
    assert significant <= ALPHA * runs + 3 * math.sqrt(ALPHA * (1 - ALPHA) * runs), "the level of the test itself"


@pytest.mark.slow
def test_ignoring_source_videos_raises_false_alarms():
    rng = np.random.default_rng(3)
    runs = 400
    alarms = {}
    for whole in (True, False):
        seen = [found(rng, 1000, 1000, whole, per_source=4) for _ in range(runs)]
        alarms[whole] = sum(min(models.min(), cells.min()) < ALPHA for models, cells in seen) / runs
    print(f"\nA/A, 1000 clips, 4 per source video: {alarms[True]:.3f} by video, {alarms[False]:.3f} by clip")
    assert alarms[True] < alarms[False]


@pytest.mark.slow
@pytest.mark.parametrize("clips", [200, 1000])
def test_real_losses_are_seen(clips):
    rng = np.random.default_rng(clips)
    runs = 200
    single = [found(rng, clips, 1000, one=0.08) for _ in range(runs)]
    whole = [found(rng, clips, 1000, model=0.04) for _ in range(runs)]
    one = np.mean([cells[0] < ALPHA for _, cells in single])
    per_cell = np.mean([(cells[: CELLS // MODELS] < ALPHA).mean() for _, cells in whole])
    worst = np.mean([models[0] < ALPHA for models, _ in whole])
    run_wide = np.mean([min(models.min(), cells.min()) < ALPHA for models, cells in whole])
    print(
        f"\n{clips} clips: -8 points in one cell {one:.2f}; -4 points model-wide: per cell {per_cell:.2f}, worst case {worst:.2f}"
    )
    print(f"  -4 points model-wide: any alarm {run_wide:.2f}")
    assert one > 0.9 and run_wide > 0.9
