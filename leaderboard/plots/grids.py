"""Pictures of numbers in rows and columns: corruption by severity, pipeline by attack."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ...benchmark.core.short_names import short_names
from ..corruption_metrics import PLACE
from ..results import Results
from ..rows import Board, Picture, Section, Value, shown
from .canvas import brief, new_figure, picture, slug
from .names import Row, clips_words, grouped, pipeline_names

COLOURS = "cividis"
"""Made for the colour-blind (Nuñez et al. 2018), and brighter all the way, so that it can be read in grey."""

NUMBERED = 400
"""A grid of more cells has no numbers in them."""

PICTURED = 4
"""Pipelines with a picture of their corruptions: each takes half a second, and a page of a hundred is read by nobody."""

ROWS, COLUMNS = 40, 24
"""Of a matrix at most."""


class Grid(NamedTuple):
    """Numbers in rows and columns.

    Attributes:
        rows: Their names.
        columns: Their names.
        values: rows x columns.
        families: Of the rows, in blocks; empty where there are none.
        across: What the columns are.
    """

    rows: list[str]
    columns: list[str]
    values: list[list[Value | None]]
    families: list[str]
    across: str = ""


def corruption_pictures(results: Results) -> list[Picture]:
    """A picture for each model and defence that was measured under corruptions, the best ones where there are many."""
    corrupted = pd.DataFrame(results.table[results.table["kind"] == "corruption"])
    found = grouped(corrupted.to_dict("records"), PLACE)
    names, _ = pipeline_names([rows[0] for rows in found]) if found else ([], "")
    best = sorted(zip(found, names, strict=True), key=lambda one: -_mean(one[0]))
    made = []
    for rows, name in best[:PICTURED]:
        grid = _corruption_grid(rows)
        short = short_names([str(rows[0]["model"])])[str(rows[0]["model"])]
        who = name if len(found) > 1 else f"{brief(short, 40)}, {name}"
        title = f"Accuracy under corruptions, in per cent: {who}"
        title += f"; one of the {PICTURED} best of {len(found)}" if len(found) > PICTURED else ""
        title += f"\n{clips_words(rows[0])}"
        alt = f"Accuracy of {who} under {len(grid.rows)} corruptions. {_mean_by_column(grid)}"
        made.append(picture(f"corruptions-{slug(name)}", title, alt, lambda grid=grid, title=title: figure_of(grid, title)))
    return made


def matrix_pictures(board: Board) -> list[Picture]:
    """A picture for each section of the board with attacks."""
    made = []
    for section in board.sections:
        columns = [column for column in section.columns if column.kind == "attack"]
        if not columns or not section.rows:
            continue
        kept = columns[:COLUMNS]
        rows = section.rows[:ROWS]
        values = [[row.values.get(column.key) for column in kept] for row in rows]
        grid = Grid(row_names(section)[:ROWS], [brief(column.title, 40) for column in kept], values, [])
        title = "Robust accuracy by attack, in per cent"
        title += f"; the {ROWS} best of {len(section.rows)} rows" if len(section.rows) > ROWS else ""
        title += f"; the first {COLUMNS} of {len(columns)} attacks" if len(columns) > COLUMNS else ""
        title += f"\n{brief(section.title, 120)}"
        alt = f"Robust accuracy of {len(rows)} pipelines under {len(kept)} attacks. {_range_by_row(grid)}"
        made.append(picture("matrix", title, alt, lambda grid=grid, title=title: figure_of(grid, title)))
    return made


def row_names(section: Section) -> list[str]:
    """Names of a section's rows; the model is left out where all have the same."""
    one = len({row.model for row in section.rows}) == 1
    said = [(row.model_title, "no defence" if row.defense == "none" else row.defense_title) for row in section.rows]
    names = [brief(defense if one else f"{model}, {defense}", 56) for model, defense in said]
    return [name if names.count(name) == 1 else f"{name}, {row.hash[:6]}" for name, row in zip(names, section.rows, strict=True)]


