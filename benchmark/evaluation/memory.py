"""How many clips fit into one pass."""

from collections.abc import Callable
from functools import cache
from typing import TypeVar

import torch

from ..core.rng import ClipRandom

T = TypeVar("T")


class Room:
    """Splits work into passes that fit into memory.

    Attributes:
        rows: Clips, or draws of clips, per pass; halved whenever a pass runs out of memory.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def passes(self, count: int, job: Callable[[slice], T], width: int = 1) -> list[T]:
        """Does `job` on slices of `count` items until all are done.

        Args:
            count: How many items.
            job: Works on a slice of them; it is called again with a smaller one where it ran out of memory.
            width: Rows that one item takes.

        Raises:
            torch.OutOfMemoryError: A single item does not fit.
        """
        done, start = [], 0
        while start < count:
            size = min(count - start, max(1, self.rows // width))
            try:
                done.append(job(slice(start, start + size)))
                start += size
                continue
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
            # Only here is the failed pass's memory free: while the error is handled it holds on to it.
            self.rows = max(1, size * width // 2)
            torch.cuda.empty_cache()
        return done


@cache
def shared_room(device: str, model: str, precision: str, rows: int) -> Room:
    """The room of a model, for all cells of this process: what one cell has learnt, the next one knows."""
    return Room(rows)


def again(rng: ClipRandom, stochastic: bool, job: Callable[[], T]) -> T:
    """Does a job; where it runs out of memory the streams are taken back, so that it is made again with the same draws."""
    state = rng.state() if stochastic else []
    try:
        return job()
    except torch.OutOfMemoryError:
        if state:
            rng.restore(state)
        raise


def device_failed(error: Exception) -> bool:
    """Whether an error says that this process cannot use its device any more; lack of memory does not."""
    known = getattr(torch, "AcceleratorError", ())  # a plain RuntimeError before torch 2.8
    return isinstance(error, known) or isinstance(error, RuntimeError) and str(error).startswith("CUDA error")


def rows_of(rng: ClipRandom, rows: slice) -> ClipRandom:
    """The streams of a slice of clips; all of them as they are."""
    if rows == slice(0, len(rng)):
        return rng
    return rng[torch.arange(rows.start, rows.stop)]
