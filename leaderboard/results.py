"""What stores hold, read once for everything that is made of it."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ..benchmark.core.errors import InputError
from ..benchmark.evaluation.store import Store
from ..benchmark.evaluation.tables import cells_table
from .audit_cells import by_cell
from .audit_evidence import Seen

PLACE = ["dataset", "split", "limit", "manifest_sha256", "seed", "threat_model", "model", "weights_sha256", "defense"]
PLACE += ["defense_sha256"]  # of the checkpoints of trained defences, which share every name
"""What the cells of one row of a leaderboard share; `threat_model` keeps attacks that append frames apart."""

CLIPS = PLACE[:6]
"""What rows share that can be compared."""

SHARED = ("id", "group", "label")
"""Lists of a cell that most others have, too: kept in memory once."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Results:
    """The cells of one or several stores, each once.

    Attributes:
        cells: Contents of the cells' files, in the order of their hashes.
        folders: The stores.
    """

    cells: Sequence[Mapping[str, Any]]
    folders: tuple[Path, ...] = ()

    @classmethod
    def read(cls, folders: Sequence[Path]) -> "Results":
        """Reads stores; of a cell that several of them hold, a successful one counts, and of several the newest.

        Raises:
            InputError: A folder is no store, holds no cells, or a file of it cannot be read; or two successful ones differ.
        """
        found: dict[str, dict[str, Any]] = {}
        held: dict[str, Path] = {}
        lists: dict[tuple[Any, ...], list[Any]] = {}
        for folder in folders:
            count = 0
            with _no_collection():
                for cell in Store(folder).cells():
                    count += 1
                    other = found.get(cell["cell"])
                    if other and other["status"] == cell["status"] == "ok" and _judged(other) != _judged(cell):
                        raise InputError(
                            "store", _differs(cell, held[cell["cell"]], folder), "leave one store out, or measure the cell anew"
                        )
                    if other is None or _rank(cell) > _rank(other):
                        found[cell["cell"]], held[cell["cell"]] = cell, folder
                        _share(cell["clips"], lists)
            if not count:
                raise InputError("store", f"{folder} holds no cells", "run vbench run --store <folder> first")
        return cls([found[name] for name in sorted(found)], tuple(folders))

    @cached_property
    def by_hash(self) -> dict[str, Mapping[str, Any]]:
        """The cells by their hashes."""
        return {cell["cell"]: cell for cell in self.cells}

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per cell: see `cells_table`."""
        return cells_table(self.cells)

    @cached_property
    def audited(self) -> dict[str, set[str]]:
        """What the audit finds, but for its warnings, by cell."""
        return by_cell(self.cells, self.table)

    @cached_property
    def pipelines(self) -> list[Rows]:
        """The table's rows, those of one PLACE together; what is not there is None in `limit`, and NaN or None elsewhere."""
        found: dict[tuple[Any, ...], Rows] = {}
        for one in self.table.to_dict("records"):
            row = {str(name): value for name, value in one.items()}
            row["limit"] = None if pd.isna(row["limit"]) else int(row["limit"])
            row["threat_model"] = "frames appended" if row["norm"] == "append" else "frames kept"
            found.setdefault(tuple(row[name] for name in PLACE), []).append(row)
        return list(found.values())

    def seen(self, rows: Sequence[Mapping[str, Any]]) -> list[Seen]:
        """The stored cells behind rows of the table, but for corrupted ones, which no attacker has seen."""
        return [Seen(self.by_hash[row["cell"]], row["flags"]) for row in rows if row["kind"] != "corruption"]


def _rank(cell: Mapping[str, Any]) -> tuple[bool, str]:
    return cell["status"] == "ok", cell["provenance"]["started"]


def _judged(cell: Mapping[str, Any]) -> list[Any]:
    """Which clips are right; margins may be rounded otherwise on another machine."""
    return [cell["clips"].get(name) for name in ("id", "correct")]


def _differs(cell: Mapping[str, Any], one: Path, other: Path) -> str:
    spec = cell["spec"]
    work = spec["attack"] if spec["kind"] == "attack" else spec.get("corruption", "clean")
    return f"cell {cell['cell']} ({spec['model']}, {spec['defense']}, {work}) is right about other clips in {one} than in {other}"


def _share(clips: dict[str, Any], lists: dict[tuple[Any, ...], list[Any]]) -> None:
    """Puts one list in the place of its equals."""
    for name in SHARED:
        if name in clips:
            clips[name] = lists.setdefault(tuple(clips[name]), clips[name])


@contextmanager
def _no_collection() -> Iterator[None]:
    """Millions of numbers are not searched for cycles again and again while they are read."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
