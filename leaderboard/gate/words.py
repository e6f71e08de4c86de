"""What every format of a verdict shares: a cell, its numbers and the end of a check in words."""

from collections import Counter
from collections.abc import Sequence

from .judged import VERDICTS, Exit, Judged, Report

COLUMNS = {
    "verdict": "what it comes to",
    "cell": "model|defense|work|threat, as a policy names it",
    "tier": "critical, supporting or advisory",
    "before -> after": "accuracy in per cent, in the baseline and in the store",
    "drop": "in points",
    "lost/gained": "clips that were right and are not, and the other way round",
    "p": "exact one-sided McNemar test of this cell alone",
    "adjusted": "p adjusted for the whole grid; what decides",
    "detectable": "smallest drop in points that could have become significant with these clips",
}
"""Columns of the tables for people, and what they hold."""

NAMED = 10
"""Clips that are named; the rest are counted."""

ENDS = {Exit.PASS: "passed", Exit.REGRESSED: "failed", Exit.UNDECIDED: "undecided"}


def plain(text: object) -> str:
    r"""Text on one line: what moves a cursor, turns the reading direction or is no character stands as `\n`, `\x1b`, `\u202e`."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(text))


def counts(cell: Judged) -> bool:
    """Whether the cell can fail the check: neither advisory nor acknowledged."""
    return cell.tier != "advisory" and cell.acknowledged is None


def every(report: Report) -> tuple[Judged, ...]:
    """The worst cases of the models and the cells, the worst verdict first."""
    order = list(VERDICTS)
    return tuple(sorted((*report.models, *report.cells), key=lambda cell: order.index(cell.verdict)))


def compared(cell: Judged) -> bool:
    """Whether both sides were tested on the same clips."""
    return cell.p == cell.p


def row(cell: Judged) -> tuple[str, ...]:
    """The cell under COLUMNS; `-` where there is no number."""
    across = f"{percent(cell.before)} -> {percent(cell.after)}"
    drop, flipped = (percent(cell.drop), f"{cell.lost}/{cell.gained}") if compared(cell) else ("-", "-")
    verdict = cell.verdict if cell.acknowledged is None else f"{cell.verdict} (accepted)"
    numbers = drop, flipped, chance(cell.p), chance(cell.adjusted), percent(cell.detectable)
    return verdict, plain(cell.name), cell.tier, across, *numbers


def told(cell: Judged) -> str:
    """One sentence on a cell, without its name."""
    parts = []
    if compared(cell):
        parts.append(
            f"{percent(cell.before)} % -> {percent(cell.after)} %, a drop of {percent(cell.drop)} points where "
            f"{percent(cell.allowed)} are allowed ({cell.tier}); {cell.lost} clips lost and {cell.gained} gained of "
            f"{cell.clips}, p {chance(cell.p)}, adjusted for the grid {chance(cell.adjusted)}"
        )
        seen = f"smallest detectable drop {percent(cell.detectable)} points"
        parts.append(f"{seen}, and {percent(cell.must_see)} must be seen" if cell.verdict == "INCONCLUSIVE" else seen)
    if cell.reason:
        parts.append(plain(cell.reason))
    if cell.acknowledged is not None:
        one = cell.acknowledged
        parts.append(plain(f"accepted until {one.until} by {one.by}: {one.reason}"))
    return "; ".join(parts) or VERDICTS[cell.verdict]


def flips(cell: Judged) -> list[tuple[str, str]]:
    """`lost` and `gained`, each with the first of its clips and how many more there are; without those of no clips."""
    return [(way, _first(ids)) for way, ids in (("lost", cell.lost_clips), ("gained", cell.gained_clips)) if ids]


def _first(ids: Sequence[str]) -> str:
    more = len(ids) - NAMED
    return ", ".join(plain(one) for one in ids[:NAMED]) + (f" and {more} more" if more > 0 else "")


def verdict_line(report: Report, end: Exit | None = None) -> str:
    """The check in one line; `end` stands for its exit code where the caller decided otherwise."""
    code = report.exit if end is None else end
    worst = f"; worst cases of models: {_counted(report.models)}" if report.models else ""
    how = f"against {plain(report.baseline)}, policy {plain(report.policy)}, sign flips {report.draws}, seed {report.seed}"
    return f"{ENDS[code]} (exit code {int(code)}): {_counted(report.cells)}{worst}; {how}"


def not_judged(report: Report) -> str:
    """Which cells the baseline lacks; empty where it has them all."""
    if not report.new:
        return ""
    named = ", ".join(plain(one) for one in report.new[:NAMED]) + (" ..." if len(report.new) > NAMED else "")
    return f"{len(report.new)} cells of the store are not in the baseline and were not judged: {named}"


def percent(value: float) -> str:
    """A fraction in per cent or points, one digit; `-` for NaN."""
    return "-" if value != value else f"{100 * value + 0.0:.1f}"


def chance(value: float) -> str:
    """A p value, three digits; `-` for NaN."""
    return "-" if value != value else "<0.001" if value < 0.001 else f"{value:.3f}"


def _counted(cells: Sequence[Judged]) -> str:
    found = Counter(cell.verdict for cell in cells)
    return ", ".join(f"{found[name]} {name}" for name in VERDICTS if found[name]) or "no cell"
