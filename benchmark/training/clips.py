"""The clips that a training holds in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.rng import ClipRandom


def as_float(clips: Tensor, device: torch.device) -> Tensor:
    """Stored uint8 clips as the float32 clips in [0, 1] that models take."""
    return clips.to(device).float().div_(255)


@dataclass(frozen=True)
class Split:
    """The clips of a split.

    Attributes:
        clips: uint8 (M, 3, T, H, W).
        labels: int64 (M,).
        ids: Names of the clips, which their randomness belongs to; default: their positions.
    """

    clips: Tensor
    labels: Tensor
    ids: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.clips)

    def streams(self, rows: Tensor, seed: int, purpose: str, device: torch.device) -> ClipRandom:
        """Fresh streams of the clips in some rows."""
        names = self.ids or [str(row) for row in range(len(self))]
        return ClipRandom.for_clips([names[int(row)] for row in rows], seed, purpose, device)

    def batches(self, size: int, seed: int, purpose: str, device: torch.device) -> Iterator[tuple[Tensor, Tensor, ClipRandom]]:
        """All clips in order, uint8, with their labels and fresh streams, on a device."""
        for rows in torch.arange(len(self)).split(size):
            yield self.clips[rows].to(device), self.labels[rows].to(device), self.streams(rows, seed, purpose, device)
