"""The loop that gradient attacks share: ask for a gradient, move, project, remember the best."""

from collections.abc import Callable
from typing import Literal, Protocol, Self

import torch
from torch import Tensor

from .best import Best
from .budget import Ball, l2_norm, per_clip
from .interfaces import Gradient, Target
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


class _Stateless:
    def __init__(self, step: float) -> None:
        self._step = step

    def __getitem__(self, rows: Tensor) -> Self:
        return self


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
    label, random, around, move = labels[rows], rng[rows], ball[rows], move[rows]
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
