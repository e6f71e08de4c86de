"""The bookkeeping that black-box attacks share: who is still attacked, what was found, how many queries are left."""

import torch
from torch import Tensor

from .attack import Target
from .best import Best
from .losses import Loss, cw
from .rng import ClipRandom


class Search:
    """A search by queries alone. Fooled clips leave where the target lets them, so that its cost falls with them.

    An attack keeps its state for all N clips and works on `rows` of it, the M clips that are still attacked.

    Args:
        target: Answers with scores.
        clips: Clean clips (N, C, T, H, W).
        labels: True classes (N,).
        rng: The clips' streams.
        queries: Queries per clip at most.
        loss: Is maximised.

    Attributes:
        rows: The clips that are still attacked, (M,).
        rng: Their streams.
        left: Queries that each of them has left.
        best: The strongest candidates so far.
    """

    def __init__(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom, queries: int, loss: Loss = cw) -> None:
        self._target, self._labels, self._all, self._loss = target, labels, rng, loss
        self.rows, self.rng = torch.arange(len(clips), device=clips.device), rng
        self.left = queries
        self.best = Best(clips)

    def goes_on(self) -> bool:
        """Lets fooled clips leave; whether a clip is left to attack, and a query to do it with."""
        fooled = self.best.fooled[self.rows]
        if self._target.until_fooled and fooled.any():
            self.rows = self.rows[~fooled]
            self.rng = self._all[self.rows]
        return self.left > 0 and len(self.rows) > 0

    def ask(self, candidates: Tensor) -> Tensor:
        """Spends one query on each of `rows`, and keeps what is stronger than what is known.

        Args:
            candidates: Clips within the budget, (M, C, T, H, W).

        Returns:
            Their loss, (M,).
        """
        self.left -= 1
        label = self._labels[self.rows]
        logits = self._target.logits(candidates, self.rng)
        value = self._loss(logits, label)
        self.best.offer(self.rows, candidates, value, logits, label)
        return value

    def contrast(self, one: Tensor, other: Tensor) -> Tensor:
        """Loss of `one` less that of `other`, (M,), for two queries; 0 where a single query is left, which `one` gets."""
        value = self.ask(one)
        return value - self.ask(other) if self.left else torch.zeros_like(value)
