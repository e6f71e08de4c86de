"""Tests on the same clips before and after: max-T sign flips over a whole grid, exact McNemar, and intervals of a difference.

Max-T (Westfall and Young 1993) with sign flips: where nothing has changed, `before` and `after` of a source video could as well
be swapped, in all cells at once. So the signs of its differences are flipped in every cell together, which keeps what cells of
one grid have in common, and the largest statistic of each flip shows what chance can do over the whole grid. Near-duplicates of
a cell cost nothing that way, and clips of one video count as one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

ALPHA = 0.05
"""Chance of any false alarm in a run."""

CHUNK = 256
"""Flips in one matrix product: few enough that its result stays small."""

NEAR = 1e-5
"""Statistics closer than this are tied, for sums in float32 depend on their order. A tie makes p larger."""

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Block:
    """Tests on one set of clips.

    Attributes:
        groups: The source videos.
        sizes: Clips of each, (groups,).
        sums: Per test and source video, the sum over its clips of before minus after, (tests, groups).
    """

    groups: tuple[str, ...]
    sizes: Floats
    sums: Floats

    @classmethod
    def of(cls, differences: Floats, groups: Sequence[str]) -> "Block":
        """From differences per clip, (tests, clips), and the source video of each clip."""
        kinds, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        sizes = np.bincount(index, minlength=len(kinds)).astype(float)
        if len(kinds) == len(groups):
            return cls(tuple(kinds.tolist()), sizes, differences[:, np.argsort(index)])
        order = np.argsort(index, kind="stable")
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int)
        return cls(tuple(kinds.tolist()), sizes, np.add.reduceat(differences[:, order], starts, axis=1))

    @property
    def scaled(self) -> Floats:
        """Sums over the root of the sum of their squares: added up they are the statistic, flipped or not."""
        norms = np.sqrt((self.sums**2).sum(axis=1, keepdims=True))
        return np.divide(self.sums, norms, out=np.zeros_like(self.sums), where=norms > 0)

    @property
    def statistic(self) -> Floats:
        """Sum of sums over the root of the sum of their squares: (b - c) / sqrt(b + c) where each clip is a group, (tests,)."""
        return self.scaled.sum(axis=1)


@dataclass(frozen=True)
class Maxima:
    """Largest statistic of every family of tests under every flip, the unflipped one among them: (families, flips)."""

    values: Floats

    def adjusted(self, family: int, statistic: Floats) -> Floats:
        """The p of statistics of a family, adjusted for all tests of all families.

        Within a family it is the share of flips whose maximum reaches the statistic. Over families it is the share of flips
        whose smallest p of a family is as small, so that a family of few tests keeps its power and the chance of any false
        alarm is still ALPHA.
        """
        return self._over_families(_reached(self.values[family], statistic))

    def smallest(self, family: int, evenness: float, most: int) -> int | None:
        """Fewest source videos that would be significant had they been lost whole, and none gained, on top of what is seen.

        k source videos alone reach sqrt(k evenness), with `evenness` the squared mean of their sizes over the mean of the
        squares; chance alone gives all k the same sign once in 2^k. The p that this adds to the null of the grid is at most
        their sum (Bonferroni for two events), so the result errs to the large side by at most a video or two. None where even
        `most` would not do.
        """
        lost = np.arange(1, min(most, 100_000) + 1)
        p = self.adjusted(family, np.sqrt(lost * evenness)) + 0.5**lost
        found = np.flatnonzero(p < ALPHA)
        return int(lost[found[0]]) if len(found) else None

    def _over_families(self, p: Floats) -> Floats:
        own = np.min([_reached(family, family) for family in self.values], axis=0)
        return np.searchsorted(np.sort(own), p + 1e-12, side="right") / len(own)


def flip(families: Sequence[Sequence[Block]], draws: int = 2000, seed: int = 0) -> tuple[Maxima, Maxima, int]:
    """Maxima of drops and of gains under sign flips, and how many flips there were.

    A source video has one sign in all blocks that name it, whatever their clips: flips of fewer things at a time are as valid,
    and right where the videos are the same. Where 2^groups is at most `draws`, all flips are made and p is exact; groups without
    a difference count for nothing. Otherwise `draws` random ones are, beside the data as they are, so that no p is zero.

    Args:
        families: Blocks of tests that are judged together.
        draws: Most sign flips.
        seed: Of the random ones.
    """
    blocks = [block for family in families for block in family]
    moved = sorted({block.groups[k] for block in blocks for k in np.flatnonzero(block.sums.any(axis=0))})
    column = {name: number for number, name in enumerate(moved)}
    count = 2 ** len(moved) if len(moved) < 60 and 2 ** len(moved) <= draws else draws + 1
    prepared = [[_prepared(block, column) for block in family] for family in families]
    rng = np.random.default_rng(seed)
    highest, lowest = np.zeros((len(families), count)), np.zeros((len(families), count))
    for start in range(0, count, CHUNK):
        rows = slice(start, min(start + CHUNK, count))
        signs = _signs(rows, len(moved), count <= draws, rng)
        for number, family in enumerate(prepared):
            for columns, weights in family:
                # The transposed product, so that the larger matrix is read as it lies.
                reached = weights @ signs[:, columns].T
                np.maximum(highest[number, rows], reached.max(axis=0, initial=0), out=highest[number, rows])
                np.minimum(lowest[number, rows], reached.min(axis=0, initial=0), out=lowest[number, rows])
    return Maxima(highest), Maxima(-lowest), count if count <= draws else draws


def mcnemar(lost: NDArray[np.integer], gained: NDArray[np.integer]) -> Floats:
    """Exact one-sided p of McNemar's test: the chance of at least `lost` of lost + gained fair coins; 1 where none changed."""
    return stats.binom.sf(np.asarray(lost) - 1, np.asarray(lost) + np.asarray(gained), 0.5)


