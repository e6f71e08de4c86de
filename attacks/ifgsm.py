"""Iterative FGSM as the temporal-shuffling paper uses it."""

from dataclasses import dataclass
from typing import ClassVar

from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from .fgsm import FGSM


@register("attack", "ifgsm")
@dataclass(frozen=True)
class IFGSM(FGSM):
    """Iterative FGSM of the temporal-shuffling paper: M steps of eps/M from the clean clip, the last iterate.

    Formula: x_0 = x; x_{m+1} = P(x_m + (eps/M) * sign(grad loss)), where P cuts to the valid pixels and the eps-ball; for L2 the
    step goes along grad / |grad|_2. No random start, no early stop.

    Weak by construction: the steps add up to eps only where the gradient's sign never changes. It is here to repeat published
    numbers; `pgd` is the stronger form. Re-implemented from the paper, which has no public code.

    Source: Hwang et al. 2024, Temporal shuffling for defending deep action recognition models against adversarial attacks,
    section 4.1, with M = 30 and eps = 4/255; the update is that of Kurakin et al. 2017.
    """

    version: ClassVar[int] = 1

    steps: int = param(30, help="gradient steps M", low=1)

    @property
    def step_size(self) -> float:
        """The step in the norm's unit."""
        return self.eps / self.steps

    def single_step(self) -> FGSM:
        """The one-step attack that a sound iterative run must not be weaker than."""
        return FGSM(self.norm, self.eps, self.loss)
