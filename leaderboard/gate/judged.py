"""What the regression gate decides, before it takes any format."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

Verdict = Literal["PASS", "REGRESSED", "SUSPECT", "IMPROVED", "INCONCLUSIVE", "INCOMPARABLE", "MISSING", "ERROR"]

VERDICTS: dict[Verdict, str] = {
    "ERROR": "the cell failed in the store",
    "MISSING": "the baseline has the cell, the store has not",
    "REGRESSED": "the drop is significant over the whole grid (adjusted p < 0.05) and larger than its tier allows",
    "INCOMPARABLE": "another protocol, component version, list of clips or number type",
    "INCONCLUSIVE": "a drop that its tier must be able to see could not have become significant with so few clips",
    "SUSPECT": "the drop is larger than its tier allows, and not significant",
    "IMPROVED": "the gain is significant over the whole grid",
    "PASS": "none of these",
}
"""Every verdict and what it means, the worst first."""


class Exit(IntEnum):
    """Exit codes of `vbench check`."""

    PASS = 0
    REGRESSED = 1
    BAD_INPUT = 2
    UNDECIDED = 3


@dataclass(frozen=True)
class Acknowledgement:
    """A regression that somebody has accepted, for a while.

    Attributes:
        cell: Pattern of cell names.
        until: Last day, ISO 8601.
        reason: Why.
        by: Who.
    """

    cell: str
    until: str
    reason: str
    by: str


@dataclass(frozen=True)
class Judged:
    """One cell of the baseline, judged.

    Attributes:
        name: model|defense|attack or corruption:severity|threat, each as its shortest spec; what patterns of a policy match.
        model: Canonical spec.
        defense: Canonical chain.
        work: `clean`, the attack's spec, or the corruption's spec and severity.
        threat: What the attacker knows; empty without attack.
        tier: critical, supporting or advisory.
        verdict: What it comes to.
        before: Accuracy in the baseline, in [0, 1]; NaN where there is none.
        after: Accuracy in the store.
        clips: How many clips both have.
        groups: How many source videos they come from.
        lost: Clips that were right and are not (of random pipelines: clips with a smaller share of right passes).
        gained: The other way round.
        p: Exact one-sided McNemar p of lost against gained, of this cell alone, clips taken as independent.
        adjusted: p adjusted for the whole grid by max-T sign flips of source videos: what decides.
        allowed: Largest drop that the tier allows, in [0, 1].
        detectable: Smallest drop that could have become significant with these clips, in [0, 1]; NaN where nothing was compared.
        lost_clips: Ids of the lost clips.
        gained_clips: Ids of the gained ones.
        reason: Why, in words, for verdicts that are no comparison.
        acknowledged: Who accepted it, where somebody did; then it does not fail the check.
        line: Line of the baseline file that it stands in.
        hash: Of the cell in the baseline.
        must_see: Size of a drop that has to be detectable for a PASS, in [0, 1].
        low: Lower end of the 95 % interval of the drop, cluster-robust by source video; NaN where nothing was compared.
        high: Upper end.
    """

    name: str
    model: str
    defense: str
    work: str
    threat: str
    tier: str
    verdict: Verdict
    before: float
    after: float
    clips: int = 0
    groups: int = 0
    lost: int = 0
    gained: int = 0
    p: float = float("nan")
    adjusted: float = float("nan")
    allowed: float = 0.0
    detectable: float = float("nan")
    lost_clips: tuple[str, ...] = ()
    gained_clips: tuple[str, ...] = ()
    reason: str = ""
    acknowledged: Acknowledgement | None = None
    line: int = 1
    hash: str = ""
    must_see: float = 0.0
    low: float = float("nan")
    high: float = float("nan")

    @property
    def drop(self) -> float:
        """How much accuracy was lost, in [0, 1]; negative for a gain."""
        return self.before - self.after


@dataclass(frozen=True)
class Report:
    """The verdicts on a store.

    Attributes:
        cells: One per cell of the baseline, the worst verdict first.
        models: One per model and defence: the per-clip worst case over its attacks, tested before the grid.
        baseline: Name of the baseline file, as it was given.
        stores: Names of the stores.
        policy: Name of the policy file, or `default`.
        draws: Sign flips that were drawn.
        seed: Their seed.
        new: Names of cells that the store has and the baseline has not; they are not judged.
        exit: 1 a REGRESSED, MISSING or ERROR that fails the check; else 3 an INCONCLUSIVE or INCOMPARABLE; else 0. Advisory cells
            and acknowledged ones fail nothing.
    """

    cells: tuple[Judged, ...]
    models: tuple[Judged, ...]
    baseline: str
    stores: tuple[str, ...]
    policy: str
    draws: int
    seed: int
    new: tuple[str, ...]
    exit: Exit
