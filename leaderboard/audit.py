"""The audit of a store: which stored numbers are not to be trusted, and why, and what a store cannot say."""

from typing import Any, NamedTuple

import pandas as pd

from ..benchmark.evaluation.store import Store
from .audit_cells import FIRED, OPEN, findings
from .board import build
from .results import Results
from .rows import Row

ROWS = {
    "no-adaptive": ("C22", "flag", "the defence was attacked, but never adaptively"),
    "missing": ("C25", "warn", "other rows on these clips have an attack that this one lacks"),
}
"""Flags of the leaderboard's rows: check, level, evidence. C22: Tramer et al. 2020; C25: Carlini et al. 2019."""


class Audit(NamedTuple):
    """What an audit found.

    Attributes:
        fired: Columns FIRED, one row per cell and check that fired; cell is empty where the row is of a whole pipeline.
        open: Columns OPEN, one row per check, or part of one, that could not be computed.
    """

    fired: pd.DataFrame
    open: pd.DataFrame


def audit(store: Store) -> Audit:
    """Runs every check on a store; nothing is measured anew.

    Raises:
        InputError: The folder is no store.
    """
    results = Results.read([store.folder])
    fired, open = findings(results.cells, results.table)
    rows = [row for section in build(results).sections for row in section.rows]
    fired += [flagged for row in rows for flagged in _of_board(row)]
    fired.sort(key=lambda row: (_order(row["check"]), row["model"], row["defense"], row["attack"], row["cell"]))
    open.sort(key=lambda row: _order(row["check"]))
    return Audit(pd.DataFrame(fired, columns=pd.Index(FIRED)), pd.DataFrame(open, columns=pd.Index(OPEN)))


def _of_board(row: Row) -> list[dict[str, Any]]:
    """What the leaderboard flags of a whole row."""
    found = []
    for flag in row.flags:
        name, _, which = flag.partition(":")
        if name in ROWS:
            number, level, words = ROWS[name]
            named = {"cell": "", "model": row.model, "defense": row.defense, "attack": which, "threat": ""}
            said = {"check": number, "level": level, "flag": name, "evidence": words, "threshold": "any"}
            found.append(named | said)
    return found


def _order(check: str) -> int:
    return int(check[1:] or 0)
