"""The curves and matrices of a store as CSV files, and as sections of the leaderboard."""

from collections.abc import Sequence

import pandas as pd

from .curves import CLIPS, frame_curves, query_curves, transfers
from .markdown import block, line, safe
from .plots.names import Row, grouped
from .results import Results
from .wide import csv

MARKS = (1, 10, 100, 1000, 10_000, 100_000)
"""Numbers of queries for which the leaderboard gives the success."""

WHERE = ["data set", "model", "attack", "defense", "threat"]
"""Columns that name a cell."""


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """The tables `queries`, `frames` and `transfer`; those that would be empty are left out."""
    cells = results.cells
    found = {"queries": query_curves(cells), "frames": frame_curves(cells), "transfer": transfers(cells)}
    return {name: table for name, table in found.items() if not table.empty}


def files(found: dict[str, pd.DataFrame]) -> dict[str, str | bytes]:
    """`<table>.csv` of the tables that were found: contents by name."""
    return {f"{name}.csv": csv(table) for name, table in found.items()}


def markdown(found: dict[str, pd.DataFrame]) -> str:
    """A section per table, in per cent; empty where there is none."""
    make = {"queries": _queries, "frames": _frames, "transfer": _transfer}
    return "".join(f"\n{make[name](table)}\n" for name, table in found.items())


def _queries(table: pd.DataFrame) -> str:
    marks = [mark for mark in MARKS if mark < max(table["queries"].tolist())]
    lines = []
    for rows in grouped(table.to_dict("records"), ["cell"]):
        last = rows[-1]["queries"]
        reached = [max(row["success"] for row in rows if row["queries"] <= mark) if mark <= last else None for mark in marks]
        end = f"{_percent(rows[-1], 'success')} at {last:,}"
        lines.append([*_where(rows[0]), *("-" if value is None else f"{100 * value:.1f}" for value in reached), end])
    note = (
        "Share of clips that were seen misclassified within so many calls of the model, in per cent; "
        "the first call is the harness's, with the clean clip."
    )
    return _section("Success against queries", note, [*WHERE, *(f"{mark:,}" for mark in marks), "all"], lines)


def _frames(table: pd.DataFrame) -> str:
    count = max(table["frame"].tolist()) + 1
    lines = []
    for rows in grouped(table.to_dict("records"), ["cell"]):
        values = [rows[0]["mean"], rows[0]["worst"], *(row["accuracy"] for row in rows)]
        lines.append([*_where(rows[0]), *(f"{100 * value:.1f}" for value in values), *["-"] * (count - len(rows))])
    note = "Accuracy where one frame alone is attacked, in per cent: mean and worst over the frames, and each frame from 0."
    return _section("Accuracy by attacked frame", note, [*WHERE, "mean", "worst", *map(str, range(count))], lines)


def _transfer(table: pd.DataFrame) -> str:
    parts = []
    for rows in grouped(table.to_dict("records"), [*CLIPS, "attack"]):
        found = {(row["source"], _target(row)): _percent(row, "accuracy") for row in rows}
        sources, targets = (sorted({pair[side] for pair in found}) for side in (0, 1))
        lines = [[safe(source), *(found.get((source, target), "-") for target in targets)] for source in sources]
        note = f"{block(_title(rows[0]))}, {safe(rows[0]['attack'])}. Accuracy in per cent with 95 % intervals."
        parts.append(_section("Transfer, made on (down) and judged on (across)", note, ["", *map(safe, targets)], lines))
    return "\n\n".join(parts)


def _section(title: str, note: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [list(head), ["---"] * len(head), *map(list, lines)]
    return "\n".join([f"## {title}", "", note, "", *map(line, rows)])


def _where(row: Row) -> list[str]:
    return [safe(_title(row)), *(safe(row[name]) for name in WHERE[1:])]


def _target(row: Row) -> str:
    return row["model"] + ("" if row["defense"] == "none" else f" behind {row['defense']}")


def _title(row: Row) -> str:
    which = f", first {row['limit']:.0f} clips" if row["limit"] == row["limit"] and row["limit"] is not None else ""
    return f"{row['dataset']}, {row['split']} split{which}, seed {row['seed']}"


def _percent(row: Row, name: str) -> str:
    return f"{100 * row[name]:.1f} [{100 * row[f'{name}_low']:.1f}, {100 * row[f'{name}_high']:.1f}]"
