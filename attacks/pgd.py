"""Projected gradient descent."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..benchmark.core.best import Best
from ..benchmark.core.budget import Ball, check_eps, l2_norm, per_clip
from ..benchmark.core.interfaces import Target
from ..benchmark.core.losses import LOSSES
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom


@register("attack", "pgd")
@dataclass(frozen=True)
class PGD:
    """Projected gradient descent over the whole clip, best iterate kept per clip.

    Each step moves by `step` along the sign of the gradient (L-inf) or along the gradient scaled to L2 norm 1, and projects
    onto the ball and [0, 1]. Of a random target the last iterate of each restart counts, judged by the deployed, averaged
    form: the loss of one draw says little about an iterate, and picking by it was never stronger where we measured it.
    The step stays at eps/4 or more: with tiny steps the signs of noisy gradients cancel, and EOT looks weak.

    Source: Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, section 2.1. Step rule `kinfu`:
    Kinfu and Vidal 2022, Analysis and Extensions of Adversarial Training for Video Classification.
    """

    version: ClassVar[int] = 1

    norm: str = param("linf", help="norm of the budget", choices=("linf", "l2"))
    eps: float = param(4 / 255, help="budget; absolute in [0, 1] pixel units for l2", unit=PIXEL)
    steps: int = param(50, help="gradient steps", low=1)
    step: float | None = param(None, help="step size; none: by the step rule", unit=PIXEL, low=0)
    rule: str = param(
        "relative", help="relative: eps/4, or 2.5 eps/steps if more; kinfu: 0.2 (255 eps + 1)/255", choices=("relative", "kinfu")
    )
    random_start: bool = param(True, help="start at a uniform draw from the ball")
    restarts: int = param(1, help="independent runs; the best iterate over all is kept", low=1)
    loss: str = param("ce", help="loss that is maximised", choices=("ce", "cw", "dlr"))

    def __post_init__(self) -> None:
        check_eps("attack pgd", self.norm, self.eps)

    @property
    def step_size(self) -> float:
        """The step in pixel units."""
        if self.step is not None:
            return self.step
        if self.rule == "kinfu":
            return 0.2 * (255 * self.eps + 1) / 255
        return self.eps * max(1 / 4, 2.5 / self.steps)

    def single_step(self) -> "PGD":
        """The one-step attack that a sound iterative run must not be weaker than."""
        return replace(self, steps=1, step=self.eps, random_start=False, restarts=1)

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Adversarial candidates (N, C, T, H, W) of clips (N, C, T, H, W) with labels (N,)."""
        best = Best(clips)
        for _ in range(self.restarts):
            self._ascend(target, clips, labels, rng, best)
        return best.clips

    def _ascend(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom, best: Best) -> None:
        loss = LOSSES[self.loss]
        rows = (~best.fooled).nonzero().flatten() if target.until_fooled else torch.arange(len(clips), device=clips.device)
        label, random, ball = labels[rows], rng[rows], Ball(clips[rows], self.norm, self.eps)
        x = ball.random(random) if self.random_start else clips[rows]
        for _ in range(self.steps):
            if not len(rows):
                return
            grad, value, logits = target.gradient(x, label, loss, random)
            if not target.stochastic:
                best.offer(rows, x, value, logits, label)
            if target.until_fooled and best.fooled[rows].any():
                left = ~best.fooled[rows]
                rows, x, label, random, ball, grad = rows[left], x[left], label[left], random[left], ball[left], grad[left]
            x = ball.project(self._move(x, grad))
        if target.stochastic and self.restarts == 1:
            best.clips = x
        elif len(rows):
            logits = target.logits(x, random)
            best.offer(rows, x, loss(logits, label), logits, label)

    def _move(self, x: Tensor, grad: Tensor) -> Tensor:
        if self.norm == "linf":
            return x.add(grad.sign_(), alpha=self.step_size)
        return x + self.step_size * grad / per_clip(l2_norm(grad).clamp_min(1e-12))
