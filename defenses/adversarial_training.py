"""What adversarial trainings share: the attack on the network that learns, and the paper's step sizes."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from ..benchmark.core.ascent import Sign, ascend
from ..benchmark.core.best import Best
from ..benchmark.core.budget import Ball
from ..benchmark.core.interfaces import Model, Scorer
from ..benchmark.core.losses import cross_entropy
from ..benchmark.core.params import param
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.trained import Learner, Retrained, Trial
from ..benchmark.core.whitebox import WhiteBox, crafted


def step_size(eps: float, rule: str) -> float:
    """The step of the training's attack in pixel units, by the rules of Table 1.

    Args:
        eps: Budget, as a fraction of the pixel range.
        rule: `eps` (alpha = eps), `optimal` (alpha = 0.2 (eps + 1), in grey levels; section 3.1) or `half` of that.

    Returns:
        The step, as a fraction of the pixel range.
    """
    optimal = 0.2 * (255 * eps + 1) / 255
    return {"eps": eps, "optimal": optimal, "half": optimal / 2}[rule]


def pgd(
    scorer: Scorer, net: nn.Module, clips: Tensor, labels: Tensor, rng: ClipRandom, eps: float, step: float, steps: int
) -> Tensor:
    """Clips after projected gradient ascent on the cross-entropy (Eq. 7), from a random start; the network stands still.

    Args:
        scorer: What is attacked.
        net: The network in it.
        clips: (N, 3, T, H, W) in [0, 1].
        labels: (N,).
        rng: The clips' streams.
        eps: L-inf budget; at 0 the clips come back as they are.
        step: Step size.
        steps: Steps.
    """
    if eps == 0:
        return clips

    def craft(target: WhiteBox) -> Tensor:
        best = Best(clips)
        ascend(
            target,
            Ball(clips, "linf", eps),
            labels,
            rng,
            best,
            loss=cross_entropy,
            steps=steps,
            move=Sign(step),
            random_start=True,
            keep="last",
        )
        return best.clips

    return crafted(scorer, net, craft)


@dataclass(frozen=True)
class AdversarialTraining(Retrained):
    """Base of defences that train on clips that an attack on the network itself has just made."""

    recipe: ClassVar[dict[str, Any]] = {"epochs": 6, "lr": 2e-3, "keep": "best"}

    rule: str = param(
        "eps", help="step size: eps, optimal (0.2 (255 eps + 1)/255) or half of that", choices=("eps", "optimal", "half")
    )
    steps: int = param(3, help="gradient steps of the training's attack", low=1)

    @property
    @abstractmethod
    def hardest(self) -> float:
        """The largest budget that it trains with."""

    @property
    def trial(self) -> Trial:
        """PGD of ten steps with the largest budget."""
        return Trial.pgd(self.hardest, steps=10)

    def learner(self, model: Model) -> "Adversarial":
        """Starts from the model's weights."""
        return Adversarial(self.network(model), self)


class Adversarial(Learner):
    """Learns on attacked clips alone (Eq. 5).

    Attributes:
        eps: Budget of the training's attack, as a fraction of the pixel range; the largest one unless a subclass moves it.

    Args:
        network: The model that learns.
        defense: Gives largest budget, step rule and steps.
    """

    def __init__(self, network: Model, defense: AdversarialTraining) -> None:
        super().__init__(network)
        self.defense, self.eps = defense, defense.hardest

    def against(self, eps: float, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """The clips after PGD with a budget, through the whole defence."""
        return pgd(self.score, self.network, clips, labels, rng, eps, step_size(eps, self.defense.rule), self.defense.steps)

    def attacked(self, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """The clips to learn from."""
        return self.against(self.eps, clips, labels, rng)

    def loss(self, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Mean cross-entropy of attacked clips."""
        return F.cross_entropy(self.network(self.attacked(clips, labels, rng)), labels)