def figure_of(grid: Grid, title: str) -> Any:
    """The figure: a coloured cell per number, `-` where it was not measured, `!` where it failed."""
    count, wide = len(grid.rows), len(grid.columns)
    turned = max(map(len, grid.columns)) > 6
    side = 0.075 * max(map(len, grid.rows)) + (0.9 if grid.families else 0.0)
    figure = new_figure(
        max(6.0, side + 1.4 + 0.55 * wide), 1.5 + 0.27 * count + (0.05 * max(map(len, grid.columns)) if turned else 0.0), title
    )
    axes = figure.subplots()
    numbers = np.array([[100 * value.mean if value and not value.failed else np.nan for value in row] for row in grid.values])
    colours = _colours()
    drawn = axes.pcolormesh(np.ma.masked_invalid(numbers), cmap=colours, vmin=0, vmax=100, edgecolors="white", linewidth=0.8)
    axes.set_facecolor("#f2f2f2")
    axes.set(xlim=(0, wide), ylim=(count, 0))
    _write(axes, grid, colours)
    slant: dict[str, Any] = {"rotation": 40, "ha": "left", "rotation_mode": "anchor"} if turned else {}
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xticks(np.arange(wide) + 0.5, labels=grid.columns, parse_math=False, fontsize=8, **slant)
    axes.set_yticks(np.arange(count) + 0.5, labels=grid.rows, parse_math=False, fontsize=8)
    axes.set_xlabel(grid.across)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if grid.families:
        _separate(axes, grid)
    bar = figure.colorbar(drawn, ax=axes, label="accuracy, %", fraction=0.04, shrink=min(1.0, 4 / (0.27 * count)), aspect=20)
    bar.outline.set_visible(False)
    return figure


def _colours() -> Any:
    from matplotlib import colormaps

    return colormaps[COLOURS]


def _write(axes: Any, grid: Grid, colours: Any) -> None:
    """The numbers; in a big grid only what is missing or failed."""
    few = len(grid.rows) * len(grid.columns) <= NUMBERED
    for down, row in enumerate(grid.values):
        for across, value in enumerate(row):
            text = shown(value)
            if not few and text not in "-!":
                continue
            red, green, blue = (1.0, 1.0, 1.0) if text in "-!" or value is None else colours(value.mean)[:3]
            dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.45
            ink = "white" if dark else "black"
            axes.text(across + 0.5, down + 0.5, text, ha="center", va="center", fontsize=7.5, color=ink, parse_math=False)


def _separate(axes: Any, grid: Grid) -> None:
    """A line between families, and their names to the right."""
    starts = [number for number, family in enumerate(grid.families) if number == 0 or family != grid.families[number - 1]]
    for start, end in zip(starts, [*starts[1:], len(grid.families)], strict=True):
        if start:
            axes.axhline(start, color="white", linewidth=5, zorder=2)
        name = brief(grid.families[start], 20)
        axes.text(len(grid.columns) + 0.1, (start + end) / 2, name, va="center", fontsize=8, style="italic", parse_math=False)


def _corruption_grid(rows: Sequence[Row]) -> Grid:
    short = short_names([str(row["corruption"]) for row in rows])
    by_name: dict[tuple[str, str], dict[int, Value]] = {}
    families = {str(row["corruption"]): str(row["family"]) for row in rows if isinstance(row["family"], str) and row["family"]}
    for row in rows:
        name = str(row["corruption"])
        value = Value(
            row["top1"], row["top1_low"], row["top1_high"], "" if row["status"] == "ok" else str(row["error"] or "failed")
        )
        by_name.setdefault((families.get(name, ""), name), {})[int(row["severity"])] = value
    severities = sorted({severity for values in by_name.values() for severity in values})
    order = sorted(by_name)
    values: list[list[Value | None]] = [[by_name[one].get(severity) for severity in severities] for one in order]
    names = [brief(short[name], 40) for _, name in order]
    return Grid(names, [str(one) for one in severities], values, [family for family, _ in order], "severity")


def _mean(rows: Sequence[Row]) -> float:
    """Mean accuracy over the cells that were measured."""
    known = [row["top1"] for row in rows if row["top1"] == row["top1"]]
    return sum(known) / len(known) if known else -1.0


def _mean_by_column(grid: Grid) -> str:
    said = []
    for number, name in enumerate(grid.columns):
        known = [row[number] for row in grid.values]
        means = [value.mean for value in known if value and value.mean == value.mean]
        if means:
            said.append(f"{100 * sum(means) / len(means):.1f} % at severity {name}")
    return f"Mean over those measured: {', '.join(said)}." if said else "None was measured."


def _range_by_row(grid: Grid) -> str:
    said = []
    for name, row in zip(grid.rows, grid.values, strict=True):
        means = [value.mean for value in row if value and value.mean == value.mean]
        least = f"{100 * min(means):.1f} to {100 * max(means):.1f} %" if means else "nothing measured"
        said.append(f"{name}: {least}")
    return "; ".join(said) + "."
