"""Intervals of an accuracy."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special


def wilson(mean: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion `mean` of `n` independent clips (Wilson 1927), in [0, 1]; NaN where n = 0."""
    if n == 0:
        return float("nan"), float("nan")
    z = float(special.ndtri(0.5 + confidence / 2))
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def interval(correct: Sequence[float], groups: Sequence[str], confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the mean of per-clip values in [0, 1].

    Wilson where every clip is a group of its own. Otherwise the cluster-robust t interval by source video with G - 1 degrees
    of freedom, because clips of one video are not independent and Wilson would be far too narrow; where it degenerates (all
    groups agree, or one group) the Wilson interval over groups.

    Args:
        correct: Share of passes that were right, per clip.
        groups: Source video per clip.
        confidence: Coverage that is aimed at.
    """
    values = np.asarray(correct, dtype=float)
    if len(values) == 0:
        return wilson(0.0, 0)
    mean, (which, count) = float(values.mean()), _numbered(tuple(groups))
    if count == len(values):
        return wilson(mean, len(values), confidence)
    sums = np.bincount(which, values - mean, count)
    if count == 1 or np.allclose(sums, 0):
        return wilson(mean, count, confidence)
    half = special.stdtrit(count - 1, 0.5 + confidence / 2) * np.sqrt(count / (count - 1) * (sums**2).sum()) / len(values)
    return max(0.0, float(mean - half)), min(1.0, float(mean + half))


def line_through(x: Sequence[float], y: Sequence[float]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Slope and intercept of least squares through three points or more, each with half of its 95 % t interval."""
    from scipy import stats  # slow to import, and few need it

    line: Any = stats.linregress(x, y)
    wide = float(special.stdtrit(len(x) - 2, 0.975))
    return (float(line.slope), wide * float(line.stderr)), (float(line.intercept), wide * float(line.intercept_stderr))


@lru_cache(maxsize=16)
def _numbered(groups: tuple[str, ...]) -> tuple[NDArray[Any], int]:
    """The number of each clip's group, and how many there are; most cells of a store have the same."""
    kinds, which = np.unique(np.asarray(groups), return_inverse=True)
    return which, len(kinds)
