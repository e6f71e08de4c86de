"""The store: one JSON file per cell, content-addressed, never torn. Every table is rebuilt from these files."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import orjson

from ..core.errors import InputError
from ..core.files import write_atomically

SCHEMA = 1

HEAD = 4096
"""Bytes of a cell's file in which its status usually stands."""

_STATUS = re.compile(rb'"status":"(\w+)"')
_BEGINNING = f'{{"schema":{SCHEMA},'.encode()
"""Of a cell's file; one that begins otherwise is read whole, which tells what it is."""

Reuse = Literal["missing", "never", "always", "only-cache"]
REUSE: tuple[Reuse, ...] = ("missing", "never", "always", "only-cache")
"""missing: compute what is not stored or failed; never: compute everything; always: keep even failed cells; only-cache: compute
nothing."""


class Store:
    """A folder of cells: `cells/ab/<hash>.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, cell: str) -> Path:
        """Where the cell with this hash lies."""
        return self.folder / "cells" / cell[:2] / f"{cell}.json"

    def partial(self, cell: str) -> Path:
        """Where what was measured of an unfinished cell lies."""
        return self.folder / "partial" / f"{cell}.json"

    @property
    def clips(self) -> Path:
        """Where clips lie that memory does not hold."""
        return self.folder / "clips"

    def crafted(self, batches: int) -> set[str]:
        """Keys of the sets of adversarial clips, of so many batches, that lie there whole."""
        return {path.name for path in self.folder.glob("artifacts/*/") if len(list(path.glob("*.npz"))) >= batches}

    def state(self, cell: str) -> str | None:
        """The status of a stored cell, or None: read from the beginning of its file, so that thousands take no time.

        Raises:
            InputError: The file is not a cell of a schema that this version reads.
        """
        try:
            with open(f"{self.folder}/cells/{cell[:2]}/{cell}.json", "rb", buffering=0) as stream:
                head = stream.read(HEAD)
                found = _STATUS.search(head) if head.startswith(_BEGINNING) else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError("store", f"cannot read {self.path(cell)}: {error.strerror or error}") from None
        return found[1].decode() if found else _read(self.path(cell))["status"]

    def get(self, cell: str) -> dict[str, Any] | None:
        """A stored cell, or None.

        Raises:
            InputError: The file is not a cell of a schema that this version reads.
        """
        try:
            return _read(self.path(cell))
        except FileNotFoundError:
            return None

    def put(self, result: dict[str, Any]) -> None:
        """Stores a cell under its hash; an earlier result of the same cell is replaced in one step.

        Raises:
            InputError: The folder cannot be written or the disk is full; earlier cells are untouched.
        """
        text = json.dumps(result, allow_nan=False, separators=(",", ":"))
        try:
            write_atomically(self.path(result["cell"]), text)
        except OSError as error:
            raise InputError("store", f"cannot write {self.path(result['cell'])}: {error.strerror or error}") from None

    def writable(self) -> None:
        """Makes the folder, and fails now rather than after hours of computing.

        Raises:
            InputError: It cannot be made or written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError("store", f"cannot make {self.folder}: {error.strerror or error}") from None
        if not os.access(self.folder, os.W_OK):
            raise InputError("store", f"{self.folder} cannot be written")

    def cells(self, left_out: list[str] | None = None) -> Iterator[dict[str, Any]]:
        """All stored cells, in the order of their hashes.

        Args:
            left_out: Takes a line for every file that is no cell of this schema; None: the first one is an error.

        Raises:
            InputError: The folder is no store, or a file of it is not readable.
        """
        if not (self.folder / "cells").is_dir():
            raise InputError("store", f"{self.folder} holds no cells", "run vbench run --store <folder> first")
        for path in sorted((self.folder / "cells").glob("??/*.json")):
            try:
                cell = _read(path)
            except InputError as error:
                if left_out is None:
                    raise
                left_out.append(str(error))
            else:
                yield cell


def _read(path: Path) -> dict[str, Any]:
    try:
        cell = orjson.loads(path.read_bytes())  # six times as fast as json, which counts where there are thousands
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError("store", f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError("store", f"{path} is not JSON: {error}") from None
    if not isinstance(cell, dict) or cell.get("schema") != SCHEMA or not cell.keys() >= {"cell", "spec", "status", "clips"}:
        raise InputError("store", f"{path} is no cell of schema {SCHEMA}", "use the vbench version that wrote it")
    return cell
