"""The picture of clean against robust accuracy."""

from typing import Any, NamedTuple

from ..rows import Board, Picture, Section, Value
from .canvas import COLOURS, MARKERS, SHOWN, brief, new_figure, picture
from .grids import row_names

APART = 5.5
"""Height of a name, in points of accuracy."""


class Point(NamedTuple):
    """A pipeline.

    Attributes:
        name: Its label.
        clean: Accuracy without attack.
        worst: Accuracy in the per-clip worst case.
    """

    name: str
    clean: Value
    worst: Value


def tradeoff_pictures(board: Board) -> list[Picture]:
    """A picture for each section of the board with a row that has both numbers."""
    made = []
    for section in board.sections:
        points = _points(section)
        if not points:
            continue
        title = "Clean accuracy and worst case over the attacks, per clip"
        title += f"; the {SHOWN} best of {len(points)} are named" if len(points) > SHOWN else ""
        title += f"\n{brief(section.title, 120)}; 95 % intervals"
        said = [
            f"{one.name}: clean {100 * one.clean.mean:.1f} %, worst case {100 * one.worst.mean:.1f} %" for one in points[:SHOWN]
        ]
        alt = f"Clean accuracy and worst case of {len(points)} pipelines. " + "; ".join(said) + "."
        made.append(picture("tradeoff", title, alt, lambda points=points, title=title: figure_of(points, title)))
    return made


def figure_of(points: list[Point], title: str) -> Any:
    """The figure: a point with two bars per pipeline, the best ones with a name at the right edge, at the end of a thin line."""
    figure = new_figure(9.0, 5.0, title)
    axes = figure.subplots()
    for number, point in reversed(list(enumerate(points))):
        named = number < SHOWN
        colour = COLOURS[number % len(COLOURS)] if named else "#999999"
        x, y = 100 * point.clean.mean, 100 * point.worst.mean
        spread = [
            [[max(0.0, mean - 100 * value.low)], [max(0.0, 100 * value.high - mean)]]
            for mean, value in ((x, point.clean), (y, point.worst))
        ]
        mark = MARKERS[number] if named else "."
        axes.errorbar(
            x,
            y,
            xerr=spread[0],
            yerr=spread[1],
            fmt=mark,
            color=colour,
            elinewidth=0.7,
            capsize=2,
            markersize=6,
            alpha=1.0 if named else 0.45,
            zorder=3 if named else 2,
        )
    low = min(100 * (point.clean.low if point.clean.low == point.clean.low else point.clean.mean) for point in points)
    axes.set(xlim=(max(-2.0, low - 4), 101), ylim=(-3, 103), xlabel="clean accuracy, %", ylabel="worst case, %")
    axes.set_xticks([mark for mark in axes.get_xticks() if max(0.0, low - 4) <= mark <= 100])
    axes.grid(alpha=0.25, linewidth=0.6)
    _name(axes, points[:SHOWN])
    return figure


def _name(axes: Any, points: list[Point]) -> None:
    """Names at the right edge, in the order of the points' heights and so far apart that none touches another."""
    order = sorted(range(len(points)), key=lambda number: (points[number].worst.mean, -points[number].clean.mean))
    heights = spread([100 * points[number].worst.mean for number in order])
    for number, height in zip(order, heights, strict=True):
        point = points[number]
        axes.annotate(
            brief(point.name, 44),
            xy=(100 * point.clean.mean, 100 * point.worst.mean),
            xytext=(1.02, height),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=8,
            parse_math=False,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),
                "color": COLOURS[number % len(COLOURS)],
                "linewidth": 0.5,
                "shrinkA": 2,
                "shrinkB": 4,
            },
        )


def spread(wanted: list[float]) -> list[float]:
    """Rising heights in [0, 100], as near to those wanted, which rise, as names that are APART from each other can be."""
    from scipy.optimize import isotonic_regression

    steps = [APART * number for number in range(len(wanted))]
    near = isotonic_regression([height - step for height, step in zip(wanted, steps, strict=True)]).x
    room = 100 - steps[-1]
    return [float(min(max(one, 0), room)) + step for one, step in zip(near, steps, strict=True)]


def _points(section: Section) -> list[Point]:
    keys = {column.kind: column.key for column in section.columns if column.kind in ("clean", "worst")}
    found = []
    for name, row in zip(row_names(section), section.rows, strict=True):
        clean, worst = (row.values.get(keys.get(kind, "")) for kind in ("clean", "worst"))
        if clean and worst and clean.mean == clean.mean and worst.mean == worst.mean:
            found.append(Point(name, clean, worst))
    return sorted(found, key=lambda point: (-point.worst.mean, -point.clean.mean, point.name))
