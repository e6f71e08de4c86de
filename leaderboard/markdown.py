"""A board as markdown."""

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from .rows import Board, Column, Row, Section, Value, between, shown

LONGEST = 300
"""Characters of a reason why a cell failed; the CSV has all of them."""

MARKS = (
    "Rank: the first and the last place that a row can have, given its clips. Rows with the same letter under tie cannot be told "
    "apart from the best one of them. `-`: not measured. `!`: failed, for the reason below the table."
)


def markdown(board: Board) -> str:
    """Tables, one per section, in per cent with 95 % intervals; what failed and what is not listed stands below."""
    parts = [f"# {safe(board.title)}", block(board.about), *_headline(board), MARKS]
    parts += [_section(section) for section in board.sections]
    if board.refused:
        parts.append("\n".join(["## Not listed", "", *(f"- {block(one)}" for one in board.refused)]))
    return "\n\n".join(parts) + "\n"


def safe(value: Any) -> str:
    """Text that cannot break out of its table cell, or become markup."""
    text = plain(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\|`*\[\]~$]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", text)  # an underscore inside a word is no markup
    return text.replace("://", "\\://").replace("www.", "www\\.") or " "


def block(value: Any) -> str:
    """`safe` text at the start of a line, where a number sign or a dash would begin a heading or a list."""
    return re.sub(r"^(\d*)([#+.)-])", r"\1\\\2", safe(value))


def plain(value: Any) -> str:
    """Text on one line that shows what it holds: what steers a terminal or turns the reading order becomes a box."""
    text = " ".join(str(value).split())
    return "".join("\ufffd" if unicodedata.category(one) in ("Cc", "Cf", "Cs") else one for one in text)


def line(cells: Sequence[Any]) -> str:
    """A row of a markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def clips_title(dataset: str, split: str, limit: float | None, manifest: str, seed: int) -> str:
    """Which clips rows were measured on, for a heading; not yet safe."""
    which = "all clips" if limit is None or math.isnan(limit) else f"first {limit:.0f} clips"
    return f"{dataset}, {split} split, {which}, manifest {str(manifest)[:8]}, seed {seed}"


def place_of(row: Row) -> str:
    """The rank as a text: `1`, `1-3`, or `-` where the row has none."""
    if row.rank is None:
        return "-"
    first, last = row.rank
    return str(first) if first == last else f"{first}-{last}"


def title_of(column: Column) -> str:
    """A column's title, with the unit of what is not a percentage."""
    return column.title if column.unit in ("%", "") else f"{column.title} ({column.unit})"


def failures(section: Section) -> dict[str, int]:
    """Why cells of a section failed, each reason once, numbered from 1 in reading order."""
    reasons: dict[str, int] = {}
    for row in section.rows:
        for column in section.columns:
            value = row.values.get(column.key)
            if value is not None and value.failed:
                reasons.setdefault(value.failed, len(reasons) + 1)
    return reasons


def brief(reason: str) -> str:
    """A reason on one line of LONGEST characters at most."""
    text = plain(reason)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "\u2026"


def _headline(board: Board) -> list[str]:
    """What the rows are sorted by."""
    found = [column for section in board.sections for column in section.columns if column.kind == "worst"][:1]
    return [f"Headline, best first: **{safe(column.title)}**. {safe(column.about)}" for column in found]


def _section(section: Section) -> str:
    reasons = failures(section)
    head = ["rank", "tie", "model", "defense", "clips", *(safe(title_of(column)) for column in section.columns), "flags", "hash"]
    lines = [f"## {safe(section.title)}", "", line(head), line(["---"] * len(head))]
    for row in section.rows:
        named = [place_of(row), safe(row.tie), safe(row.model_title), safe(row.defense_title), row.clips]
        numbers = [_number(row.values.get(column.key), column.unit, reasons) for column in section.columns]
        lines.append(line([*named, *numbers, safe(" ".join(row.flags)), safe(row.hash)]))
    if reasons:
        lines += ["", "Failed:", "", *(f"- ({number}) {safe(brief(reason))}" for reason, number in reasons.items())]
    explained = [column for column in section.columns if column.kind in ("corruption", "cost") and column.about]
    if explained:
        lines += ["", "Columns:", "", *(f"- **{safe(column.title)}**: {safe(column.about)}" for column in explained)]
    return "\n".join(lines)


def _number(value: Value | None, unit: str, reasons: dict[str, int]) -> str:
    if value is not None and value.failed:
        return f"{shown(value, unit)} ({reasons[value.failed]})"
    return f"{shown(value, unit)} {between(value) if unit == '%' else ''}".rstrip()
