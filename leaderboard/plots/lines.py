"""Pictures of curves: accuracy against eps, success against queries, accuracy by the attacked frame."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...benchmark.evaluation.tables import FULL_KNOWLEDGE, KNOWLEDGE
from ..curves import CLIPS, eps_curves, frame_curves, query_curves, without_eps
from ..results import Results
from ..rows import Picture
from ..titles import short
from .canvas import SHOWN, brief, legend, new_figure, picture, slug, style
from .names import Row, clips_words, grouped, pipeline_names

NORMS = {"linf": "L-inf", "l2": "L2", "l1": "L1"}
PIPELINE = ("model", "weights_sha256", "defense", "defense_sha256")


class Curve(NamedTuple):
    """A line of a picture.

    Attributes:
        name: In the legend.
        panel: Heading of the panel that it is drawn in.
        number: Which colour and marker it has.
        rows: Its points.
    """

    name: str
    panel: str
    number: int
    rows: list[Row]


class Axes(NamedTuple):
    """What a picture's axes are.

    Attributes:
        x: Column of the table.
        y: Column of the table, with `_low` and `_high`, in [0, 1].
        label: Of the x axis.
        y_label: Of the y axis.
        finish: Sets the x axis of one panel.
        scale: What x is multiplied with.
        step: Whether a value holds until the next one.
    """

    x: str
    y: str
    label: str
    y_label: str
    finish: Callable[[Any], None]
    scale: float = 1.0
    step: bool = False


def eps_pictures(results: Results) -> list[Picture]:
    """A picture for each attack and norm that was run with several budgets: a panel for what the attacker knows."""
    made = []
    for rows in grouped(eps_curves(results.cells).to_dict("records"), [*CLIPS, "curve", "norm"]):
        attack, norm = str(rows[0]["curve"]), str(rows[0]["norm"])
        what = brief(without_eps(short("attack", attack)), 60)
        pipelines = sorted(grouped(rows, PIPELINE), key=_robust(rows), reverse=True)
        names, common = pipeline_names([one[0] for one in pipelines])
        curves = []
        for number, (name, one) in enumerate(zip(names[:SHOWN], pipelines, strict=False)):
            curves += [Curve(_line_name(name, line[0]), _knowledge(line[0]), number, line) for line in grouped(one, ["line"])]
        curves.sort(key=lambda curve: _order(curve.rows[0]))
        axes = _eps_axes(norm, rows)
        title = f"Robust accuracy against eps: {what}" + (f"; {common}" if common else "")
        title += _cut(len(pipelines), "pipelines", "highest mean accuracy under full knowledge")
        alt = f"Robust accuracy of {len(names[:SHOWN])} pipelines against eps of {what}. " + _ends(curves, axes)
        made.append(_drawn(f"eps-{slug(attack.partition(':')[0])}-{slug(norm)}", title, rows[0], curves, axes, alt))
    return made


def query_pictures(results: Results) -> list[Picture]:
    """A picture for each set of clips with attacks that report queries."""
    axes = Axes("queries", "success", "calls of the model, at most", "success, %", _logarithmic, step=True)
    return _of_cells(
        query_curves(results.cells).to_dict("records"),
        axes,
        "queries",
        "Success against queries",
        lambda rows: -rows[-1]["success"],
        "highest success",
    )


def frame_pictures(results: Results) -> list[Picture]:
    """A picture for each set of clips with attacks that tried every frame by itself."""
    axes = Axes("frame", "accuracy", "the attacked frame, from 0", "accuracy, %", _whole_numbers)
    return _of_cells(
        frame_curves(results.cells).to_dict("records"),
        axes,
        "frames",
        "Accuracy where one frame alone is attacked",
        lambda rows: rows[0]["mean"],
        "lowest mean accuracy",
    )


def _of_cells(
    rows: Sequence[Row], axes: Axes, name: str, what: str, order: Callable[[list[Row]], float], by: str
) -> list[Picture]:
    made = []
    for of_clips in grouped(rows, CLIPS):
        cells = sorted(grouped(of_clips, ["cell"]), key=order)
        names, common = pipeline_names([one[0] for one in cells], ("model", "attack", "defense", "threat"))
        curves = [Curve(one, "", number, cell) for number, (one, cell) in enumerate(zip(names[:SHOWN], cells, strict=False))]
        title = what + (f": {common}" if common else "") + _cut(len(cells), "cells", by)
        made.append(_drawn(name, title, of_clips[0], curves, axes, f"{what}. " + _ends(curves, axes)))
    return made


def _drawn(name: str, title: str, place: Row, curves: list[Curve], axes: Axes, alt: str) -> Picture:
    title = f"{title}\n{clips_words(place)}; 95 % intervals"
    return picture(name, title, alt, lambda: figure_of(curves, axes, title))


def figure_of(curves: Sequence[Curve], axes: Axes, title: str) -> Any:
    """The figure: panels side by side with one y axis, and a legend below."""
    panels = list(dict.fromkeys(curve.panel for curve in curves))
    names = {curve.name: curve.number for curve in curves}
    figure = new_figure(7.2 if len(panels) == 1 else 9.6, 4.0 + 0.18 * len(names), title)
    marks: dict[str, Any] = {}
    every = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for of_panel, panel in zip(every, panels, strict=True):
        mine = [curve for curve in curves if curve.panel == panel]
        for curve in mine:
            marks[curve.name] = _draw(of_panel, curve, axes, len(mine))
        of_panel.set_title(panel, fontsize=9, loc="left", parse_math=False)
        of_panel.set(xlabel=axes.label, ylim=(-2, 102))
        of_panel.grid(alpha=0.25, linewidth=0.6)
        axes.finish(of_panel)
    every[0].set_ylabel(axes.y_label)
    order = sorted(marks, key=lambda name: (names[name], name))
    legend(figure, [marks[name] for name in order], order)
    return figure


def _draw(panel: Any, curve: Curve, axes: Axes, count: int) -> Any:
    x = [axes.scale * row[axes.x] for row in curve.rows]
    y, low, high = ([100 * row[f"{axes.y}{end}"] for row in curve.rows] for end in ("", "_low", "_high"))
    look = style(curve.number)
    # Long step curves would be nothing but markers; bands of many lines add up, so they get fainter.
    every = max(1, len(x) // 8)
    steps: dict[str, Any] = {"drawstyle": "steps-post"} if axes.step else {}
    size = 7 if look["marker"] == "*" else 4.5
    (drawn,) = panel.plot(x, y, **look, **steps, linewidth=1.3, markersize=size, markevery=every, clip_on=False, zorder=3)
    shade = 0.18 if count <= 3 else 0.10 if count <= 6 else 0.05
    panel.fill_between(x, low, high, step="post" if axes.step else None, color=look["color"], alpha=shade, linewidth=0)
    return drawn


def _eps_axes(norm: str, rows: Sequence[Row]) -> Axes:
    budgets = sorted({row["eps"] for row in rows})
    label = f"eps, {NORMS.get(norm, brief(norm, 20))}"
    if norm != "linf" or budgets[-1] > 1:
        return Axes("eps", "accuracy", label, "accuracy, %", lambda panel: None)
    marked = [255 * eps for eps in budgets] if len(budgets) <= 9 else None

    def finish(panel: Any) -> None:
        if marked:
            panel.set_xticks(marked, labels=[f"{mark:.3g}" for mark in marked])

    return Axes("eps", "accuracy", f"{label}, in 1/255 of the range of a pixel", "accuracy, %", finish, 255.0)


def _logarithmic(panel: Any) -> None:
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter("{x:,.0f}")


def _whole_numbers(panel: Any) -> None:
    panel.xaxis.get_major_locator().set_params(integer=True)


def _robust(rows: Sequence[Row]) -> Callable[[list[Row]], float]:
    """What orders pipelines: mean accuracy under full knowledge, over the budgets that all of them were attacked with."""
    known = [row for row in rows if row["eps"] > 0 and _kind(row) in FULL_KNOWLEDGE]
    budgets = [{row["eps"] for row in one} for one in grouped(known, PIPELINE)]
    shared = set.intersection(*budgets) if budgets else set()

    def mean(mine: list[Row]) -> float:
        found = [row["accuracy"] for row in mine if row["eps"] in shared and _kind(row) in FULL_KNOWLEDGE]
        return sum(found) / len(found) if found else -1.0

    return mean


def _kind(row: Row) -> str:
    return str(row["threat"]).partition(":")[0]


def _order(row: Row) -> int:
    """The more an attacker knows the earlier."""
    return -KNOWLEDGE.index(_kind(row)) if _kind(row) in KNOWLEDGE and _kind(row) not in FULL_KNOWLEDGE else -len(KNOWLEDGE)


def _knowledge(row: Row) -> str:
    kind = _kind(row)
    return "full knowledge (white-box, adaptive)" if kind in FULL_KNOWLEDGE else brief(kind, 40)


def _line_name(name: str, row: Row) -> str:
    """The source of a transfer is a part of the line's name."""
    kind, _, source = str(row["threat"]).partition(":")
    return brief(f"{name}, from {source.partition(':')[0]}", 64) if kind == "transfer" else name


def _cut(count: int, what: str, by: str) -> str:
    return f"; the {SHOWN} of {count} {what} with the {by}" if count > SHOWN else ""


def _ends(curves: Sequence[Curve], axes: Axes) -> str:
    """First and last point of every line, in words."""
    said = []
    for curve in curves:
        first, last = curve.rows[0], curve.rows[-1]
        where = f"{curve.name}, {curve.panel}" if curve.panel else curve.name
        points = [f"{100 * row[axes.y]:.1f} % at {axes.x} {axes.scale * row[axes.x]:.4g}" for row in (first, last)]
        said.append(f"{where}: {' to '.join(points)}{'/255' if axes.scale != 1 else ''}")
    return "; ".join(said) + "."
