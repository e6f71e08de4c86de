"""The loop that gradient attacks share: ask for a gradient, move, project, remember the best."""

import math
from collections.abc import Callable
from typing import Literal, Protocol, Self

import torch
from torch import Tensor

from .attack import Gradient, Target
from .best import Best
from .budget import Ball, l1_norm, l2_norm, per_clip
from .losses import Loss
from .rng import ClipRandom


class Move(Protocol):
    """One step, before projection; may remember something per clip between steps."""

    def __call__(self, x: Tensor, grad: Tensor) -> Tensor:
        """New iterates (N, C, T, H, W); `grad` may be overwritten, `x` not."""
        ...

    def __getitem__(self, rows: Tensor) -> "Move":
        """The same for some of the clips."""
        ...

    def memory(self) -> list[Tensor]:
        """What it remembers."""
        ...

    def recall(self, memory: list[Tensor]) -> None:
        """Remembers that."""
        ...


class _Stateless:
    def __init__(self, step: float) -> None:
        self._step = step

    def __getitem__(self, rows: Tensor) -> Self:
        return self

    def memory(self) -> list[Tensor]:
        """Nothing."""
        return []

    def recall(self, memory: list[Tensor]) -> None:
        """Nothing."""


class Sign(_Stateless):
    """Steepest ascent for L-inf: `step` along the sign of the gradient."""

    def __call__(self, x: Tensor, grad: Tensor) -> Tensor:
        """New iterates."""
        return x.add(grad.sign_(), alpha=self._step)


class Normalised(_Stateless):
    """Steepest ascent for L2: `step` along the gradient scaled to L2 norm 1 per clip."""

    def __call__(self, x: Tensor, grad: Tensor) -> Tensor:
        """New iterates."""
        return x + self._step * grad / per_clip(l2_norm(grad).clamp_min(1e-12))


class Sparse(_Stateless):
    """Ascent for L1 (SLIDE; Tramer and Boneh 2019, Algorithm 1): a change of L1 norm `step`, shared equally by few entries.

    They are the hundredth of a clip's entries whose gradients are largest, among those that the pixel range lets move; none has
    a gradient of 0, and ties at the threshold all count.
    """

    quantile = 0.99

    def __call__(self, x: Tensor, grad: Tensor) -> Tensor:
        """New iterates."""
        sizes, sign = grad.abs(), grad.sign_()
        sizes.masked_fill_((x + sign).clamp_(0, 1) == x, 0)  # at an end of the range, with nowhere to go
        rank = 1 + math.ceil(self.quantile * (sizes[0].numel() - 1))
        least = sizes.flatten(1).kthvalue(rank, dim=1).values.clamp_min(torch.finfo(sizes.dtype).tiny)
        sign.mul_(sizes >= per_clip(least))
        return x.addcmul(sign, per_clip(self._step / l1_norm(sign).clamp_min(1)))


class Momentum:
    """Gradients scaled to L1 norm 1 per clip and summed, older ones fading, before another move (Dong et al. 2018, Eq. 6).

    Args:
        move: Goes along the sum.
        decay: What is left of the older sum at each step.
        total: The sum so far, (N, C, T, H, W); None: before the first step.
    """

    def __init__(self, move: Move, decay: float, total: Tensor | None = None) -> None:
        self._move, self._decay, self._total = move, decay, total

    def __getitem__(self, rows: Tensor) -> "Momentum":
        return Momentum(self._move[rows], self._decay, None if self._total is None else self._total[rows])

    def memory(self) -> list[Tensor]:
        """The sum, and what the other move remembers."""
        return [] if self._total is None else [self._total, *self._move.memory()]

    def recall(self, memory: list[Tensor]) -> None:
        """Goes on with that."""
        if memory:
            self._total = memory[0]
            self._move.recall(memory[1:])

    def __call__(self, x: Tensor, grad: Tensor) -> Tensor:
        """New iterates."""
        grad.div_(per_clip(l1_norm(grad).clamp_min(1e-30)))
        self._total = grad.clone() if self._total is None else self._total.mul_(self._decay).add_(grad)
        return self._move(x, grad.copy_(self._total))


def steepest(norm: str, step: float) -> Move:
    """The move of length `step` that raises a linear loss most under `linf` or `l2`, and its sparse stand-in for `l1`."""
    return {"linf": Sign, "l2": Normalised, "l1": Sparse}[norm](step)


def plain_gradient(target: Target, x: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom) -> Gradient:
    """The target's gradient at the iterate."""
    return target.gradient(x, labels, loss, rng)


def ascend(
    target: Target,
    ball: Ball,
    labels: Tensor,
    rng: ClipRandom,
    best: Best,
    *,
    loss: Loss,
    steps: int,
    move: Move,
    random_start: bool = False,
    keep: Literal["best", "last"] = "best",
    gradient: Callable[[Target, Tensor, Tensor, Loss, ClipRandom], Gradient] = plain_gradient,
) -> None:
    """Projected gradient ascent on the clips that `best` has not fooled yet, or on all where fooled clips may not leave.

    Args:
        target: What is attacked.
        ball: Budget around the clean clips (N, C, T, H, W).
        labels: What the loss takes, (N, ...); the first column are the true classes.
        rng: The clips' streams.
        best: Takes in what is found.
        loss: Is maximised.
        steps: Gradient steps.
        move: One step.
        random_start: Start at a random point of the ball instead of the clean clip.
        keep: `best`: the strongest iterate counts, of a random target only the last one, judged afresh; `last`: the last iterate,
            whatever came before, and no clip leaves.
        gradient: How the gradient at an iterate is obtained.
    """
    leaves = target.until_fooled and keep == "best"
    rows = (~best.fooled).nonzero().flatten() if leaves else torch.arange(len(labels), device=labels.device)
    if not len(rows):
        return
    around = ball if len(rows) == len(labels) else ball[rows]
    label, random, move = labels[rows], rng[rows], move[rows]
    x = around.random(random) if random_start else around.clean
    for _ in range(steps):
        if not len(rows):
            return
        grad, value, logits = gradient(target, x, label, loss, random)
        if keep == "best" and not target.stochastic:
            best.offer(rows, x, value, logits, true_class(label))
        if leaves and best.fooled[rows].any():
            left = ~best.fooled[rows]
            rows, x, label, random, grad = rows[left], x[left], label[left], random[left], grad[left]
            around, move = around[left], move[left]
        x = around.project(move(x, around.restrict(grad)))
    if keep == "last":
        best.replace(rows, x)
    elif len(rows):
        logits = target.logits(x, random)
        best.offer(rows, x, loss(logits, label), logits, true_class(label))


def true_class(labels: Tensor) -> Tensor:
    """True classes (N,) of what a loss takes: (N,) itself, or the first column of (N, 2)."""
    return labels if labels.dim() == 1 else labels[:, 0]
