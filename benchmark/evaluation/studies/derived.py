"""Numbers of a table that are made of measured ones: the best step per budget, the best shuffle, gains."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..stats import line_through
from .places import Grid, Place

Measured = Mapping[tuple[str, str], tuple[Place, list[Mapping[str, Any]], dict[str, Any]]]
"""By row and column: the place, the cells behind it, its row of the outcome."""


def best_steps(grid: Grid, measured: Measured) -> list[dict[str, Any]]:
    """Per budget the step whose attack leaves the lowest mean margin, and the line through them (least squares).

    Accuracy alone would not tell steps apart once nothing is left of it. The interval of slope and intercept is the t interval of
    the regression.
    """
    rows, points = [], []
    for label in dict.fromkeys(place.row for place in grid.places):
        tried = [
            (float(np.mean(cell["clips"]["margin"])), place.values["step"], place.values["eps"])
            for (row, _), (place, (cell, *_), _) in measured.items()
            if row == label
        ]
        if tried and len(tried) == sum(place.row == label for place in grid.places):
            _, step, eps = min(tried)
            points.append((eps, step))
            rows.append(_made(label, "alpha", float(step), "1/255"))
    if len(points) < 3:
        return rows
    slope, intercept = line_through(*zip(*points, strict=True))
    rows.append(_made("fit", "slope", slope[0], "1", slope[1]))
    rows.append(_made("fit", "intercept", intercept[0], "1/255", intercept[1]))
    return rows


def best_shuffle(grid: Grid, measured: Measured) -> list[dict[str, Any]]:
    """Per model the h1 and h2 with the highest sum of clean and attacked accuracy, as the paper chose them, and its numbers.

    They are chosen by the very clips that are judged, as it seems to be in the paper, so that they flatter the defence.
    """
    rows: list[dict[str, Any]] = []
    models: dict[str, list[str]] = {}
    for label in dict.fromkeys(place.row for place in grid.places):
        models.setdefault(label.partition(" / ")[0], []).append(label)
    for model, labels in models.items():
        known = [label for label in labels if (label, "Clean") in measured and (label, "I-FGSM") in measured]
        if not known:
            continue
        best = max(known, key=lambda label: sum(measured[label, name][2]["ours"] for name in ("Clean", "I-FGSM")))
        values = measured[best, "Clean"][0].values
        rows += [_made(f"{model} / best", name, float(values[name]), "frames") for name in ("h1", "h2")]
        same = [row for (label, _), (_, _, row) in measured.items() if label == best]
        rows += [row | {"row": f"{model} / best"} for row in same]
    return rows


def gains(grid: Grid, measured: Measured) -> list[dict[str, Any]]:
    """What each row gained against the row that it names, on the same clips, in points."""
    rows = []
    for place in grid.places:
        one, other = measured.get((place.row, place.column)), measured.get((place.against, place.column))
        if one and other:
            gain = one[2]["ours"] - other[2]["ours"]
            rows.append(_made(place.row, f"{place.column} gain", gain, "points") | {"clips": one[2]["clips"]})
    return rows


def _made(row: str, column: str, value: float, unit: str, half: float = float("nan")) -> dict[str, Any]:
    numbers = {"ours": value, "low": value - half, "high": value + half, "clips": 0, "unit": unit}
    return {
        "row": row,
        "column": column,
        "threat": "none",
        "state": "measured",
        "reason": "",
        "differs": "",
        "cells": "",
    } | numbers


FUNCTIONS: dict[str, Callable[[Grid, Measured], list[dict[str, Any]]]] = {
    "best_steps": best_steps,
    "best_shuffle": best_shuffle,
    "gains": gains,
}
