"""Two measured cells compared, clip by clip, as a rule of a claim asks."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy import stats

from .papers import Rule

Outcome = Literal["above", "below", "open", "ceiling", "floor", "missing"]
"""Of a comparison: the interval lies in the claim, outside, neither; both cells are full, both are empty; one is missing."""


@dataclass(frozen=True)
class Spot:
    """A cell of a table, as it was measured.

    Attributes:
        label: `row @ column`.
        mean: Share of right clips in [0, 1]; NaN where it was not measured.
        low: Lower end of the 95 % interval.
        high: Upper end.
        clips: How many clips.
        threat: What the attacker knew; empty without one.
        reason: Why there is no number.
        cells: Hashes of the cells behind it.
        by_clip: Share of right passes by clip; empty where it was not measured.
        groups: The source video by clip.
        margins: Score of the true class less the best other one, by clip.
        place: What two cells share that were measured on the same clips.
        counterpart: Whether the paper has no such number: its attacker did not know the defence, this one does.
        skipped: Whether vbench cannot measure it, for the reason given.
    """

    label: str
    mean: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    clips: int = 0
    threat: str = ""
    reason: str = ""
    cells: tuple[str, ...] = ()
    by_clip: dict[str, float] = field(default_factory=dict, repr=False)
    groups: dict[str, str] = field(default_factory=dict, repr=False)
    margins: dict[str, float] = field(default_factory=dict, repr=False)
    place: str = ""
    counterpart: bool = False
    skipped: bool = False


@dataclass(frozen=True)
class Compared:
    """Two cells, or one and a level, compared clip by clip.

    Attributes:
        left: Label of the left cell.
        right: Label of the right cell, or the level.
        threat: Kind of the left cell's attacker.
        difference: Left less right, in [-1, 1].
        low: Lower end of its 95 % interval.
        high: Upper end.
        clips: How many clips both have.
        outcome: What it says.
        reason: Why there is none.
        cells: Hashes of the cells behind it.
        unit: `points` of accuracy for differences of shares; empty for others.
        skipped: Whether vbench cannot measure one of them.
    """

    left: str
    right: str
    threat: str
    difference: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    clips: int = 0
    outcome: Outcome = "missing"
    reason: str = ""
    cells: tuple[str, ...] = ()
    unit: str = "points"
    skipped: bool = False


def difference(left: Spot, right: Spot | float, confidence: float = 0.95) -> tuple[float, float, float, int]:
    """Mean difference of two cells over their common clips, with its interval and the number of clips.

    The interval is the one for paired proportions of Agresti and Min 2005 (two made-up clips, so that it keeps a width where no
    clip differs), with the variance taken over source videos and the t distribution, because clips of one video are not
    independent.
    """
    common = [one for one in left.by_clip if not isinstance(right, Spot) or one in right.by_clip]
    if not common:
        return float("nan"), float("nan"), float("nan"), 0
    gaps = np.array([left.by_clip[one] - (right.by_clip[one] if isinstance(right, Spot) else right) for one in common])
    _, group = np.unique([left.groups[one] for one in common], return_inverse=True)
    count = int(group.max()) + 1
    size = len(gaps) / count
    # Made up: half a source video for each way in which both cells can differ, and one where they agree.
    weights, values = np.array([0.5, 0.5, 1.0]), np.array([1.0, -1.0, 0.0])
    whole = len(gaps) + weights.sum() * size
    centre = gaps.sum() / whole
    squares = (np.bincount(group, weights=gaps - centre) ** 2).sum() + (weights * (size * (values - centre)) ** 2).sum()
    spread = np.sqrt((count + 2) / (count + 1) * squares) / whole
    half = float(stats.t.ppf(0.5 + confidence / 2, count + 1) * spread)
    return float(gaps.mean()), max(-1.0, float(centre - half)), min(1.0, float(centre + half)), len(gaps)


def kind_of(spot: Spot) -> str:
    """What its attacker knew, without the details."""
    return spot.threat.partition(":")[0]


def compare(rule: Rule, left: Spot, right: Spot | float, count: int) -> Compared:
    """Two cells as a rule asks, or a cell and a level; `count`: how many comparisons the claim makes, for Bonferroni."""
    other = right.label if isinstance(right, Spot) else f"{100 * right:g} %"
    cells = left.cells + (right.cells if isinstance(right, Spot) else ())
    lacking = next((one for one in (left, right) if isinstance(one, Spot) and not one.by_clip), None)
    if lacking is not None:
        reason = lacking.reason or "not measured"
        return Compared(left.label, other, kind_of(left), reason=reason, cells=cells, skipped=lacking.skipped)
    if isinstance(right, Spot) and left.place != right.place:
        return Compared(left.label, other, kind_of(left), reason="the two cells are of different clips", cells=cells)
    gap, low, high, clips = difference(left, right)
    wide = difference(left, right, 1 - 0.05 / count)[1:3]
    outcome = _within(rule, left, right, low, high, wide) if rule.kind == "within" else _more(rule, left, right, low, wide[1])
    return Compared(left.label, other, kind_of(left), gap, low, high, clips, outcome, cells=cells)


def _more(rule: Rule, left: Spot, right: Spot | float, low: float, wide_high: float) -> Outcome:
    margin = 0.0 if rule.kind == "level" else rule.margin
    full = _full(left, right)
    # Two cells at zero say nothing about a loss, and two that differ by less than their clips can show nothing about a gain.
    if full == "floor" and margin < 0:
        return full
    if low > margin:
        return "above"
    return "below" if wide_high <= margin else full or "open"


def _within(rule: Rule, left: Spot, right: Spot | float, low: float, high: float, wide: tuple[float, float]) -> Outcome:
    full = _full(left, right)
    if full:
        return full
    if -rule.margin < low and high < rule.margin:
        return "above"
    return "below" if wide[0] >= rule.margin or wide[1] <= -rule.margin else "open"


def _full(left: Spot, right: Spot | float) -> Literal["ceiling", "floor"] | None:
    """Whether both intervals reach within one clip of 100 %, or of zero: then the cells have no room to differ."""
    if not isinstance(right, Spot):
        return None
    if all(spot.high > 1 - 1 / spot.clips for spot in (left, right)):
        return "ceiling"
    return "floor" if all(spot.low < 1 / spot.clips for spot in (left, right)) else None
