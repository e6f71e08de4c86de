"""What a store holds of a paper's table, beside the paper's numbers. Runs no model and imports no torch."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ...core.errors import InputError
from ...core.registry import ROOT
from ...models.armoury import Owner, find, is_trained
from ..stats import interval
from ..store import Store
from . import derived
from .grids import find_grid
from .places import Grid, Key, Place, Setting, Want, as_trained, spec_key

PUBLISHED = ROOT / "leaderboard" / "published"

COLUMNS = ["row", "column", "threat", "ours", "low", "high", "clips", "unit", "published", "state", "reason", "differs", "cells"]
"""Of an outcome, one row per number.

`ours`, `low`, `high` (95 %) and `published` are fractions in [0, 1] where the unit is `%` or `points`; `published` is NaN where
the paper has no such number, as for the adaptive counterparts. `state` is measured, missing, failed or skipped, and `reason` says
why it is not measured.
"""

Found = Mapping[str, Any]


class Number(NamedTuple):
    """A published number: as `outcome` has it, and its unit."""

    value: float
    unit: str


def outcome(name: str, store: Path, setting: Setting | None = None) -> pd.DataFrame:
    """A table of a paper as far as a store holds its cells: one row per number, columns COLUMNS.

    Args:
        name: Such as `shuffling-table5`.
        store: Folder of the store.
        setting: What was changed of the table when it was run.

    Raises:
        InputError: There is no such table or store, or a cell cannot be read.
    """
    return outcome_of(find_grid(name, setting), Store(store).cells())


def outcome_of(grid: Grid, cells: Iterable[Found], refused: Mapping[Key, str] | None = None) -> pd.DataFrame:
    """`outcome` of cells that were read.

    Args:
        grid: The table.
        cells: Stored cells, any number of others among them; of several with one key the newest successful one counts.
        refused: Why cells were not run, by their keys.
    """
    best: dict[Key, Found] = {}
    for cell in cells:
        key = spec_key(cell["spec"])
        if key not in best or _rank(cell) > _rank(best[key]):
            best[key] = cell
    printed = published(grid.published)
    rows, measured = [], {}
    for place in grid.places:
        row, behind = _row(place, best, refused or {}, grid.name)
        rows.append(row)
        if behind:
            measured[place.row, place.column] = place, behind, row
    rows += derived.FUNCTIONS[grid.derive](grid, measured) if grid.derive else []
    for row in rows:
        number = printed.get((row["row"], row["column"]), Number(float("nan"), row["unit"]))
        row["published"] = number.value
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def published(name: str) -> dict[tuple[str, str], Number]:
    """The paper's numbers by row and column, fractions where the unit is `%` or `points`; empty where there is no file."""
    path = PUBLISHED / name
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["value"]]
    scale = {"%": 100, "points": 100}
    return {
        (line["row"], line["column"]): Number(float(line["value"]) / scale.get(line["unit"], 1), line["unit"]) for line in lines
    }


def refusal(want: Want) -> str:
    """Why a cell cannot be run for want of a checkpoint, and how to make one; empty where there is one."""
    try:
        for link in want.defense:
            if is_trained(link.entry):
                find(as_trained(link), Owner(want.model, want.dataset))
    except InputError as error:
        return str(error)
    return ""


def _row(place: Place, stored: Mapping[Key, Found], refused: Mapping[Key, str], table: str) -> tuple[dict[str, Any], list[Found]]:
    row = {"row": place.row, "column": place.column, "threat": place.threat, "unit": "%", "differs": place.differs}
    row |= {"ours": float("nan"), "low": float("nan"), "high": float("nan"), "clips": 0, "reason": "", "cells": ""}
    if place.skip:
        return row | {"state": "skipped", "reason": place.skip}, []
    missing = [want for want in place.wants if want.key not in stored]
    if missing:
        known = filter(None, (refused.get(want.key) or refusal(want) for want in missing))
        return row | {"state": "missing", "reason": next(known, f"not measured yet: vbench paper {table}")}, []
    cells = [stored[want.key] for want in place.wants]
    row["cells"] = " ".join(cell["cell"] for cell in cells)
    failed = [cell["error"] for cell in cells if cell["status"] != "ok"]
    if failed:
        return row | {"state": "failed", "reason": failed[0]}, []
    clips = per_clip(cells, place.measure)
    low, high = interval(list(clips["share"]), list(clips["group"]))
    ours = {"ours": float(np.mean(clips["share"])), "low": low, "high": high, "clips": len(clips)}
    return row | ours | {"state": "measured"}, cells


def per_clip(cells: Sequence[Found], measure: str = "top1") -> pd.DataFrame:
    """Share of right answers per clip (index: its name), the mean over cells, with its source video (`group`).

    A clip that one of the cells could not read counts in none.
    """
    column = {"top1": "correct", "top5": "top5"}[measure]
    shares = [pd.Series(cell["clips"][column], cell["clips"]["id"], dtype=float) for cell in cells]
    groups = {clip: group for cell in cells for clip, group in zip(cell["clips"]["id"], cell["clips"]["group"], strict=True)}
    mean = pd.concat(shares, axis=1, join="inner").mean(axis=1)
    return pd.DataFrame({"share": mean, "group": [groups[clip] for clip in mean.index]})


def _rank(cell: Found) -> tuple[bool, str]:
    return cell["status"] == "ok", cell["provenance"]["started"]


def as_json(table: pd.DataFrame) -> str:
    """An outcome as JSON: a list of objects, null where there is no number."""
    return json.dumps(json.loads(str(table.replace({np.nan: None}).to_json(orient="records"))), indent=1)
