"""The curves and matrices of a store as files: CSV, plots, and a section of the leaderboard."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..benchmark.core.errors import InputError
from ..benchmark.core.files import write_atomically
from ..benchmark.evaluation.store import Store
from .board import line, safe
from .curves import CLIPS, frame_curves, query_curves, transfers

MARKS = (1, 10, 100, 1000, 10_000, 100_000)
"""Numbers of queries for which the leaderboard gives the success."""

WHERE = ["data set", "model", "attack", "defense", "threat"]
"""Columns that name a cell."""

Row = dict[str, Any]


def tables(store: Store) -> dict[str, pd.DataFrame]:
    """The tables `queries`, `frames` and `transfer` of a store; those that would be empty are left out.

    Raises:
        InputError: The folder is no store.
    """
    cells = list(store.cells())
    found = {"queries": query_curves(cells), "frames": frame_curves(cells), "transfer": transfers(cells)}
    return {name: table for name, table in found.items() if not table.empty}


def write(found: dict[str, pd.DataFrame], folder: Path) -> list[Path]:
    """Writes `<table>.csv`, `queries.png` and `frames.png` of the tables that were found.

    Raises:
        InputError: The folder cannot be written.
    """
    files: dict[str, str | bytes] = {f"{name}.csv": table.to_csv(index=False) for name, table in found.items()}
    files |= {f"{name}.png": plot(found[name], *PLOTS[name]) for name in PLOTS if name in found}
    try:
        for name, content in files.items():
            write_atomically(folder / name, content)
    except OSError as error:
        raise InputError("out", f"cannot write {folder}: {error.strerror or error}") from None
    return [folder / name for name in files]


def markdown(found: dict[str, pd.DataFrame]) -> str:
    """A section per table, in per cent; empty where there is none."""
    make = {"queries": _queries, "frames": _frames, "transfer": _transfer}
    return "".join(f"\n{make[name](table)}\n" for name, table in found.items())


def plot(table: pd.DataFrame, x: str, y: str, draw: Callable[[Any, pd.DataFrame, str], None]) -> bytes:
    """A PNG: a panel per set of clips, a line per cell, with 95 % intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _grouped(table, CLIPS)
    figure = Figure(figsize=(7, 0.4 + 4 * len(panels) + 0.2 * len(set(table["cell"]))), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, rows in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        names = _names(rows)
        for of_cell in _grouped(pd.DataFrame(rows), ["cell"]):
            draw(axes, pd.DataFrame(of_cell), names[of_cell[0]["cell"]])
        axes.set_title(_title(rows[0]), fontsize="medium", parse_math=False)
        axes.set(xlabel=x, ylabel=y, ylim=(-2, 102))
        axes.grid(alpha=0.3)
        for text in axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.14)).get_texts():
            text.set_parse_math(False)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def _draw_queries(axes: Any, rows: pd.DataFrame, name: str) -> None:
    (drawn,) = axes.step(rows["queries"], 100 * rows["success"], where="post", label=name)
    low, high = 100 * rows["success_low"], 100 * rows["success_high"]
    axes.fill_between(rows["queries"], low, high, step="post", alpha=0.1, color=drawn.get_color())
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")


def _draw_frames(axes: Any, rows: pd.DataFrame, name: str) -> None:
    accuracy, low, high = (100 * rows[column] for column in ("accuracy", "accuracy_low", "accuracy_high"))
    spread = [(accuracy - low).clip(0), (high - accuracy).clip(0)]
    axes.errorbar(rows["frame"], accuracy, yerr=spread, marker="o", capsize=3, label=name)
    axes.xaxis.get_major_locator().set_params(integer=True)


PLOTS = {
    "queries": ("calls of the model, at most", "success, %", _draw_queries),
    "frames": ("the attacked frame", "accuracy, %", _draw_frames),
}
"""Names of the axes, and what draws a line."""


def _queries(table: pd.DataFrame) -> str:
    marks = [mark for mark in MARKS if mark < max(table["queries"].tolist())]
    lines = []
    for rows in _grouped(table, ["cell"]):
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
    for rows in _grouped(table, ["cell"]):
        values = [rows[0]["mean"], rows[0]["worst"], *(row["accuracy"] for row in rows)]
        lines.append([*_where(rows[0]), *(f"{100 * value:.1f}" for value in values), *["-"] * (count - len(rows))])
    note = "Accuracy where one frame alone is attacked, in per cent: mean and worst over the frames, and each frame from 0."
    return _section("Accuracy by attacked frame", note, [*WHERE, "mean", "worst", *map(str, range(count))], lines)


def _transfer(table: pd.DataFrame) -> str:
    parts = []
    for rows in _grouped(table, [*CLIPS, "attack"]):
        found = {(row["source"], _target(row)): _percent(row, "accuracy") for row in rows}
        sources, targets = (sorted({pair[side] for pair in found}) for side in (0, 1))
        lines = [[safe(source), *(found.get((source, target), "-") for target in targets)] for source in sources]
        note = f"{safe(_title(rows[0]))}, {safe(rows[0]['attack'])}. Accuracy in per cent with 95 % intervals."
        parts.append(_section("Transfer, made on (down) and judged on (across)", note, ["", *map(safe, targets)], lines))
    return "\n\n".join(parts)


def _section(title: str, note: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [list(head), ["---"] * len(head), *map(list, lines)]
    return "\n".join([f"## {title}", "", note, "", *map(line, rows)])


def _grouped(table: pd.DataFrame, keys: list[str]) -> list[list[Row]]:
    """The rows in groups of equal keys, in the order of the table."""
    found: dict[str, list[Row]] = {}
    for row in table.to_dict("records"):
        found.setdefault(str([row[key] for key in keys]), []).append({str(name): value for name, value in row.items()})
    return list(found.values())


def _where(row: Row) -> list[str]:
    return [safe(_title(row)), *(safe(row[name]) for name in WHERE[1:])]


def _target(row: Row) -> str:
    return row["model"] + ("" if row["defense"] == "none" else f" behind {row['defense']}")


def _title(row: Row) -> str:
    which = f", first {row['limit']:.0f} clips" if row["limit"] == row["limit"] and row["limit"] is not None else ""
    return f"{row['dataset']}, {row['split']} split{which}, seed {row['seed']}"


def _names(rows: Sequence[Row]) -> dict[str, str]:
    """A name for each cell: those of its components, and the parameters in which cells of one name differ."""
    links = {row["cell"]: [link for spec in _specs(row) for link in spec.split("+")] for row in rows}
    brief = {cell: ", ".join(link.partition(":")[0] for link in of_cell) for cell, of_cell in links.items()}
    pairs = {cell: [pair for link in of_cell for pair in link.partition(":")[2].split(",")] for cell, of_cell in links.items()}
    names = {}
    for cell, name in brief.items():
        alike = [pairs[other] for other in brief if brief[other] == name]
        names[cell] = " ".join([name, *(pair for pair in pairs[cell] if not all(pair in other for other in alike))])
    return names


def _specs(row: Row) -> list[str]:
    threat = row["threat"] if row["defense"] != "none" else "none"
    return [spec for spec in (row["model"], row["attack"], row["defense"], threat) if spec != "none"]


def _percent(row: Row, name: str) -> str:
    return f"{100 * row[name]:.1f} [{100 * row[f'{name}_low']:.1f}, {100 * row[f'{name}_high']:.1f}]"
