"""A board as tables of numbers: one row per row, or one row per number, and their CSV."""

from typing import Any, get_args

import pandas as pd

from .results import PLACE
from .rows import Board, Column, Kind, Row, Value

WHOLE = ("limit", "clips", "rank_low", "rank_high")
"""Whole numbers that a row may lack."""

LONG = [*PLACE, "column", "title", "kind", "unit", "mean", "low", "high", "failed", "cells", "hash"]
"""Columns of `long`."""

FORMULA = ("=", "+", "-", "@", "'", "\t", "\r")
"""What a text must not begin with in a spreadsheet, and the apostrophe that tells it so."""


def wide(board: Board) -> pd.DataFrame:
    """One row per row of the board, in its order.

    Returns:
        PLACE, `clips`, `rank_low`, `rank_high`, `tie`, then `<key>`, `<key>_low` and `<key>_high` of each column, fractions in
        [0, 1] where its unit is `%`; `flags` separated by spaces, `failed` (a line for each cell that failed), `hash`, `date`.
    """
    keys = _keys(board)
    rows = [_wide_row(section.place, row, keys) for section in board.sections for row in section.rows]
    numbers = [f"{key}{end}" for key in keys for end in ("", "_low", "_high")]
    names = [*PLACE, "clips", "rank_low", "rank_high", "tie", *numbers, "flags", "failed", "hash", "date"]
    table = pd.DataFrame(rows, columns=pd.Index(names))
    for name in WHOLE:
        table[name] = pd.array([None if pd.isna(value) else int(value) for value in table[name]], dtype="Int64")
    return table


def long(board: Board) -> pd.DataFrame:
    """One row per number of the board and per failed cell; what was not measured has none.

    Returns:
        LONG; `cells` are the hashes of the cells behind the number, separated by spaces.
    """
    rows = []
    for section in board.sections:
        for row in section.rows:
            for column in section.columns:
                value = row.values.get(column.key, Value())
                if value.failed or value.mean == value.mean:
                    rows.append(_place(section.place, row) | _long_row(column, value) | {"hash": row.hash})
    table = pd.DataFrame(rows, columns=pd.Index(LONG))
    table["limit"] = pd.array([None if pd.isna(value) else int(value) for value in table["limit"]], dtype="Int64")
    return table


def csv(table: pd.DataFrame) -> str:
    """A table as CSV that a spreadsheet opens without computing anything.

    Texts, and names of columns, that begin with one of FORMULA get an apostrophe before them; to read them back, drop one leading
    apostrophe. Numbers stay as they are. Line breaks stay in their quotes, those of one character each as a line feed.
    """
    texts = [name for name in table if table[name].dtype == object or pd.api.types.is_string_dtype(table[name])]
    held = table.assign(**{str(name): table[name].map(_held) for name in texts})
    return held.rename(columns=_held).to_csv(index=False, lineterminator="\n")


def _held(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    guarded = f"'{value}" if value.startswith(FORMULA) else value
    return guarded.replace("\r\n", "\n").replace("\r", "\n")  # readers take a lone return for the end of a row


def _keys(board: Board) -> list[str]:
    """Every column once: kinds in the order of a board, and those of a kind as they first come; two are always there."""
    columns = [(column.key, column.kind) for section in board.sections for column in section.columns]
    columns += [("clean", "clean"), ("worst", "worst")]
    kinds: dict[str, str] = {}
    for key, kind in columns:
        kinds.setdefault(key, kind)
    order = list(get_args(Kind))
    return sorted(kinds, key=lambda key: order.index(kinds[key]))


def _place(shared: dict[str, Any], row: Row) -> dict[str, Any]:
    return {name: (shared | row.place).get(name) for name in PLACE} | {"model": row.model, "defense": row.defense}


def _wide_row(shared: dict[str, Any], row: Row, keys: list[str]) -> dict[str, Any]:
    made: dict[str, Any] = _place(shared, row) | {"clips": row.clips, "tie": row.tie}
    made["rank_low"], made["rank_high"] = row.rank or (None, None)
    for key in keys:
        value = row.values.get(key, Value())
        made |= {key: value.mean, f"{key}_low": value.low, f"{key}_high": value.high}
    made["failed"] = "\n".join(f"{key}: {row.values[key].failed}" for key in keys if key in row.values and row.values[key].failed)
    return made | {"flags": " ".join(row.flags), "hash": row.hash, "date": row.date}


def _long_row(column: Column, value: Value) -> dict[str, Any]:
    made: dict[str, Any] = {"column": column.key, "title": column.title, "kind": column.kind, "unit": column.unit}
    made |= {"mean": value.mean, "low": value.low, "high": value.high, "failed": value.failed}
    return made | {"cells": " ".join(value.cells)}
