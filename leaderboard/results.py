"""What stores hold, read once for everything that is made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ..benchmark.core.errors import InputError
from ..benchmark.evaluation.store import Store
from ..benchmark.evaluation.tables import cells_table
from .audit_cells import by_cell


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
            InputError: A folder is no store, holds no cells, or a file of it cannot be read.
        """
        found: dict[str, dict[str, Any]] = {}
        for folder in folders:
            count = 0
            for cell in Store(folder).cells():
                count += 1
                other = found.get(cell["cell"])
                if other is None or _rank(cell) > _rank(other):
                    found[cell["cell"]] = cell
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
        return by_cell(self.cells)


def _rank(cell: Mapping[str, Any]) -> tuple[bool, str]:
    return cell["status"] == "ok", cell["provenance"]["started"]
