"""The fast gradient sign method, and what its iterative forms share with it."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..benchmark.core.ascent import Move, ascend, steepest
from ..benchmark.core.attack import Attack, Target
from ..benchmark.core.best import Best
from ..benchmark.core.budget import Ball, check_eps
from ..benchmark.core.losses import LOSSES
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom


@register("attack", "fgsm")
@dataclass(frozen=True)
class FGSM(Attack):
    """Fast gradient sign method: one step as long as the budget.

    Formula: x' = clip(x + eps * sign(grad loss)) for L-inf, x' = clip(x + eps * grad / |grad|_2) for L2, clip to [0, 1]; no
    random start. The gradient is taken at the true class, so clips that are wrong without any change are attacked like others.

    The lowest rung: an iterative attack that is weaker than this one is broken, or meets masked gradients.

    Source: Goodfellow et al. 2015, Explaining and Harnessing Adversarial Examples, section 4.
    """

    version: ClassVar[int] = 1
    steps = 1

    norm: str = param("linf", help="norm of the budget", choices=("linf", "l2"))
    eps: float = param(4 / 255, help="budget; absolute in [0, 1] pixel units for l2, over the whole clip", unit=PIXEL)
    loss: str = param("ce", help="loss that is maximised", choices=("ce", "cw", "dlr"))

    def __post_init__(self) -> None:
        check_eps(f"attack {self.registered[1]}", self.norm, self.eps)  # type: ignore[attr-defined]

    @property
    def step_size(self) -> float:
        """The step in the norm's unit."""
        return self.eps

    @property
    def move(self) -> Move:
        """One step before projection."""
        return steepest(self.norm, self.step_size)

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """The last iterate (N, C, T, H, W), from the clean clips (N, C, T, H, W) with labels (N,); no clip stops early."""
        best, ball = Best(clips), Ball(clips, self.norm, self.eps)
        ascend(target, ball, labels, rng, best, loss=LOSSES[self.loss], steps=self.steps, move=self.move, keep="last")
        return best.clips
