"""Projected gradient descent."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..benchmark.core.ascent import ascend, steepest
from ..benchmark.core.attack import Attack, Target
from ..benchmark.core.best import Best
from ..benchmark.core.budget import Ball, check_eps
from ..benchmark.core.errors import InputError
from ..benchmark.core.interfaces import InputSpec
from ..benchmark.core.losses import LOSSES, TARGETED, check_classes
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom

CHOICES = ("second", "least", "random")


@register("attack", "pgd")
@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient descent over the whole clip, best iterate kept per clip.

    Formula: x <- P(x + step * sign(grad loss)) for L-inf, x <- P(x + step * grad / |grad|_2) for L2, where P brings the clip
    into the eps-ball and [0, 1]; x starts at a uniform draw from the ball (L1: of uniform size in a random direction). For L1,
    x <- P(x + step * sign(g) / k), where g is the gradient's largest hundredth (k numbers per clip) among the pixels that [0, 1]
    lets move that way. All norms are over the whole clip in [0, 1] units: an L1 budget is a sum over C*T*H*W numbers, so that
    the default of 4/255, meant for L-inf, buys next to nothing there: give `eps` with l1 and l2.

    With `target` the loss pulls towards a class instead, for instance x <- P(x - step * sign(grad CE(f(x), target))): a class
    index, or per clip `second` or `least` (its most or least likely wrong class) or `random` (any wrong class). A clip whose true
    class is the index given is pulled to its `second`. Success still means that the true class is lost, by whatever other.

    Of a random target the last iterate of each restart counts, judged by the deployed, averaged
    form: the loss of one draw says little about an iterate, and picking by it was never stronger where we measured it.
    The step stays at eps/4 or more: with tiny steps the signs of noisy gradients cancel, and EOT looks weak.

    Source: Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, section 2.1. Step rule `kinfu`:
    Kinfu and Vidal 2022, Analysis and Extensions of Adversarial Training for Video Classification. L1 step (SLIDE): Tramer and
    Boneh 2019, Adversarial Training and Robustness for Multiple Perturbations, Algorithm 1.
    """

    version: ClassVar[int] = 1

    norm: str = param("linf", help="norm of the budget", choices=("linf", "l2", "l1"))
    eps: float = param(4 / 255, help="budget; for l2 and l1 over the whole clip in [0, 1] pixel units", unit=PIXEL)
    steps: int = param(50, help="gradient steps", low=1)
    step: float | None = param(None, help="step size; none: by the step rule", unit=PIXEL, low=0)
    rule: str = param(
        "relative", help="relative: eps/4, or 2.5 eps/steps if more; kinfu: 0.2 (255 eps + 1)/255", choices=("relative", "kinfu")
    )
    random_start: bool = param(True, help="start at a uniform draw from the ball")
    restarts: int = param(1, help="independent runs; the best iterate over all is kept", low=1)
    loss: str = param("ce", help="loss that is maximised", choices=("ce", "cw", "dlr"))
    target: str | None = param(None, help="class to pull towards: an index, second, least or random; none: untargeted")

    def __post_init__(self) -> None:
        check_eps("attack pgd", self.norm, self.eps)
        if self.target is None or self.target in CHOICES or self.target.isdecimal():
            return
        problem = f"{self.target!r} is no class" if self.target.strip() else "a targeted attack without targets"
        raise InputError("attack pgd: target", problem, f"write a class index, {', '.join(CHOICES[:2])} or {CHOICES[2]}")

    def check(self, input: InputSpec, classes: int) -> None:
        """Refuses a target class, and a loss, for which the model has too few classes.

        Raises:
            InputError: It has.
        """
        check_classes("targeted-dlr" if self.target and self.loss == "dlr" else self.loss, classes)
        if self.target and self.target.isdecimal() and int(self.target) >= classes:
            problem = f"{self.target} is beyond the model's {classes} classes"
            raise InputError("attack pgd: target", problem, f"it must be from 0 to {classes - 1}")

    @property
    def calls(self) -> tuple[int, int]:
        """Gradient calls per clip, and the query that tells a targeted attack the classes."""
        return self.steps * self.restarts, 0 if self.target is None else 1

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
        best, ball = Best(clips), Ball(clips, self.norm, self.eps)
        loss = LOSSES[self.loss]
        if self.target is not None:
            loss, logits = TARGETED[self.loss], target.logits(clips, rng)
            labels = torch.stack((labels, self._targets(logits, labels, rng)), dim=1)
            target.note("target_class", labels[:, 1], rng)
        for _ in range(self.restarts):
            ascend(
                target,
                ball,
                labels,
                rng,
                best,
                loss=loss,
                steps=self.steps,
                move=steepest(self.norm, self.step_size),
                random_start=self.random_start,
                keep="last" if target.stochastic and self.restarts == 1 else "best",
            )
        return best.clips

    def _targets(self, logits: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Target classes (N,), never the true ones, from the clean clips' logits (N, K) and labels (N,)."""
        classes = logits.shape[1]
        if self.target == "random":
            drawn = rng.integers(0, classes - 1)
            return drawn + (drawn >= labels).long()
        if self.target == "least":
            return logits.scatter(1, labels[:, None], torch.inf).argmin(dim=1)
        second = logits.scatter(1, labels[:, None], -torch.inf).argmax(dim=1)
        return second if self.target == "second" else torch.where(labels == int(self.target or 0), second, int(self.target or 0))
