"""Adversarial training."""

from dataclasses import dataclass
from typing import ClassVar

from ..benchmark.core.budget import check_eps
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from .adversarial_training import AdversarialTraining


@register("defense", "at")
@dataclass(frozen=True)
class AT(AdversarialTraining):
    """Adversarial training: the model learns on clips that PGD with one budget has made against it at that moment.

    Formula: min over weights of E[max over |d|_inf <= eps of CE(f(x + d), y)]; the inner maximum by `steps` steps of PGD from a
    random start, with step size alpha by the paper's rules: alpha = eps, the "optimal" 0.2 (eps + 1) in grey levels, or half of
    it. It starts from a trained model, as in the paper; the epoch with the best accuracy under PGD on the validation clips is
    kept (Rice et al. 2020). The number of steps is not printed in the paper: ours is 3.

    Source: Madry et al. 2018, section 2; Kinfu and Vidal 2022, Analysis and Extensions of Adversarial Training for Video
    Classification, Eq. 5 and 7, section 3.
    """

    version: ClassVar[int] = 1

    eps: float = param(8 / 255, help="budget of the training's attack", unit=PIXEL)

    def __post_init__(self) -> None:
        check_eps("defense at", "linf", self.eps)

    @property
    def hardest(self) -> float:
        """The budget."""
        return self.eps
