"""Adversarial clips that several cells of a plan look at, kept in the store batch by batch, so that they are made once."""

import io
import json
import shutil
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...core.errors import InputError
from ...core.files import size_of, write_atomically
from ...core.interfaces import Batch
from ..bench import Bench
from ..cell import Cell
from ..crafted import Crafted
from ..eight_bit import floats
from ..store import Store
from .leases import Leases
from .plan import Plan, in_queue

PAUSE = 0.2
"""Seconds between looks while another worker makes the batch that is needed."""

VECTORS = tuple(one.name for one in fields(Crafted) if one.name not in ("clips", "notes", "margins"))
NOTE = "note "


class Artifacts:
    """A bench's `keeper` while it works on a plan: takes batches from the store, and keeps those that two open cells need.

    Args:
        plan: Tells which cells are open.
        store: Where they lie: `artifacts/<key>/<number>.npz`, and `cells.json` with the cells that need them.
        leases: One worker makes a batch while others that need it wait, or make the next one.
        bench: The live objects.
    """

    def __init__(self, plan: Plan, store: Store, leases: Leases, bench: Bench) -> None:
        self._plan, self._store, self._leases, self._bench = plan, store, leases, bench
        self._needed_by: dict[str, list[str]] = {}

    def __call__(self, cell: Cell, number: int, batch: Batch, make: Callable[[], Crafted]) -> Crafted:
        """The batch `number` of the clips that the cell looks at."""
        key = self._bench.crafted_key(cell)
        path = _folder(self._store) / key / f"{number}.npz"
        while True:
            found = read(path, key, batch.ids, self._bench.device)
            if found is not None:
                return found
            if len(self._needing(cell, key)) < 2:
                return make()
            with self._leases.holding(f"crafted-{key}-{number}") as lease:
                if lease:
                    # Looked at once more: it may have been written between the look and the claim.
                    return read(path, key, batch.ids, self._bench.device) or self._kept(path, key, batch, make())
            if self._bench.stopped():
                raise KeyboardInterrupt
            time.sleep(PAUSE)

    def release(self, finished: Callable[[str], bool]) -> None:
        """Takes away the sets whose cells are all finished, so that a long plan holds few of them at a time."""
        gone = {key for key, cells in self._needed_by.items() if all(map(finished, cells))}
        wanted = _open_cells(self._store, self._plan) if gone else set()
        for key in gone:
            if not wanted & set(_cells(_folder(self._store) / key)):
                shutil.rmtree(_folder(self._store) / key, ignore_errors=True)
            del self._needed_by[key]

    def discard(self) -> None:
        """Takes away what the plan's cells needed, once all of them are stored; what another plan needs stays."""
        mine = {one.hash for one in self._plan.cells}
        for one in kept(self._store, besides=self._plan):
            if not one.needed and mine & set(one.cells):
                shutil.rmtree(one.path, ignore_errors=True)

    def _kept(self, path: Path, key: str, batch: Batch, made: Crafted) -> Crafted:
        listed = path.with_name("cells.json")
        with suppress(OSError):  # a full disk costs the others their time and not this cell its result
            cells = sorted({*_cells(path.parent), *self._needed_by[key]})
            if cells != _cells(path.parent):
                write_atomically(listed, json.dumps(cells))
            write_atomically(path, packed(made, key, batch.ids))
        return made

    def _needing(self, cell: Cell, key: str) -> list[str]:
        """The cells of the plan that look at the same clips and were open when it was made."""
        if key not in self._needed_by:
            opened = [(self._plan.cell(one), one.hash) for one in self._plan.cells if one.state == "open"]
            self._needed_by[key] = [name for other, name in opened if self._alike(cell, other, key)]
        return self._needed_by[key]

    def _alike(self, cell: Cell, other: Cell, key: str) -> bool:
        same = other.handed_on and str(other.attack) == str(cell.attack)
        same = same and str(other.source or other.model) == str(cell.source or cell.model)
        return same and self._bench.crafted_key(other) == key  # last, as it builds the model that judges


def packed(made: Crafted, key: str, ids: Sequence[str]) -> bytes:
    """A file's content, from which the very same numbers come back: clips on the grid of grey levels as uint8."""
    levels = (made.clips * 255).round().to(torch.uint8)
    off = (floats(levels) != made.clips).flatten(1).any(dim=1)
    arrays: dict[str, Any] = {name: getattr(made, name).cpu().numpy() for name in VECTORS}
    arrays |= {NOTE + name: values.cpu().numpy() for name, values in made.notes.items()}
    arrays |= {"off": off.cpu().numpy(), "levels": levels[~off].cpu().numpy(), "floats": made.clips[off].cpu().numpy()}
    arrays["about"] = np.array(json.dumps({"key": key, "ids": list(ids), "margins": made.margins}))
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def read(path: Path, key: str, ids: Sequence[str], device: torch.device) -> Crafted | None:
    """A kept batch; None where there is none, or a file that is torn or of other clips."""
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            if about["key"] != key or about["ids"] != list(ids):
                return None
            vectors = {name: torch.from_numpy(file[name]) for name in VECTORS}
            notes = {name.removeprefix(NOTE): torch.from_numpy(file[name]) for name in file.files if name.startswith(NOTE)}
            clips = _joined(*(torch.from_numpy(file[name]).to(device) for name in ("off", "levels", "floats")))
    except (OSError, ValueError, KeyError, TypeError, EOFError, IndexError, RuntimeError, zipfile.BadZipFile):
        return None
    return Crafted(clips=clips, **vectors, notes=notes, margins=about["margins"])


def _joined(off: Tensor, levels: Tensor, exact: Tensor) -> Tensor:
    clips = torch.empty(len(off), *exact.shape[1:], device=off.device)
    clips[~off], clips[off] = floats(levels), exact
    return clips


class Kept(NamedTuple):
    """One set of adversarial clips in a store.

    Attributes:
        path: Its folder.
        cells: The cells that it was made for.
        bytes: Its size.
        needed: Whether a plan in the queue has such a cell that is not stored.
    """

    path: Path
    cells: list[str]
    bytes: int
    needed: bool


def kept(store: Store, besides: Plan | None = None) -> list[Kept]:
    """The sets of a store; `besides`: a plan that needs nothing any more."""
    wanted = _open_cells(store, besides)
    found = []
    for path in sorted(_folder(store).glob("*/")):
        cells = _cells(path)
        found.append(Kept(path, cells, size_of(path), bool(wanted & set(cells))))
    return found


def _open_cells(store: Store, besides: Plan | None) -> set[str]:
    wanted: set[str] = set()
    for path in in_queue(store):
        with suppress(InputError):  # gone since, or of another version, which looks elsewhere
            plan = Plan.read(path)
            if besides is None or plan.id != besides.id:
                opened = [one.hash for one in plan.cells if one.state == "open"]
                wanted |= {name for name in opened if plan.request.reuse == "never" or store.state(name) != "ok"}
    return wanted


def _cells(folder: Path) -> list[str]:
    try:
        return [str(name) for name in json.loads((folder / "cells.json").read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def _folder(store: Store) -> Path:
    return store.folder / "artifacts"