def interval(block: Block, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Interval of the mean difference of every test, (tests,) each, within [-1, 1].

    Cluster-robust by source video, t with groups - 1 degrees of freedom. Where no source video changed, what that excludes: the
    exact binomial bound of none of all groups, to either side; NaN where there is one group, or none.
    """
    count, clips = len(block.groups), block.sizes.sum()
    if count < 2:
        return np.full(len(block.sums), np.nan), np.full(len(block.sums), np.nan)
    mean = block.sums.sum(axis=1) / clips
    squares = ((block.sums - block.sizes * mean[:, None]) ** 2).sum(axis=1)
    half = stats.t.ppf(0.5 + confidence / 2, count - 1) * np.sqrt(count / (count - 1) * squares) / clips
    quiet = ~block.sums.any(axis=1)
    half = np.where(quiet, 1 - (0.5 - confidence / 2) ** (1 / count), half)
    return np.maximum(mean - half, -1), np.minimum(mean + half, 1)


def _reached(maxima: Floats, statistic: Floats) -> Floats:
    """Share of maxima that reach a statistic."""
    return 1 - np.searchsorted(np.sort(maxima), np.asarray(statistic) - NEAR, side="left") / len(maxima)


def _prepared(block: Block, column: dict[str, int]) -> tuple[NDArray[np.integer], Floats]:
    """Columns of the signs of a block's groups, and its scaled sums there; tests and groups without difference are left out."""
    used = np.flatnonzero(block.sums.any(axis=0))
    weights = block.scaled[block.sums.any(axis=1)][:, used].astype(np.float32)
    return np.array([column[block.groups[k]] for k in used], dtype=int), weights


def _signs(rows: slice, width: int, every: bool, rng: np.random.Generator) -> NDArray[np.float32]:
    """Rows of signs, -1 or 1: all patterns in turn, or random ones after one row of ones."""
    if every:
        bits = (np.arange(rows.start, rows.stop)[:, None] >> np.arange(width)) & 1
    else:
        bits = rng.integers(0, 2, (rows.stop - rows.start, width), dtype=np.int8)
        bits[: int(rows.start == 0)] = 0
    return (1 - 2 * bits).astype(np.float32)
