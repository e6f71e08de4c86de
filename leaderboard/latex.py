"""A board as LaTeX tables for papers."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from .markdown import brief, failures, place_of, plain, title_of
from .rows import Board, Column, Row, Section, Value, between, shown

PACKAGES = "% Needs \\usepackage{booktabs,longtable,graphicx}. Made by vbench leaderboard; rebuild it, do not edit it."

PAGE = 40
"""Rows of a table that floats; longer ones break over pages."""

ACROSS = 3
"""Columns of numbers whose intervals fit beside them; where there are more, they stand below."""

WIDEST = 7
"""Columns of numbers that can be read in a table as wide as a page; where there are more, they are several tables."""

HEAD = 16
"""Characters of a line of a heading, where it can be broken."""

FIT = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"
"""Shrinks what it holds to the line of text, where that is wider."""

LATIN = frozenset(map(chr, range(0xC0, 0x100))) - set("\u00d0\u00d7\u00de\u00f0\u00f7\u00fe")
"""Letters beyond ASCII that every engine and font encoding has."""

NAMED = {
    "\\": "\\textbackslash{}",
    "{": "\\{",
    "}": "\\}",
    "$": "\\$",
    "&": "\\&",
    "#": "\\#",
    "%": "\\%",
    "_": "\\_",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "`": "\\textasciigrave{}",
    "'": "\\textquotesingle{}",
}
"""What LaTeX would not print as it stands."""


def latex(board: Board) -> str:
    """Booktabs tables per section, of WIDEST columns at most, with a caption that says what stands in it, and a label.

    Bold are values that may be the best of their column. Of the headline: rows whose first possible place is 1. Of other
    accuracies: the highest, and those whose 95 % interval reaches it; marginal intervals are wider than a paired comparison, so
    that bold rather goes to one too many. Corruption metrics and costs have none, for of some less is better. Text stays text
    under every engine: what is beyond Latin letters is printed as its code point.
    """
    return (
        "\n\n".join([PACKAGES, *(one for number, section in enumerate(board.sections, 1) for one in _tables(section, number))])
        + "\n"
    )


def escaped(text: str) -> str:
    """Text as LaTeX prints it: character by character, none of it a command, and no two of them a ligature."""
    return re.sub(r"([-,])(?=\1)", r"\1{}", "".join(_escaped(one) for one in plain(text)))


def _escaped(one: str) -> str:
    if one in NAMED:
        return NAMED[one]
    return one if one.isascii() or one in LATIN else f"[U+{ord(one):04X}]"


def _tables(section: Section, number: int) -> list[str]:
    """A section in as many tables as its columns need, clean accuracy and the headline first."""
    word = "-".join(re.findall("[a-z0-9]+", str(section.place.get("dataset", "")).lower()))
    label = f"tab:leaderboard-{number}" + (f"-{word}" if word else "")
    columns = sorted(section.columns, key=lambda column: column.kind not in ("clean", "worst"))
    count = max(1, math.ceil(len(columns) / WIDEST))
    parts = [columns[part * len(columns) // count : (part + 1) * len(columns) // count] for part in range(count)]
    titles = [section.title + (f", table {part} of {count}" if count > 1 else "") for part in range(1, count + 1)]
    shown = [replace(section, title=title, columns=tuple(part)) for title, part in zip(titles, parts, strict=True)]
    return [_table(one, label + (f"-{part}" if count > 1 else "")) for part, one in enumerate(shown, 1)]


def _table(section: Section, label: str) -> str:
    head = ["rank", "tie", "model", "defense", "clips", *map(_heading, map(title_of, section.columns))]
    best = {column.key: _best(section, column) for column in section.columns}
    reasons = failures(section)
    body = [_row(_cells(section, row, best, reasons)) for row in section.rows]
    caption = f"\\caption{{{_caption(section)}}}\n\\label{{{label}}}"
    form = "rlllr" + "r" * len(section.columns)
    if len(section.rows) > PAGE:
        top = ["\\toprule", _row(head), "\\midrule"]
        lines = [
            f"{{\\footnotesize\n\\begin{{longtable}}{{{form}}}",
            f"{caption} \\\\",
            *top,
            "\\endfirsthead",
            *top,
            "\\endhead",
        ]
        return "\n".join([*lines, "\\bottomrule", "\\endlastfoot", *body, "\\end{longtable}}"])
    lines = ["\\begin{table}", "\\centering", caption, FIT, f"\\begin{{tabular}}{{{form}}}", "\\toprule", _row(head), "\\midrule"]
    return "\n".join([*lines, *body, "\\bottomrule", "\\end{tabular}}", "\\end{table}"])


def _heading(title: str) -> str:
    """A title in lines of HEAD characters, broken at spaces and after commas."""
    lines = [""]
    for part in re.findall(r"[^ ,]*(?:, ?| |$)", plain(title)):
        if lines[-1] and len(lines[-1] + part) > HEAD:
            lines.append("")
        lines[-1] += part
    stacked = [escaped(one) for one in lines if one]
    return stacked[0] if len(stacked) == 1 else _stack(stacked)


def _stack(lines: Sequence[str]) -> str:
    """Lines in one cell; the braces keep a bracket that begins a line from being an argument."""
    return "\\shortstack[r]{" + "\\\\{}".join(lines) + "}"


def _caption(section: Section) -> str:
    said = [f"{escaped(section.title)}.", "Top-1 accuracy in per cent with 95\\,\\% intervals."]
    for column in section.columns:
        if column.kind == "worst":
            said.append(f"Headline, best first: {escaped(column.title)}. {escaped(column.about)}")
    said.append("Rank: first and last possible place. Bold: may be the best of its column.")
    reasons = failures(section)
    missing = any(shown(row.values.get(column.key)) == "-" for row in section.rows for column in section.columns)
    said += ["-: not measured."] if missing else []
    said += ["!: failed."] if reasons else []
    return " ".join([*said, *(f"({number}) {escaped(brief(reason))}." for reason, number in reasons.items())])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + " \\\\"


def _cells(section: Section, row: Row, best: dict[str, float], reasons: dict[str, int]) -> list[str]:
    cells = [place_of(row).replace("-", "--") if row.rank else "-", escaped(row.tie)]
    cells += [escaped(row.model_title), escaped(row.defense_title), str(row.clips)]
    return cells + [_number(row, column, best[column.key], reasons, len(section.columns) > ACROSS) for column in section.columns]


def _number(row: Row, column: Column, best: float, reasons: dict[str, int], stacked: bool) -> str:
    value = row.values.get(column.key, Value())
    if value.failed:
        return f"! ({reasons[value.failed]})"
    text = escaped(shown(value, column.unit))
    first = row.rank is not None and row.rank[0] == 1
    if value.mean == value.mean and (first if column.kind == "worst" and best == best else _reach(value) >= best):
        text = f"\\textbf{{{text}}}"
    ends = between(value) if column.unit == "%" else ""
    if not ends:
        return text
    small = f"{{\\scriptsize {escaped(ends)}}}"
    return _stack([text, small]) if stacked else f"{text} {small}"


def _reach(value: Value) -> float:
    return value.high if value.high == value.high else value.mean


def _best(section: Section, column: Column) -> float:
    """The highest accuracy of a column; NaN, which nothing reaches, where there is nothing to choose from."""
    if column.kind not in ("clean", "attack", "worst"):
        return float("nan")
    found = [row.values[column.key].mean for row in section.rows if column.key in row.values]
    found = [mean for mean in found if mean == mean]
    return max(found) if len(found) > 1 else float("nan")
