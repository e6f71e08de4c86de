"""Whether the tables of a submission are those that its cells make."""

import csv
import io
from pathlib import Path

from ..benchmark.core.errors import InputError
from ..benchmark.evaluation.tables import clips_table
from . import wide
from .board import build
from .results import PLACE, Results
from .submission_schema import Problem, shown

TOLERANCE = 1e-9
"""Numbers that differ by less, as a share where they are large, are the same: the last digits depend on the machine."""

NAMED = 10
"""Differences of a file that are named; the rest is counted."""

WIDE = 200
"""Of a column's name, which begins with the whole spec of an attack, so much is shown."""

Table = dict[tuple[str, ...], dict[str, str]]


def compared(folder: Path, results: Results) -> list[Problem]:
    """The differences of `cells.csv`, `clips.csv` and `leaderboard.csv`, those that are there, from what the cells make.

    Args:
        folder: Where they lie.
        results: The cells, all sound.
    """
    found = []
    for name, keys in (("cells.csv", ["cell"]), ("clips.csv", ["cell", "clip"]), ("leaderboard.csv", PLACE)):
        path = folder / name
        if path.is_symlink():
            found.append(Problem("error", "table", "", f"{name} is a link"))
        elif path.exists():
            try:
                given = path.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                found.append(Problem("error", "table", "", f"{name} cannot be read: {shown(error)}"))
                continue
            words = differences(given, _made(name, results), keys)
            more = [f"{len(words) - NAMED} more differences"] if len(words) > NAMED else []
            found += [Problem("error", "table", "", f"{name}: {one}") for one in words[:NAMED] + more]
    return found


def differences(given: str, made: str, keys: list[str]) -> list[str]:
    """What one CSV says and another does not, in words: columns, rows, and values by row and column.

    Args:
        given: The table that was sent.
        made: The table that should be.
        keys: Columns that name a row.
    """
    try:
        (columns, theirs), (expected, ours) = _read(given, keys), _read(made, keys)
    except (csv.Error, ValueError) as error:
        return [f"is no such table: {shown(error)}"]
    words = [f"column {shown(name, WIDE)} is missing" for name in expected if name not in columns]
    words += [f"column {shown(name, WIDE)} is not made of cells" for name in columns if name not in expected]
    words += [f"row {_named(key)} is missing" for key in ours if key not in theirs]
    words += [f"row {_named(key)} is of no cell" for key in theirs if key not in ours]
    both = [name for name in expected if name in columns]
    for key in (key for key in ours if key in theirs):
        pairs = [(name, theirs[key][name], ours[key][name]) for name in both]
        words += [
            f"{_named(key)}: {shown(name, WIDE)} is {shown(said) or 'empty'}, its cells make {shown(true) or 'empty'}"
            for name, said, true in pairs
            if not _same(said, true)
        ]
    return words


def _made(name: str, results: Results) -> str:
    if name == "cells.csv":
        return results.table.to_csv(index=False)
    if name == "clips.csv":
        return clips_table(results.cells).to_csv(index=False)
    try:
        return wide.csv(wide.wide(build(results)))
    except InputError:  # of cells that make no row there is none
        return ",".join(PLACE) + "\n"


def _read(text: str, keys: list[str]) -> tuple[list[str], Table]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    columns = [_plain(name) for name in lines[0]] if lines else []
    missing = [name for name in keys if name not in columns]
    if missing:
        raise ValueError(f"it has no column {missing[0]}")
    if len(set(columns)) < len(columns):
        raise ValueError("a column is there twice")
    rows: Table = {}
    for line in lines[1:]:
        row = dict(zip(columns, map(_plain, line), strict=True))
        key = tuple(_number(row[name]) for name in keys)
        if key in rows:
            raise ValueError(f"row {_named(key)} is there twice")
        rows[key] = row
    return columns, rows


def _plain(text: str) -> str:
    """A text without the apostrophe that keeps spreadsheets from computing it."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text[1:] if text.startswith("'") else text


def _number(text: str) -> str:
    """64 and 64.0 are one name of a row."""
    return text.removesuffix(".0")


def _named(key: tuple[str, ...]) -> str:
    return shown(" ".join(filter(None, key)), 100)


def _same(said: str, true: str) -> bool:
    if said == true:
        return True
    try:
        one, other = float(said), float(true)
    except ValueError:
        return False
    return abs(one - other) <= TOLERANCE * max(1.0, abs(one), abs(other))
