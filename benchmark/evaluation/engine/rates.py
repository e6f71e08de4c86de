"""How fast models were before, from the cells that a store's table names."""

import csv
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch

from ...core.errors import InputError
from ...core.registry import resolve
from ..bench import Bench
from ..cell import Cell
from ..cost import work_of
from ..grid import resolve_chain
from ..store import Store
from ..threat import Threat

JUDGED, BRIEF, FULL = "judged", "first-success", "full"
"""What a cell's time goes to: decoding and looking, an attack that clips leave once they are fooled, one at full strength."""


class Rates:
    """Seconds per estimated forward pass of a clip.

    Args:
        store: The store.
        bench: Cells count that were computed on its device and in its precision; on any device where it does not compute.
        cells: What is to be estimated; names the models that matter, and the files that are trusted.
    """

    def __init__(self, store: Store, bench: Bench, cells: Sequence[Cell]) -> None:
        self._here, self._precision = device_of(bench) if bench.computes else None, bench.precision
        self._models = {(cell.source or cell.model).text for cell in cells}
        self._trusted = {str(cell.attack) for cell in cells} | {cell.defense_text for cell in cells}
        try:
            with (store.folder / "cells.csv").open(encoding="utf-8", newline="") as file:
                self._rates = self._read(csv.DictReader(file))
        except (OSError, KeyError, ValueError):  # none yet, or another version's
            self._rates = {}

    def seconds(self, cell: Cell, work: int) -> float | None:
        """What so much work of a cell takes; None where the store does not tell."""
        model = (cell.source or cell.model).text  # a transfer's time goes to the model that it is made on
        known = self._rates.get((model, _sort(cell.kind, not cell.full)), self._rates.get((model, FULL)))
        return None if known is None else known * work

    def _read(self, rows: "csv.DictReader[str]") -> dict[tuple[str, str], float]:
        totals: dict[tuple[str, str], tuple[float, float]] = {}
        for row in rows:
            work = self._work(row)
            if work:
                key = row["model"], _sort(row["kind"], row["strength"] == BRIEF)
                before, wall = totals.get(key, (0.0, 0.0))
                totals[key] = before + work, wall + float(row["wall_s"])
        return {key: wall / work for key, (work, wall) in totals.items()}

    def _work(self, row: Mapping[str, str]) -> int:
        """The passes that the row's cell would have been estimated at, so that the estimate of the same cells is their time."""
        here = self._here is None or row["device"] == self._here
        if row["status"] != "ok" or row["model"] not in self._models or not here or row["dtype"] != self._precision:
            return 0
        # Oblivious and transferred cells may have taken their clips from a neighbour; of shifts the table has no number.
        if row["threat"].startswith(("oblivious", "transfer")) or row["flips"]:
            return 0
        parts = row["attack"], row["defense"]
        if any(".py:" in one and one not in self._trusted for one in parts):  # a table must not run a file
            return 0
        return _work_of(int(row["n"]) + int(row["failed"]), *parts, row["threat"])


@lru_cache(maxsize=4096)
def _work_of(clips: int, attack: str, defense: str, threat: str) -> int:
    try:
        chain = [link.create() for link in resolve_chain(defense)]
        if attack == "none":
            return work_of(clips, None, None, chain)
        return work_of(clips, resolve("attack", attack).create(), Threat.parse(threat), chain)
    except InputError:  # another version's
        return 0


def _sort(kind: str, brief: bool) -> str:
    return JUDGED if kind != "attack" else BRIEF if brief else FULL


def device_of(bench: Bench) -> str:
    """The bench's device, as tables name it."""
    return torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else "cpu"
