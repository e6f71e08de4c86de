"""Runs the checks of the audit on stored cells."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ..benchmark.evaluation.tables import cells_table
from .audit_evidence import Seen, surroundings
from .audit_list import CHECKS, NOT_STORED, Check

FIRED = ["cell", "model", "defense", "attack", "threat", "check", "level", "flag", "evidence", "threshold"]
OPEN = ["check", "title", "missing"]

SAID = ("failed",)
"""Flags that the leaderboard gives its rows itself, with the attack that they are about."""

Cells = Sequence[Mapping[str, Any]]


def findings(cells: Cells, table: pd.DataFrame | None = None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What fired, with the keys FIRED, and what could not be computed, with the keys OPEN.

    Args:
        cells: Stored cells.
        table: Their `cells_table`, where it was made already.
    """
    made = cells_table(cells) if table is None else table
    flags = dict(made[["cell", "flags"]].itertuples(index=False, name=None))
    placed = surroundings([Seen(cell, flags[cell["cell"]]) for cell in cells])
    fired, open = [], [dict(zip(OPEN, row, strict=True)) for row in NOT_STORED]
    for check in CHECKS:
        found = [(one, words) for one, near in placed if (words := check.look(one, near)) is not None]
        fired += [_fired(check, one, words) for one, words in found if words]
        if not found:
            open.append({"check": check.id, "title": check.title, "missing": f"nothing to look at: needs {check.needs}"})
    return fired, open


def by_cell(cells: Cells, table: pd.DataFrame | None = None) -> dict[str, set[str]]:
    """The flags that belong on a row of the leaderboard, by cell: all but warnings. Arguments as of `findings`."""
    found: dict[str, set[str]] = {}
    for row in findings(cells, table)[0]:
        if row["level"] != "warn" and row["flag"] not in SAID:
            found.setdefault(row["cell"], set()).add(row["flag"])
    return found


def _fired(check: Check, one: Seen, words: str) -> dict[str, Any]:
    named = {name: one.spec[name] for name in ("model", "defense", "attack", "threat")}
    said = {"check": check.id, "level": check.level, "flag": check.flag, "evidence": words, "threshold": check.threshold}
    return {"cell": one.cell["cell"]} | named | said
