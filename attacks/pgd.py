"""Projected gradient descent."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..benchmark.core.best import Best
from ..benchmark.core.budget import check_eps, l2_norm, per_clip, project, random_start
from ..benchmark.core.interfaces import Target
from ..benchmark.core.losses import LOSSES, Loss
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom

CHECKPOINTS = 5
"""How often a random target is asked, over a run, which iterate its deployed form finds hardest."""


@register("attack", "pgd")
@dataclass(frozen=True)
class PGD:
    """Projected gradient descent over the whole clip, best iterate kept per clip.

    Each step moves by `step` along the sign of the gradient (L-inf) or along the gradient scaled to L2 norm 1, and projects
    onto the ball and [0, 1]. A random target is judged at five checkpoints by its deployed, averaged form, because the loss of
    one draw says little about an iterate.

    Source: Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, section 2.1. Step rule `kinfu`:
    Kinfu and Vidal 2022, Analysis and Extensions of Adversarial Training for Video Classification.
    """

    version: ClassVar[int] = 1

    norm: str = param("linf", help="norm of the budget", choices=("linf", "l2"))
    eps: float = param(4 / 255, help="budget; absolute in [0, 1] pixel units for l2", unit=PIXEL)
    steps: int = param(50, help="gradient steps", low=1)
    step: float | None = param(None, help="step size; none: by the step rule", unit=PIXEL, low=0)
    rule: str = param("relative", help="relative: 2.5 eps/steps; kinfu: 0.2 (255 eps + 1)/255", choices=("relative", "kinfu"))
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
        return 0.2 * (255 * self.eps + 1) / 255 if self.rule == "kinfu" else 2.5 * self.eps / self.steps

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
        clean, label, random = clips[rows], labels[rows], rng[rows]
        x = random_start(clean, self.norm, self.eps, random) if self.random_start else clean.clone()
        for step in range(self.steps):
            if not len(rows):
                return
            grad, value, logits = target.gradient(x, label, loss, random)
            if not target.stochastic:
                best.offer(rows, x, value, logits, label)
            elif step and step % max(1, self.steps // CHECKPOINTS) == 0:
                _judge(target, rows, x, label, loss, random, best)
            if target.until_fooled and best.fooled[rows].any():
                left = ~best.fooled[rows]
                rows, x, clean, label, random, grad = rows[left], x[left], clean[left], label[left], random[left], grad[left]
            x = self._move(x, grad, clean)
        _judge(target, rows, x, label, loss, random, best)

    def _move(self, x: Tensor, grad: Tensor, clean: Tensor) -> Tensor:
        if self.norm == "linf":
            return project(x.add_(grad.sign_(), alpha=self.step_size), clean, self.norm, self.eps)
        direction = grad / per_clip(l2_norm(grad).clamp_min(1e-12))
        return project(x + self.step_size * direction, clean, self.norm, self.eps)


def _judge(target: Target, rows: Tensor, x: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom, best: Best) -> None:
    """Offers the iterates by what the deployed model says of them."""
    if len(rows):
        logits = target.logits(x, rng)
        best.offer(rows, x, loss(logits, labels), logits, labels)
