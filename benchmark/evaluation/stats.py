"""Intervals of an accuracy."""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def wilson(mean: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion `mean` of `n` independent clips (Wilson 1927), in [0, 1]; NaN where n = 0."""
    if n == 0:
        return float("nan"), float("nan")
    z = float(stats.norm.ppf(0.5 + confidence / 2))
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
    values, names = np.asarray(correct, dtype=float), np.asarray(groups)
    if len(values) == 0:
        return wilson(0.0, 0)
    mean, kinds = float(values.mean()), np.unique(names)
    if len(kinds) == len(values):
        return wilson(mean, len(values), confidence)
    sums = np.array([(values[names == kind] - mean).sum() for kind in kinds])
    count = len(kinds)
    if count == 1 or np.allclose(sums, 0):
        return wilson(mean, count, confidence)
    half = stats.t.ppf(0.5 + confidence / 2, count - 1) * np.sqrt(count / (count - 1) * (sums**2).sum()) / len(values)
    return max(0.0, float(mean - half)), min(1.0, float(mean + half))
