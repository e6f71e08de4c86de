"""The momentum iterative method."""

from dataclasses import dataclass
from typing import ClassVar

from ..benchmark.core.ascent import Momentum, Move
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from .bim import BIM


@register("attack", "mim")
@dataclass(frozen=True)
class MIM(BIM):
    """Momentum iterative method: steps along a sum of normalised gradients, which transfers better to other models.

    Formula: g_{m+1} = decay * g_m + grad / |grad|_1 with the L1 norm of the whole clip; x_{m+1} = P(x_m + step * sign(g_{m+1}))
    for L-inf, x_{m+1} = P(x_m + step * g_{m+1} / |g_{m+1}|_2) for L2; x_0 = x, g_0 = 0, the last iterate.

    Source: Dong et al. 2018, Boosting Adversarial Attacks with Momentum, Algorithm 1, whose 10 steps of eps/steps and decay of
    1.0 are the defaults; its L2 form is the paper's extension.
    """

    version: ClassVar[int] = 1

    step: float | None = param(None, help="step size; none: eps/steps", unit=PIXEL, low=0)
    decay: float = param(1.0, help="share of the older gradients' sum that is kept at each step", low=0)

    @property
    def step_size(self) -> float:
        """The step in the norm's unit."""
        return self.eps / self.steps if self.step is None else self.step

    @property
    def move(self) -> Move:
        """One step before projection."""
        return Momentum(super().move, self.decay)
