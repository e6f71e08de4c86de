"""Best-iterate bookkeeping, per clip."""

import torch
from torch import Tensor

from .losses import margin


class Best:
    """The strongest iterate of each clip so far: one that fools before one that does not, then the higher loss.

    Attributes:
        clips: The strongest iterates, (N, C, T, H, W); the clean clips at first.
        fooled: Whether that iterate is misclassified, (N,).
    """

    def __init__(self, clips: Tensor) -> None:
        self.clips = clips.clone()
        self.fooled = torch.zeros(len(clips), dtype=torch.bool, device=clips.device)
        self._loss = torch.full((len(clips),), -torch.inf, device=clips.device)

    def offer(self, rows: Tensor, clips: Tensor, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Considers iterates `clips` (M, C, T, H, W) of the clips `rows` (M,), with what a pass said of them."""
        fooled = margin(logits, labels) <= 0
        was_fooled, was_loss = self.fooled[rows], self._loss[rows]
        better = (fooled & ~was_fooled) | ((fooled == was_fooled) & (loss > was_loss))
        self._write(rows[better], clips, better.nonzero().flatten())
        self.fooled[rows[better]] = fooled[better]
        self._loss[rows[better]] = loss[better]

    def replace(self, rows: Tensor, clips: Tensor) -> None:
        """Takes iterates (M, C, T, H, W) of the clips `rows` whatever was there; nobody has asked whether they fool."""
        self._write(rows, clips, torch.arange(len(rows)))

    def _write(self, rows: Tensor, clips: Tensor, chosen: Tensor) -> None:
        # Clip by clip: several times faster than indexing, which gathers and scatters.
        for row, number in zip(rows.tolist(), chosen.tolist(), strict=True):
            self.clips[row].copy_(clips[number])
