"""Curriculum adversarial training."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ..benchmark.core.budget import check_eps
from ..benchmark.core.interfaces import Model
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from .adversarial_training import Adversarial, AdversarialTraining


@register("defense", "cat")
@dataclass(frozen=True)
class CAT(AdversarialTraining):
    """Curriculum adversarial training: the budget of the training's attack rises from epoch to epoch, from 0 to the largest.

    Formula: in epoch k of K every clip is replaced by the outcome of PGD with budget eps_k = eps (k - 1)/(K - 1) and step size
    alpha(eps_k), and the model learns to classify it; `direction=down` runs through the same budgets backwards. A single epoch
    has the whole budget. With eps = 12/255 and the recipe's 7 epochs the budgets are 0, 2, ..., 12 grey levels, those of `aat`.

    The paper raises the budget at every xi-th iteration and prints neither xi nor the increments: ours goes on a straight line,
    by the epoch. The released code starts at 1 grey level, the paper at 0, and so do we: the first epoch learns on clean clips.
    The last epoch's weights are kept, not the best one's: a curriculum that is cut off is another curriculum, and the best epoch
    of `down` under the largest budget may be its first, which is plain adversarial training. Each epoch's accuracies are
    in the card, so overfitting to attacks shows there. The learning rate falls over the epochs, so `up` meets its large budgets
    with small updates and `down` its small ones. The number of PGD steps is not printed in the paper: ours is 3.

    Source: Kinfu and Vidal 2022, Analysis and Extensions of Adversarial Training for Video Classification, sections 4.2 and 5.1,
    Eq. 5 and 7.
    """

    version: ClassVar[int] = 1
    recipe: ClassVar[dict[str, Any]] = {"epochs": 7, "lr": 2e-3, "keep": "last"}

    eps: float = param(12 / 255, help="largest budget of the training's attack", unit=PIXEL)
    direction: str = param("up", help="whether the budget rises from 0 or falls to 0", choices=("up", "down"))

    def __post_init__(self) -> None:
        check_eps("defense cat", "linf", self.eps)

    @property
    def hardest(self) -> float:
        """The largest budget."""
        return self.eps

    def budget(self, epoch: int, epochs: int) -> float:
        """Of epoch `epoch` of `epochs`, counted from 1."""
        done = (epoch - 1) / (epochs - 1) if epochs > 1 else 1.0
        return self.eps * (done if self.direction == "up" or epochs == 1 else 1 - done)

    def learner(self, model: Model) -> "Curriculum":
        """Starts from the model's weights."""
        return Curriculum(self.network(model), self)


class Curriculum(Adversarial):
    """Learns on attacked clips, with the budget of the epoch.

    Args:
        network: The model that learns.
        defense: Gives the budgets.
    """

    def __init__(self, network: Model, defense: CAT) -> None:
        super().__init__(network, defense)
        self._plan = defense

    def begin(self, epoch: int, epochs: int) -> None:
        """Takes the epoch's budget."""
        self.eps = self._plan.budget(epoch, epochs)
