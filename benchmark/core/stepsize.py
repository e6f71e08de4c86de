"""Step sizes that a run finds by itself (Auto-PGD)."""

from copy import copy
from typing import Self

import torch
from torch import Tensor

from .attack import Gradient
from .budget import Ball, l2_norm, per_clip

MOMENTUM = 0.75
"""Weight of the new step; the rest goes on along the last one."""


class AutoStep:
    """Where a run of Auto-PGD stands, per clip (Croce and Hein 2020, algorithm 1).

    The first step is 2 eps. At checkpoints, ever closer together, a clip's step is halved and the clip goes on from its highest
    loss, where less than a share rho of the last steps raised the loss, or where neither step nor highest loss has changed
    since the checkpoint before. Whether a step raised the loss is asked of the points where a gradient was taken, as in
    the authors' code.

    Args:
        x: Starting points (N, C, T, H, W).
        found: Gradient there.
        norm: `linf` or `l2`.
        eps: Budget.
        steps: Length of the run.
        rho: Share of rising steps below which a step size is too long.

    Attributes:
        x: The points whose gradient was taken last; never written into.
        top: The points of the highest loss so far.
    """

    def __init__(self, x: Tensor, found: Gradient, norm: str, eps: float, steps: int, rho: float) -> None:
        self._norm, self._rho = norm, rho
        self._window, self._shrink, self._least = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
        self._since, self._moved = 0, False
        self.x = self._before = x
        self._grad, self._loss = found.grad, found.loss
        self.top, self._top_grad, self._top_loss = x.clone(), found.grad.clone(), found.loss.clone()
        self._step = torch.full_like(found.loss, 2 * eps)
        self._rises = torch.zeros_like(found.loss)
        # As if halved: the second condition needs a checkpoint to compare with.
        self._halved = torch.ones_like(found.loss, dtype=torch.bool)
        self._checked = found.loss.clone()

    def __getitem__(self, rows: Tensor) -> Self:
        """The same for some of the clips."""
        part = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(part, name, value[rows])
        return part

    def advance(self, ball: Ball) -> Tensor:
        """The next points (N, C, T, H, W): a projected step and what is left of the last one, projected again."""
        grad = self._grad
        direction = grad.sign() if self._norm == "linf" else grad / per_clip(l2_norm(grad) + 1e-12)
        new = ball.project(direction.mul_(per_clip(self._step)).add_(self.x))
        if self._moved:
            # x + m (new - x) + (1 - m) (x - before)
            new.mul_(MOMENTUM).add_(self.x, alpha=2 - 2 * MOMENTUM).sub_(self._before, alpha=1 - MOMENTUM)
            new = ball.project(new)
        self._before, self.x, self._moved = self.x, new, True
        return new

    def learn(self, found: Gradient) -> None:
        """Takes in the gradient at the new points; adapts the step at a checkpoint."""
        self._rises += found.loss > self._loss
        self._grad, self._loss = found.grad, found.loss
        better = found.loss > self._top_loss
        for row in better.nonzero().flatten().tolist():  # several times faster than indexing with a mask
            self.top[row].copy_(self.x[row])
            self._top_grad[row].copy_(found.grad[row])
        self._top_loss = torch.where(better, found.loss, self._top_loss)
        self._since += 1
        if self._since == self._window:
            self._check()

    def _check(self) -> None:
        slow = self._rises <= self._rho * self._window
        stuck = ~self._halved & (self._checked >= self._top_loss)
        self._halved = slow | stuck
        self._checked = self._top_loss
        if self._halved.any():
            self._step = torch.where(self._halved, self._step / 2, self._step)
            self.x = torch.where(per_clip(self._halved), self.top, self.x)
            self._grad = torch.where(per_clip(self._halved), self._top_grad, self._grad)
        self._rises = torch.zeros_like(self._rises)
        self._since, self._window = 0, max(self._window - self._shrink, self._least)
