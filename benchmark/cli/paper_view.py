"""A paper's table for people: our numbers over the published ones, reasons and differences below."""

from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..evaluation.studies.places import Grid

WIDE = 160
"""Columns of the output where there is no terminal to ask."""


def print_outcome(grid: Grid, outcome: pd.DataFrame) -> None:
    """Prints an outcome: one line per row, in each cell our number, its 95 % interval and the published number."""
    console = Console()
    console = console if console.is_terminal else Console(width=WIDE)
    reasons: dict[str, int] = {}
    cells = {(row["row"], row["column"]): _cell(row, reasons) for row in outcome.to_dict("records")}
    columns = list(dict.fromkeys(outcome["column"]))
    shown = Table(title=f"{grid.name}: {escape(grid.title)}", title_justify="left", show_lines=True)
    shown.add_column("", overflow="fold", min_width=12)
    for column in columns:
        shown.add_column(escape(column), justify="right", overflow="fold")
    for label in dict.fromkeys(outcome["row"]):
        shown.add_row(escape(label), *(cells.get((label, column), "") for column in columns))
    console.print(shown)
    clips = sorted(set(outcome.loc[outcome["clips"] > 0, "clips"]))
    counted = f"{' or '.join(f'{count:.0f}' for count in clips)} clips" if clips else "nothing measured yet"
    lines = [f"In each cell: ours, its 95 % interval, and the published number in brackets; per cent unless said, {counted}."]
    if any(column.endswith(", adaptive") for column in columns):
        lines.append("A column `, adaptive` has the attack made through the defence, where the paper's knows less.")
    lines += [f"({number}) {reason}" for reason, number in reasons.items()]
    if "missing" in set(outcome["state"]):
        lines.append(f"What --checkpoint can give weights: {', '.join(grid.checkpoints)}.")
    lines += [f"Source: {grid.source}.", "What differs from the paper:", *(f"- {one}" for one in _differs(grid, outcome))]
    console.print("\n".join(lines), markup=False, highlight=False)


def _differs(grid: Grid, outcome: pd.DataFrame) -> list[str]:
    own = outcome.loc[outcome["differs"] != "", ["row", "differs"]].drop_duplicates()
    return [*grid.differs, *(f"{row['row']}: {row['differs']}" for row in own.to_dict("records"))]


def _cell(row: dict[Any, Any], reasons: dict[str, int]) -> str:
    """Our number, its interval and the published one, each on a line; `-` and `!` with the number of their reason."""
    printed = "" if row["published"] != row["published"] else f"\\[{_printed(row['published'], row['unit'])}]"
    if row["state"] != "measured":
        number = reasons.setdefault(row["reason"], len(reasons) + 1)
        mark = "!" if row["state"] == "failed" else "-"
        return "\n".join(filter(None, (f"{mark} ({number})", printed)))
    between = "" if row["low"] != row["low"] else f"{_number(row['low'], row['unit'])} - {_number(row['high'], row['unit'])}"
    return "\n".join(filter(None, (_number(row["ours"], row["unit"]), between, printed)))


def _number(value: float, unit: str) -> str:
    return f"{100 * value:.1f}" if unit in ("%", "points") else f"{value:.3g}"


def _printed(value: float, unit: str) -> str:
    """A published number with the digits that it has."""
    return f"{100 * value if unit in ('%', 'points') else value:.4g}"
