"""What a long cell has measured so far, kept in the store batch by batch: a kill costs seconds, not hours."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.files import write_atomically
from ...core.interfaces import Batch
from ..checks import Sample
from ..measure import Measured

EVERY = 5.0
"""Seconds between two writes: cells that are shorter leave nothing."""

OTHER_CLIPS = "other clips can be decoded than before this cell was interrupted"

SCHEMA = 1
"""Goes up when a state, or anything in it, is made otherwise: one of another schema is not gone on with."""


class Partial:
    """The kept state of one cell.

    Args:
        path: Its file; None: nothing is kept.
        batch_size: Clips per batch; a state with another one is not gone on with.

    Attributes:
        spent: Seconds that earlier workers have spent on what is kept.
    """

    def __init__(self, path: Path | None, batch_size: int) -> None:
        self._path, self._batch_size = path, batch_size
        self._began = self._written = time.monotonic()
        self._ids: list[str] = []
        self.spent = 0.0

    def resize(self, batch_size: int) -> None:
        """The cell is begun anew in batches of another size, or gone on with where such a state was kept."""
        self._batch_size, self._ids, self.spent = batch_size, [], 0.0

    def load(self, measured: Measured, sample: Sample) -> int:
        """Fills in what an earlier worker measured, and returns how many batches that were."""
        state = self._read()
        if not state:
            return 0
        measured.vectors, measured.notes, measured.evidence = state["vectors"], state["notes"], state["evidence"]
        sample.restore(state["sample"])
        self._ids, self.spent = state["ids"], state["wall_s"]
        return state["batches"]

    def seen(self, batch: Batch, measured: Measured, sample: Sample) -> None:
        """Takes in the clips of a batch that was measured before, for which the numbers are there.

        Raises:
            InputError: It has other clips than then.
        """
        start = len(measured.records)
        if self._ids[start : start + len(batch.records)] != batch.ids:
            raise InputError("dataset", OTHER_CLIPS, "run it again")
        measured.records += batch.records
        sample.see(batch)

    def check(self, measured: Measured) -> None:
        """Looks that every kept number has found its clip.

        Raises:
            InputError: A batch that was measured before cannot be decoded any more.
        """
        if any(len(vector) != len(measured.records) for vector in measured.vectors.values()):
            raise InputError("dataset", OTHER_CLIPS, "run it again")

    def save(self, batches: int, measured: Measured, sample: Sample, now: bool = False) -> None:
        """Writes the state after so many batches, if the last time is long ago, or `now`.

        A disk that is full costs the state, not the cell: whether the cell itself can be stored is seen when it is there.
        """
        if self._path is None or not (now or time.monotonic() - self._written >= EVERY):
            return
        state: dict[str, Any] = {"schema": SCHEMA, "batch_size": self._batch_size, "batches": batches}
        state |= {"sample": sample.state(), "ids": [record.id for record in measured.records]}
        state |= {"vectors": measured.vectors, "notes": measured.notes, "evidence": measured.evidence}
        state["wall_s"] = self.spent + time.monotonic() - self._began
        with suppress(OSError):
            write_atomically(self._path, json.dumps(state, separators=(",", ":")))
        self._written = time.monotonic()

    def _read(self) -> dict[str, Any] | None:
        try:
            state = json.loads(self._path.read_text(encoding="utf-8")) if self._path else None
        except (OSError, ValueError):
            return None
        if not isinstance(state, dict):
            return None
        return state if (state.get("schema"), state.get("batch_size")) == (SCHEMA, self._batch_size) else None
