"""The pictures of the report: ours beside the published numbers, the line of best step sizes, the heat map of h1 and h2."""

import io
import re
from collections.abc import Sequence
from typing import Any

from .comparisons import Spot
from .measured import Table
from .papers import pattern
from .plots.canvas import COLOURS, MARKERS, brief, drawing, legend, new_figure
from .step_line import Step, fit_line

ROWS = 60
"""Rows of a picture at most; the tables of the report have all."""


def table_picture(table: Table, published: Sequence[Spot]) -> bytes | None:
    """A PNG of a table's measured cells, None where there are none.

    Dots with 95 % intervals are ours, stars are published. The step sizes and the grid of h1 and h2 have pictures of their own.
    """
    name, measured = table.name, table.measured
    if not measured:
        return None
    own = {"at-fig2": _line, "shuffling-fig10": _heat}.get(name)
    with drawing():
        figure = (own(measured) if own else None) or _dots(name, measured, published)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return file.getvalue()


def _dots(name: str, measured: Sequence[Spot], published: Sequence[Spot]) -> Any:
    known = {spot.label: spot.mean for spot in published}
    columns = list(dict.fromkeys(_parts(spot)[1] for spot in measured))
    rows = list(dict.fromkeys(_parts(spot)[0] for spot in measured))[:ROWS]
    across = min(len(columns), 5)
    down = -(-len(columns) // across)
    figure = new_figure(
        3.2 + 2.0 * across, down * (0.9 + 0.24 * len(rows)) + 0.9, f"{name}: dots ours with 95 % intervals, stars published"
    )
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    threats = list(dict.fromkeys(_kind(spot) for spot in measured))
    marks: dict[str, Any] = {}
    for panel, column in zip(panels, columns, strict=False):
        marks |= _panel(
            panel, [spot for spot in measured if _parts(spot)[1] == column and _parts(spot)[0] in rows], rows, threats, known
        )
        panel.set_title(brief(column, 26), fontsize=9, parse_math=False)
    for panel in panels[len(columns) :]:
        panel.set_visible(False)
    panels[0].set_yticks(range(len(rows)), [brief(row, 40) for row in rows], fontsize=8, parse_math=False)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    panels[0].set_xlim(-3, 103)
    for panel in panels:
        panel.set_xlabel("accuracy, %", fontsize=8)
        panel.label_outer()
    legend(figure, list(marks.values()), list(marks))
    return figure


def _panel(
    panel: Any, spots: Sequence[Spot], rows: Sequence[str], threats: Sequence[str], known: dict[str, float]
) -> dict[str, Any]:
    marks = {}
    for spot in spots:
        kind, place = _kind(spot), rows.index(_parts(spot)[0])
        number, same = threats.index(kind), [_kind(one) for one in spots if one.label == spot.label]
        at = place + (same.index(kind) - (len(same) - 1) / 2) * 0.28
        ends = [[100 * max(0.0, spot.mean - spot.low)], [100 * max(0.0, spot.high - spot.mean)]]
        colour = COLOURS[(number + 4) % len(COLOURS)]
        marks[f"ours, {kind}"] = panel.errorbar(
            100 * spot.mean, at, xerr=ends, fmt=MARKERS[number], ms=4, color=colour, capsize=2
        )
        if known.get(spot.label, float("nan")) == known.get(spot.label):
            star = panel.plot(100 * known[spot.label], place, linestyle="", marker="*", ms=8, color=COLOURS[1], zorder=1)
            marks["published"] = star[0]
    panel.grid(axis="x", alpha=0.3)
    return marks


def _line(measured: Sequence[Spot]) -> Any:
    wanted = pattern("eps={eps} @ step={alpha}")
    named = [(found, spot) for spot in measured if (found := wanted.fullmatch(spot.label))]
    line = fit_line([Step(float(found["eps"]), float(found["alpha"]), spot.margins, spot.groups) for found, spot in named])
    if isinstance(line, str):
        return None
    figure = new_figure(5.5, 4.2, "at-fig2: step size of the strongest attack by budget")
    panel = figure.subplots()
    ends = [min(line.best), max(line.best)]
    ours = panel.plot(list(line.best), list(line.best.values()), "o", color=COLOURS[4])[0]
    fit = panel.plot(ends, [line.intercept[0] + line.slope[0] * eps for eps in ends], color=COLOURS[4])[0]
    paper = panel.plot(ends, [0.2 * (eps + 1) for eps in ends], "--", color=COLOURS[1])[0]
    panel.set_xlabel("budget eps, in units of 1/255")
    panel.set_ylabel("best step size alpha, in units of 1/255")
    panel.grid(alpha=0.3)
    low, high = line.slope[1:]
    legend(
        figure,
        [ours, fit, paper],
        ["ours", f"fit, slope {line.slope[0]:.2f} [{low:.2f}, {high:.2f}]", "published: 0.2 (eps + 1)"],
    )
    return figure


def _heat(measured: Sequence[Spot]) -> Any:
    """Accuracy by h1 and h2: a panel per model and column."""
    wanted = re.compile(r"(?:(?P<model>.*) / )?h1=(?P<h1>\d+), h2=(?P<h2>\d+) @ (?P<column>.*)")
    named = [(found, spot.mean) for spot in measured if (found := wanted.fullmatch(spot.label))]
    panels = list(dict.fromkeys((found["model"] or "", found["column"]) for found, _ in named))
    if not panels:
        return None
    firsts, seconds = (sorted({int(found[name]) for found, _ in named}) for name in ("h1", "h2"))
    figure = new_figure(1.5 + 2.4 * len(panels), 3.2, "shuffling-fig10: accuracy in per cent by h1 and h2, ours")
    for axes, (model, column) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        grid = [[float("nan")] * len(firsts) for _ in seconds]
        for found, mean in named:
            if (found["model"] or "", found["column"]) == (model, column):
                grid[seconds.index(int(found["h2"]))][firsts.index(int(found["h1"]))] = 100 * mean
        axes.imshow(grid, vmin=0, vmax=100, cmap="viridis", aspect="auto", origin="lower")
        for y, row in enumerate(grid):
            for x, value in enumerate(row):
                axes.text(
                    x,
                    y,
                    "-" if value != value else f"{value:.0f}",
                    ha="center",
                    va="center",
                    color="white" if value < 60 else "black",
                )
        axes.set_xticks(range(len(firsts)), firsts)
        axes.set_yticks(range(len(seconds)), seconds)
        axes.set_xlabel("h1")
        axes.set_ylabel("h2")
        axes.set_title(brief(f"{model} {column}".strip(), 30), fontsize=9, parse_math=False)
    return figure


def _parts(spot: Spot) -> tuple[str, str]:
    row, _, column = spot.label.partition(" @ ")
    return row, column


def _kind(spot: Spot) -> str:
    return {"": "no attacker", "none": "no attacker"}.get(spot.threat.partition(":")[0], spot.threat.partition(":")[0])
