"""Batches on their way to a device."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ..core.interfaces import Batch


class Ahead:
    """Copies a batch to a GPU while the one before it is worked on; on a CPU there is nothing to copy.

    Args:
        device: Where batches are worked on.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None  # made when it is needed: a plan touches no GPU
        self._copies: dict[int, tuple[Batch, Tensor]] = {}

    def batches(self, given: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches; on a GPU each is asked for, and its copy begun, before the one before it is handed out."""
        if self._device.type != "cuda":
            yield from given
            return
        self._stream = self._stream or torch.cuda.Stream(self._device)
        before: Batch | None = None
        try:
            for batch in given:
                with torch.cuda.stream(self._stream):
                    self._copies[id(batch)] = batch, self._copy(batch)
                if before is not None:
                    yield before
                    self._copies.pop(id(before), None)  # of one that nobody looked at
                before = batch
            if before is not None:
                yield before
        finally:
            self._copies.clear()

    def clips(self, batch: Batch) -> Tensor:
        """A batch's clips on the device, as they are stored; a copy that was begun is waited for, and handed out once."""
        if self._stream is None or id(batch) not in self._copies:
            return self._copy(batch)
        _, clips = self._copies.pop(id(batch))
        now = torch.cuda.current_stream(self._device)
        now.wait_stream(self._stream)
        clips.record_stream(now)  # so that its memory is not given away while this stream still reads it
        return clips

    def _copy(self, batch: Batch) -> Tensor:
        held = batch.clips.pin_memory() if self._device.type == "cuda" else batch.clips
        return held.to(self._device, non_blocking=True)
