"""A verdict as markdown: a comment of a pull request, or the summary of a job."""

from collections.abc import Sequence

from ..markdown import line
from .judged import Exit, Judged, Report
from .words import COLUMNS, ENDS, every, flips, not_judged, plain, row, told, verdict_line

ROWS = 200
"""Rows that are shown; the rest are counted."""

ROOM = 65_000
"""Bytes that are written: GitHub takes comments of 65,536 characters."""


def render(report: Report, end: Exit | None = None, room: int = ROOM) -> str:
    """A table, the worst cells first, and below it what is to be said of those that did not pass, in at most `room` bytes."""
    code = report.exit if end is None else end
    rule = line(["---" if one in ("verdict", "cell", "tier") else "---:" for one in COLUMNS])
    head = f"### vbench check: {ENDS[code]}\n\n{safe(verdict_line(report, end))}\n\n{line(list(COLUMNS))}\n{rule}\n"
    if _size(head) > room:
        return ""
    cells = every(report)
    left = room - _size(head) - 200  # for the two lines that count the rest
    rows, left = _fitting([_row(cell) for cell in cells[:ROWS]], left)
    about, left = _fitting([_about(cell) for cell in cells[: len(rows)] if cell.verdict not in ("PASS", "IMPROVED")], left)
    hidden = len(cells) - len(rows)
    more = f"\n{hidden} more rows are not shown.\n" if hidden else ""
    new, _ = _fitting([f"\n{safe(not_judged(report))}\n"] if report.new else [], left)
    return "".join([head, *rows, more, "\n" * bool(about), *about, *new])


def safe(text: str) -> str:
    """Text that stays text: no markup, no HTML, no end of a table's cell, no mention of a person."""
    marks = "&<>|`*_[]\\~#@!$:"
    return "".join(f"&#{ord(one)};" if one in marks else one for one in plain(text))


def _row(cell: Judged) -> str:
    verdict, name, *rest = row(cell)
    return line([f"**{verdict}**", _code(name), *rest]) + "\n"


def _about(cell: Judged) -> str:
    clips = "".join(f"; {way}: {_code(named)}" for way, named in flips(cell))
    return f"- **{cell.verdict}** {_code(cell.name)}: {safe(told(cell))}{clips}\n"


def _code(text: str) -> str:
    """In `code`, where GitHub makes no links of names and numbers."""
    return f"<code>{safe(text)}</code>"


def _size(text: str) -> int:
    return len(text.encode())


def _fitting(texts: Sequence[str], room: int) -> tuple[list[str], int]:
    """The first of the texts that fit into `room` bytes together, and what is left."""
    taken: list[str] = []
    for text in texts:
        if _size(text) > room:
            break
        taken.append(text)
        room -= _size(text)
    return taken, room
