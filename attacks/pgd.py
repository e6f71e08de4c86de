"""Projected gradient descent."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from ..benchmark.core.ascent import Normalised, Sign, ascend
from ..benchmark.core.best import Best
from ..benchmark.core.budget import Ball, check_eps
from ..benchmark.core.interfaces import Attack, Target
from ..benchmark.core.losses import LOSSES
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom


@register("attack", "pgd")
@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient descent over the whole clip, best iterate kept per clip.

    Formula: x <- P(x + step * sign(grad loss)) for L-inf, x <- P(x + step * grad / |grad|_2) for L2, where P brings the clip
    into the eps-ball and [0, 1]; x starts at a uniform draw from the ball.

    Of a random target the last iterate of each restart counts, judged by the deployed, averaged
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
        best, ball = Best(clips), Ball(clips, self.norm, self.eps)
        move = (Sign if self.norm == "linf" else Normalised)(self.step_size)
        for _ in range(self.restarts):
            ascend(
                target,
                ball,
                labels,
                rng,
                best,
                loss=LOSSES[self.loss],
                steps=self.steps,
                move=move,
                random_start=self.random_start,
                keep="last" if target.stochastic and self.restarts == 1 else "best",
            )
        return best.clips
