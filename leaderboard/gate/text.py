"""A verdict as text for people."""

import io
from collections.abc import Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from .judged import Exit, Judged, Report
from .words import COLUMNS, counts, flips, not_judged, plain, row, told, verdict_line

WIDTH = 150
"""Characters of a line that no terminal limits."""

STYLES = {"REGRESSED": "bold red", "MISSING": "bold red", "ERROR": "bold red", "IMPROVED": "green", "PASS": "dim"}


def view(report: Report, end: Exit | None = None) -> Group:
    """Tables, lines on single cells, and the verdict as the last line; for a console of rich that does not crop."""
    parts: list[Table | Text] = []
    if report.models:
        parts.append(_table("Worst case over the attacks, clip by clip", report.models))
    parts.append(_table("Cells, the worst first", report.cells))
    parts += [_about(cell) for cell in (*report.models, *report.cells) if cell.verdict not in ("PASS", "IMPROVED")]
    if report.new:
        parts.append(unbroken(not_judged(report)))
    return Group(*parts, unbroken(verdict_line(report, end), "bold"))


def render(report: Report, end: Exit | None = None) -> str:
    """The same as plain text."""
    return _plain(view(report, end))


def failures(report: Report) -> str:
    """Only what keeps the check from passing: the message of an assertion."""
    bad = [
        cell for cell in (*report.models, *report.cells) if counts(cell) and cell.verdict not in ("PASS", "IMPROVED", "SUSPECT")
    ]
    parts: list[Table | Text] = [_table("", bad)] if bad else []
    return _plain(Group(*parts, *(_about(cell) for cell in bad), unbroken(verdict_line(report))))


def _table(title: str, cells: Sequence[Judged]) -> Table:
    table = Table(title=title or None, title_justify="left")
    for name in COLUMNS:
        words = name in ("verdict", "cell", "tier")
        table.add_column(name, justify="left" if words else "right", no_wrap=name != "cell", overflow="fold")
    for cell in cells:
        table.add_row(*(Text(text) for text in row(cell)), style=STYLES.get(cell.verdict, ""))
    return table


def _about(cell: Judged) -> Text:
    clips = "".join(f"; {way}: {named}" for way, named in flips(cell))
    return unbroken(f"{cell.verdict} {plain(cell.name)}: {told(cell)}{clips}")


def unbroken(text: str, style: str = "") -> Text:
    """A line that nothing breaks, so that a name in it can be searched for."""
    return Text(text, style=style, no_wrap=True, overflow="ignore")


def _plain(what: Group) -> str:
    stream = io.StringIO()
    Console(file=stream, width=WIDTH, color_system=None, legacy_windows=False).print(what, crop=False)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"
