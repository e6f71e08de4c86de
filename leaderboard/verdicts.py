"""Whether measured cells bear a paper's claim out."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .comparisons import Compared, Outcome, Spot, compare, kind_of
from .papers import Claim, Rule, pattern
from .step_line import SLOPE, Step, fit_line

Verdict = Literal[
    "holds", "holds only against an oblivious attacker", "does not hold", "undecided", "cannot be tested here", "not measured"
]

INFORMED = ("white-box", "adaptive")
BASE = ("", "none")
"""Threats without an attacker: they count whatever the attacker knows."""


@dataclass(frozen=True)
class Decided:
    """A claim with its verdict.

    Attributes:
        claim: The claim.
        verdict: What it comes to.
        why: One sentence.
        compared: The evidence.
    """

    claim: Claim
    verdict: Verdict
    why: str
    compared: tuple[Compared, ...]


def decide(claim: Claim, spots: Sequence[Spot], reason: str = "") -> Decided:
    """The verdict on a claim, from the cells of its table, or from why the table cannot be measured."""
    if reason:
        return Decided(claim, "cannot be tested here", reason, ())
    pairs = [(rule, *pair) for rule in claim.rules for pair in matched(rule, spots)]
    compared = [compare(rule, left, right, len(pairs)) for rule, left, right in pairs]
    for rule in claim.rules:
        if rule.kind == "line":
            compared += _steps(rule, spots)
    verdict, why = _verdict(claim, compared)
    return Decided(claim, verdict, why, tuple(compared))


def _steps(rule: Rule, spots: Sequence[Spot]) -> list[Compared]:
    """The best step size by budget: against a flat line, or, with a margin, against the printed one."""
    wanted = pattern(rule.left)
    named = [(found, spot) for spot in spots if (found := wanted.fullmatch(spot.label))]
    points = [
        Step(float(found["eps"]), float(found["alpha"]), spot.margins, spot.groups) for found, spot in named if spot.margins
    ]
    if not points:
        return []
    line, cells = fit_line(points), tuple(cell for _, spot in named for cell in spot.cells)
    clips = len(points[0].margins)
    if isinstance(line, str):
        return [Compared("slope of the best step", "0", "white-box", reason=line, cells=cells, unit="")]
    slope, low, high = line.slope
    if not rule.margin:
        grows: Outcome = "above" if low > 0 else "below" if high <= 0 else "open"
        return [Compared("slope of the best step", "0", "white-box", slope, low, high, clips, grows, cells=cells, unit="")]
    gaps = (slope - SLOPE, low - SLOPE, high - SLOPE)
    alike: Outcome = "above" if max(map(abs, gaps[1:])) < rule.margin else "open"
    alike = "below" if gaps[1] >= rule.margin or gaps[2] <= -rule.margin else alike
    return [Compared("slope of the best step", f"the printed {SLOPE:g}", "white-box", *gaps, clips, alike, cells=cells, unit="")]


def matched(rule: Rule, spots: Sequence[Spot]) -> Iterator[tuple[Spot, Spot | float]]:
    """The pairs of cells that a rule compares; of a level, the cell and the level."""
    wanted_left = pattern(rule.left)
    for left in spots:
        found = wanted_left.fullmatch(left.label)
        if not found or any(found[name] not in values for name, values in rule.only.items()):
            continue
        if rule.kind == "level":
            yield left, rule.margin
        for wanted in rule.right:
            theirs = [spot for spot in spots if not (rule.unaware and spot.counterpart)]
            yield from ((left, right) for right in _partners(pattern(wanted, found.groupdict()), left, theirs))


def printed(claim: Claim, spots: Sequence[Spot]) -> tuple[int, int]:
    """How many of a claim's comparisons the paper's own numbers bear out, and of how many."""
    outcomes = []
    for rule in claim.rules:
        for left, right in matched(rule, spots):
            gap = left.mean - (right.mean if isinstance(right, Spot) else right)
            outcomes.append(
                abs(gap) < rule.margin if rule.kind == "within" else gap > (0 if rule.kind == "level" else rule.margin)
            )
    return sum(outcomes), len(outcomes)


def _partners(wanted: re.Pattern[str], left: Spot, spots: Iterable[Spot]) -> list[Spot]:
    """Cells of that label; of several attackers, the one that knows as much as the left cell's where there is one."""
    found = [spot for spot in spots if spot.label != left.label and wanted.fullmatch(spot.label)]
    labels = dict.fromkeys(spot.label for spot in found)
    return [max((spot for spot in found if spot.label == label), key=lambda spot: _closeness(spot, left)) for label in labels]


def _closeness(spot: Spot, left: Spot) -> tuple[bool, bool]:
    return bool(spot.by_clip), kind_of(spot) == kind_of(left)


def _verdict(claim: Claim, compared: Sequence[Compared]) -> tuple[Verdict, str]:
    seen = [one for one in compared if one.outcome != "missing"]
    if compared and all(one.skipped for one in compared):
        return "cannot be tested here", compared[0].reason
    if not seen:
        return "not measured", f"run vbench paper {claim.table} --store DIR"
    weak = [one for one in seen if one.threat not in (*INFORMED, *BASE)]
    strong = [one for one in seen if one.threat in INFORMED]
    base = [one for one in seen if one.threat in BASE]
    first, why = _of(claim, [*base, *(weak or strong)])
    if not weak:
        return first, why + _lacking(compared)
    why = f"against an attacker who does not know the defence {why}"
    if not strong:
        return ("undecided" if first == "holds" else first), f"{why}; no other was measured" + _lacking(compared)
    second, then = _of(claim, [*base, *strong], beaten=first == "holds")
    why = f"{why}; against one who does {then}" + _lacking(compared)
    if second == "does not hold":
        return ("holds only against an oblivious attacker" if first == "holds" else second), why
    # Where those who do not know the defence leave nothing to compare, the others decide.
    return (second if first in ("holds", "cannot be tested here") else first), why


def _lacking(compared: Sequence[Compared]) -> str:
    missing = sum(one.outcome == "missing" for one in compared)
    return f"; {missing} of {len(compared)} comparisons were not measured" if missing else ""


def _of(claim: Claim, compared: Sequence[Compared], beaten: bool = False) -> tuple[Verdict, str]:
    """The verdict of comparisons; with `beaten`, cells at zero count against the claim, for less informed attacks left more."""
    count = {
        outcome: sum(one.outcome == outcome for one in compared) for outcome in ("above", "below", "open", "ceiling", "floor")
    }
    if beaten:
        count["below"] += count.pop("floor")
    full = count.get("ceiling", 0) + count.get("floor", 0)
    free = len(compared) - full
    clips = max(one.clips for one in compared)
    if not free:
        where = "at 100 %" if count.get("floor", 0) == 0 else "at zero" if count["ceiling"] == 0 else "at 100 % or at zero"
        return "cannot be tested here", f"both cells of all {full} comparisons are {where} within their intervals ({clips} clips)"
    told = f"{count['above']} of {free} comparisons bear it out, {count['below']} contradict it"
    told += f", {count['open']} are open" if count["open"] else ""
    told += f" ({clips} clips)" + (f"; {full} more have no room to differ" if full else "")
    if claim.need == "most":
        return ("holds" if 2 * count["above"] > free else "does not hold" if 2 * count["below"] >= free else "undecided"), told
    return ("does not hold" if count["below"] else "holds" if count["above"] == free else "undecided"), told
