"""The basic iterative method."""

from dataclasses import dataclass
from typing import ClassVar

from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from .ifgsm import IFGSM


@register("attack", "bim")
@dataclass(frozen=True)
class BIM(IFGSM):
    """Basic iterative method: a few fixed steps from the clean clip, the last iterate.

    Formula: x_0 = x; x_{m+1} = P(x_m + step * sign(grad loss)), where P cuts to the eps-ball and [0, 1]; for L2 the step goes
    along grad / |grad|_2. No random start, no early stop. Unlike `ifgsm` the step is eps/4 whatever the number of steps.

    Source: Kurakin et al. 2017, Adversarial Examples in the Physical World, section 2.2.
    """

    version: ClassVar[int] = 1

    steps: int = param(10, help="gradient steps", low=1)
    step: float | None = param(None, help="step size; none: eps/4", unit=PIXEL, low=0)

    @property
    def step_size(self) -> float:
        """The step in the norm's unit."""
        return self.eps / 4 if self.step is None else self.step
