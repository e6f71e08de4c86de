"""What a long cell has measured so far, kept in the store batch by batch: a kill costs seconds, not hours."""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import torch

from ...core.errors import InputError
from ...core.files import write_atomically
from ...core.interfaces import Batch
from ..checks import Sample
from ..journal import Journal
from ..measure import Measured
from ..memory import Room

EVERY = 5.0
"""Seconds between two writes: cells that are shorter leave nothing."""

OTHER_CLIPS = "other clips can be decoded than before this cell was interrupted"

SCHEMA = 2
"""Goes up when a state, or anything in it, is made otherwise: one of another schema is not gone on with."""


class Partial:
    """The kept state of one cell.

    Args:
        path: Its file; None: nothing is kept.

    Attributes:
        batch_size: Clips per batch; 0 until that is known.
        spent: Seconds that earlier workers have spent on what is kept and gone on with.
        fitting: What is kept of a universal perturbation in the making, or made; empty: nothing.
        later: What was decided of the clips at later moments, by clip, moment after moment.
        journal: The same of the batch at hand.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self.batch_size = path, 0
        self._began = self._written = time.monotonic()
        self._state: dict[str, Any] = {}
        self.spent, self.fitting = 0.0, ""
        self.later: list[dict[str, int]] = []
        self.journal = Journal(path and _beside(path))

    @contextmanager
    def as_begun(self, room: Room) -> Iterator[None]:
        """Goes on in the batches in which the cell was begun, if they fit; other cells have their own."""
        own, kept = room.batch, self._read()
        if kept and kept["batches"] and kept["batch_size"] < own:
            room.batch = kept["batch_size"]
        try:
            yield
        except torch.OutOfMemoryError:
            own = room.batch
            raise
        finally:
            room.batch = own

    def load(self, batch_size: int, measured: Measured, sample: Sample) -> int:
        """Fills in what an earlier worker measured, and returns how many batches that were.

        Args:
            batch_size: Clips per batch; of a state with another one only the universal perturbation is gone on with.
            measured: Takes in the numbers.
            sample: Takes in what the checks need.
        """
        begun, self.batch_size = self.batch_size != 0, batch_size
        self._state, self.later = {}, []
        state = self._read()
        if state is None:
            return 0
        self.fitting, fits = state["fitting"], state["batch_size"] == batch_size
        if not begun and (self.fitting or fits):
            self.spent = state["wall_s"]
        if not state["batches"] or not fits:
            return 0
        self._state, self.later = state, state["later"]
        measured.vectors, measured.notes, measured.evidence = state["vectors"], state["notes"], state["evidence"]
        sample.restore(state["sample"])
        return state["batches"]

    def seen(self, batch: Batch, measured: Measured, sample: Sample) -> None:
        """Takes in the clips of a batch that was measured before, for which the numbers are there.

        Raises:
            InputError: It has other clips than then.
        """
        start = len(measured.records)
        if self._state["ids"][start : start + len(batch.records)] != batch.ids:
            self._begin_anew()
        measured.records += batch.records
        sample.see(batch)

    def check(self, measured: Measured) -> None:
        """Looks that every kept number has found its clip.

        Raises:
            InputError: A batch that was measured before cannot be decoded any more.
        """
        if any(len(vector) != len(measured.records) for vector in measured.vectors.values()):
            self._begin_anew()

    def _begin_anew(self) -> NoReturn:
        if self._path:
            discard(self._path)
        raise InputError("dataset", OTHER_CLIPS, "run it again")

    def save(self, batches: int, measured: Measured, sample: Sample, now: bool = False) -> None:
        """Keeps the state after so many batches, if the last time is long ago, or `now`."""
        if not self._due(now):
            return
        self._state = {"batches": batches, "sample": sample.state(), "ids": [record.id for record in measured.records]}
        self._state |= {"vectors": measured.vectors, "notes": measured.notes, "evidence": measured.evidence}
        self._write()

    def save_fitting(self, make: Callable[[], str], now: bool = False) -> None:
        """The same for the state of a universal perturbation; the batches that were measured stay."""
        if not self._due(now):
            return
        self.fitting = make()
        self._state.setdefault("batches", 0)
        self._write()

    def _due(self, now: bool) -> bool:
        return self._path is not None and (now or time.monotonic() - self._written >= EVERY)

    def _write(self) -> None:
        """A disk that is full costs the state, not the cell: whether the cell itself can be stored is seen when it is there."""
        assert self._path is not None
        self._state |= {"schema": SCHEMA, "batch_size": self.batch_size, "fitting": self.fitting, "later": self.later}
        self._state["wall_s"] = self.spent + time.monotonic() - self._began
        with suppress(OSError):
            write_atomically(self._path, json.dumps(self._state, separators=(",", ":")))
        self._written = time.monotonic()

    def _read(self) -> dict[str, Any] | None:
        try:
            state = json.loads(self._path.read_text(encoding="utf-8")) if self._path else None
        except (OSError, ValueError):
            return None
        if not isinstance(state, dict):
            return None
        return state if state.get("schema") == SCHEMA else None


def discard(path: Path, since: float = math.inf) -> None:
    """Takes away what is kept of a cell, whose state is the file `path`, and was written before the time `since`."""
    for one in (path, _beside(path)):
        with suppress(FileNotFoundError):
            if one.stat().st_mtime < since:
                one.unlink()


def _beside(path: Path) -> Path:
    return path.with_suffix(".answers")
