"""One check: files to a report, and a report to an exit code."""

from collections.abc import Sequence
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path

from ..results import Results
from . import baseline as baselines
from . import policy as policies
from .judge import judge
from .judged import Exit, Report
from .words import counts


def check(stores: Sequence[str | PathLike[str]], baseline: str | PathLike[str], policy: str | PathLike[str] | None) -> Report:
    """Judges the cells of stores by a baseline file.

    Raises:
        InputError: A file is missing, damaged or of another schema.
    """
    chosen = policies.read(None if policy is None else Path(policy), datetime.now(UTC).date())
    return judge(Results.read([Path(one) for one in stores]), baselines.read(Path(baseline)), chosen)


def end_of(report: Report, allow_inconclusive: bool = False) -> Exit:
    """The exit code; with `allow_inconclusive`, undecided only where something cannot be compared at all."""
    stuck = any(cell.verdict == "INCOMPARABLE" and counts(cell) for cell in (*report.models, *report.cells))
    if allow_inconclusive and report.exit is Exit.UNDECIDED and not stuck:
        return Exit.PASS
    return report.exit
