"""One perturbation for all frames."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from ..benchmark.core.ascent import steepest
from ..benchmark.core.attack import Attack, Target
from ..benchmark.core.best import Best
from ..benchmark.core.budget import check_eps, l2_norm, per_clip
from ..benchmark.core.losses import LOSSES
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.pattern import Search, ascend_pattern
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom


@register("attack", "static")
@dataclass(frozen=True)
class Static(Attack):
    """The same perturbation on every frame of a clip, which no reordering of the frames removes.

    Formula: x = clip(clean + p, 0, 1) with p (C, 1, H, W) shared by all frames; p <- P(p + step * sign(sum over t of grad loss))
    for L-inf, the sum scaled to L2 norm 1 for L2, where P brings p into the eps-ball of the whole clip. The perturbation is the
    same in all frames before the pixels are cut to [0, 1]; the cut can make it smaller in frames that are nearly black or white.

    The published attack is `steps=30,rule=published,random_start=false`; longer steps and the best iterate, the default, were
    stronger at the same number of steps wherever we measured it.

    Source: Hwang et al. 2024, Temporal shuffling for defending deep action recognition models against adversarial attacks,
    section 4.2, case 1. Re-implemented from the paper; no code is public.
    """

    version: ClassVar[int] = 1

    norm: str = param("linf", help="norm of the budget", choices=("linf", "l2"))
    eps: float = param(4 / 255, help="budget; absolute in [0, 1] pixel units over the whole clip for l2", unit=PIXEL)
    steps: int = param(50, help="gradient steps", low=1)
    step: float | None = param(None, help="step size; none: by the step rule", unit=PIXEL, low=0)
    rule: str = param(
        "relative", help="relative: eps/4, or 2.5 eps/steps if more; published: eps/steps", choices=("relative", "published")
    )
    random_start: bool = param(True, help="start at a random pattern inside the budget")
    restarts: int = param(1, help="independent runs; the best iterate over all is kept", low=1)
    loss: str = param("ce", help="loss that is maximised", choices=("ce", "cw", "dlr"))

    def __post_init__(self) -> None:
        check_eps(f"attack {self.registered[1]}", self.norm, self.eps)  # type: ignore[attr-defined]

    @property
    def step_size(self) -> float:
        """The step in pixel units."""
        if self.step is not None:
            return self.step
        return self.eps * (1 / self.steps if self.rule == "published" else max(1 / 4, 2.5 / self.steps))

    def single_step(self) -> Self:
        """The one-step attack that a sound iterative run must not be weaker than."""
        return replace(self, steps=1, step=self.eps, random_start=False, restarts=1)

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Adversarial candidates (N, C, T, H, W) of clips (N, C, T, H, W) with labels (N,)."""
        best, shape = Best(clips), self._shape(clips)
        # A number that stands in `copies` pixels counts that often in the clip's L2 norm.
        scale = 1.0 if self.norm == "linf" else math.sqrt(clips[0].numel() / math.prod(shape))
        search = Search(
            LOSSES[self.loss], self.steps, steepest(self.norm, self.step_size / scale), lambda theta: self._bound(theta, scale)
        )
        keep = "last" if target.stochastic and self.restarts == 1 else "best"
        for _ in range(self.restarts):
            theta = rng.uniform(shape, -1.0, 1.0) * self.eps if self.random_start else clips.new_zeros(len(clips), *shape)
            ascend_pattern(target, clips, labels, rng, best, self._bound(theta, scale), search, keep=keep)
        return best.clips

    def _shape(self, clips: Tensor) -> tuple[int, int, int, int]:
        """Of one clip's pattern."""
        _, channels, _, height, width = clips.shape
        return channels, 1, height, width

    def _bound(self, theta: Tensor, scale: float) -> Tensor:
        if self.norm == "linf":
            return theta.clamp(-self.eps, self.eps)
        return theta * per_clip((self.eps / (scale * l2_norm(theta).clamp_min(1e-12))).clamp(max=1.0))
