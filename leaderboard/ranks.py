"""Which places a row of a leaderboard can have, and which rows cannot be told apart.

All rows of a section are judged on the same clips, so their differences are far better known than their accuracies. A paired
bootstrap keeps that: a draw takes source videos with replacement, the same for every row (Efron and Tibshirani 1993, chapter 8).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

DRAWS = 2000
SEED = 0

BLOCK = 4_000_000
"""Numbers of one block of draws: memory stays bounded with hundreds of thousands of videos."""

FEWEST = 6
"""Videos that two rows must differ on before anything can be said: fewer reach no p < 0.05 in an exact sign test, 2 / 2^5."""

TAIL = 0.025


class Ranks(NamedTuple):
    """What a bootstrap says of rows.

    Attributes:
        ranges: First and last place of each row, from 1.
        ties: Letter of each row's group.
    """

    ranges: list[tuple[int, int]]
    ties: list[str]


def ranked(
    shares: Sequence[Sequence[float] | NDArray[Any]], groups: Sequence[str], draws: int = DRAWS, seed: int = SEED
) -> Ranks:
    """Ranges of ranks, and rows that cannot be told apart.

    The range goes from the 2.5 % to the 97.5 % quantile of a row's rank over the draws. Within a draw, rows of equal accuracy
    share the better rank, and the next one leaves a gap, as in sports: of rows that are always equal each has the same one rank.

    Groups: the best row that has none yet founds one, and takes in all later rows whose difference from it has a 95 % interval
    (percentiles over the draws) with 0 in it, or that differ from it on fewer than FEWEST videos.

    Args:
        shares: Share of right passes per row and clip, the clips in the same order.
        groups: Source video per clip.
        draws: Draws of the bootstrap.
        seed: Its seed.
    """
    values = np.asarray(shares, dtype=float)
    if not len(values):
        return Ranks([], [])
    kinds, which = np.unique(np.asarray(groups), return_inverse=True)
    if len(kinds) < 2:  # every draw is the same
        return Ranks([(1, len(values))] * len(values), ["a"] * len(values))
    sums = np.stack([np.bincount(which, row, len(kinds)) for row in values], axis=1)
    means = _drawn(sums, np.bincount(which, minlength=len(kinds)), draws, seed)
    places = rankdata(-means, method="min", axis=1)
    low, high = np.quantile(places, [TAIL, 1 - TAIL], axis=0, method="inverted_cdf").astype(int)
    return Ranks(list(zip(low.tolist(), high.tolist(), strict=True)), _ties(values.mean(axis=1), sums, means))


def _drawn(sums: NDArray[Any], sizes: NDArray[Any], draws: int, seed: int) -> NDArray[Any]:
    """Accuracy of every row in every draw, (draws, rows)."""
    rng, count = np.random.default_rng(seed), len(sizes)
    columns = np.column_stack([sums, sizes])
    block = max(1, BLOCK // count)
    found = []
    for start in range(0, draws, block):
        some = min(block, draws - start)
        taken = rng.integers(count, size=(some, count)) + count * np.arange(some)[:, None]
        times = np.bincount(taken.ravel(), minlength=some * count).reshape(some, count)
        found.append(times.astype(float) @ columns)
    totals = np.concatenate(found)
    # A matrix product may round equal columns differently; ties must stay ties.
    return np.round(totals[:, :-1] / totals[:, -1:], 12)


def _ties(accuracy: NDArray[Any], sums: NDArray[Any], means: NDArray[Any]) -> list[str]:
    left = np.argsort(-np.round(accuracy, 12), kind="stable").tolist()
    letters = [""] * len(left)
    for number in range(len(left)):
        if not left:
            break
        best = left[0]
        low, high = np.quantile(means[:, [best]] - means[:, left], [TAIL, 1 - TAIL], axis=0)
        apart = np.count_nonzero(np.abs(sums[:, [best]] - sums[:, left]) > 1e-9, axis=0)
        same = (low <= 0) & (high >= 0) | (apart < FEWEST)
        for row, alike in zip(left, same.tolist(), strict=True):
            letters[row] = _letter(number) if alike else ""
        left = [row for row, alike in zip(left, same.tolist(), strict=True) if not alike]
    return letters


def _letter(number: int) -> str:
    """From a to z, then aa, ab and so on."""
    text = ""
    while number >= 0:
        text = chr(ord("a") + number % 26) + text
        number = number // 26 - 1
    return text
