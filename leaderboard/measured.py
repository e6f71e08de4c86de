"""The cells of a paper's table, as a store has them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .comparisons import Spot
from .results import Results

SAME = ("dataset", "split", "manifest_sha256", "seed")
"""What two cells share that were measured on the same clips."""

ADAPTIVE = ", adaptive"
"""Behind the label of a column: the attacker knows the defence, which the paper's does not."""


@dataclass(frozen=True)
class Made:
    """A number that was made of measured ones, such as a gain or the slope of a line.

    Attributes:
        label: `row @ column`.
        value: In its unit.
        low: Lower end of its 95 % interval, NaN where it has none.
        high: Upper end.
        unit: `points` for fractions in [-1, 1] that are shown in points; others as they are.
    """

    label: str
    value: float
    low: float
    high: float
    unit: str


@dataclass(frozen=True)
class Table:
    """A table of a paper, as far as a store has it.

    Attributes:
        name: As `vbench paper` names it.
        title: What it shows; may be empty.
        spots: Its cells.
        made: What was made of them.
        differs: What is different here from what the paper did.
        reason: Why nothing of it can be measured; empty otherwise.
    """

    name: str
    title: str = ""
    spots: tuple[Spot, ...] = ()
    made: tuple[Made, ...] = ()
    differs: tuple[str, ...] = ()
    reason: str = ""

    @property
    def measured(self) -> list[Spot]:
        """The cells that have a number."""
        return [spot for spot in self.spots if spot.by_clip]


def table_of(name: str, found: pd.DataFrame, results: Results, title: str = "", differs: Iterable[str] = ()) -> Table:
    """A table as `studies.tables.outcome` gives it, with the clips behind its cells."""
    rows = found.to_dict("records")
    shares = [row for row in rows if row.get("unit", "%") == "%"]
    others = [row for row in rows if row.get("unit", "%") != "%" and row["ours"] == row["ours"]]
    made = [Made(f"{row['row']} @ {row['column']}", row["ours"], row["low"], row["high"], row["unit"]) for row in others]
    of_rows = dict.fromkeys(f"{row['row']}: {text}" for row in rows if (text := _text(row.get("differs"))))
    return Table(name, title, tuple(_spot(row, results) for row in shares), tuple(made), (*differs, *of_rows))


def printed_spots(table: pd.DataFrame) -> list[Spot]:
    """The cells of a published table; they have numbers and no clips."""
    shown = [row for row in table.to_dict("records") if row["unit"] == "%"]
    return [Spot(f"{row['row']} @ {row['column']}", float(row["value"]) / 100) for row in shown]


def _spot(row: Mapping[Any, Any], results: Results) -> Spot:
    column = str(row["column"])
    label, counterpart = f"{row['row']} @ {column.removesuffix(ADAPTIVE)}", column.endswith(ADAPTIVE)
    threat, reason, hashes = _text(row.get("threat")), _text(row.get("reason")), tuple(_text(row.get("cells")).split())
    cells = [results.by_hash[one] for one in hashes if one in results.by_hash]
    if not cells or len(cells) < len(hashes) or any(cell["status"] != "ok" for cell in cells):
        skipped = row.get("state") == "skipped"
        said = reason or "not measured"
        return Spot(label, threat=threat, reason=said, cells=hashes, counterpart=counterpart, skipped=skipped)
    mean, low, high = (float(row[name]) for name in ("ours", "low", "high"))
    shares = (_by_clip(cells, name) for name in ("correct", "top5"))
    right = next((one for one in shares if one and abs(np.mean(list(one.values())) - mean) < 1e-6), None)
    if right is None:
        return Spot(label, threat=threat, reason="its cells do not give this number", cells=hashes, counterpart=counterpart)
    groups = {one: group for cell in cells for one, group in zip(cell["clips"]["id"], cell["clips"]["group"], strict=True)}
    place = " ".join(sorted({" ".join(str(cell["spec"][name]) for name in SAME) for cell in cells}))
    margins = _by_clip(cells, "margin")
    return Spot(label, mean, low, high, len(right), threat, "", hashes, right, groups, margins, place, counterpart)


def _by_clip(cells: Iterable[Mapping[str, Any]], name: str) -> dict[str, float]:
    """The mean over cells, of the clips that all of them have."""
    tables = [dict(zip(cell["clips"]["id"], cell["clips"][name], strict=True)) for cell in cells]
    shared = [one for one in tables[0] if all(one in table for table in tables)]
    return {one: float(np.mean([table[one] for table in tables])) for one in shared}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
