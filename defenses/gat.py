"""Generative adversarial training."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from ..benchmark.core.budget import check_eps
from ..benchmark.core.errors import InputError
from ..benchmark.core.interfaces import Model, Scorer
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.trained import Learner, Trained, Trial
from .adversarial_training import pgd
from .ape_gan import Rival
from .generator import Generator


@register("defense", "gat")
@dataclass(frozen=True)
class GAT(Trained):
    """Generative adversarial training: a generator makes the clip anew, the classifier behind it is trained on attacked clips.

    Formula: f(G(x)). End to end, f and the generator G minimise 0.7 ||G(x + d) - x||^2/(T W H) - 0.3 log D(G(x + d)) +
    CE(f(G(x + d)), y) together, against the discriminator D of `ape-gan`; `variant=frozen` has f alone minimise
    CE(f(G(x + d)), y). The perturbation d is PGD's through the whole of f(G(x)), from a random start with step size eps.

    Either starts from a trained G, as the released code does: in the first half of the epochs G learns as `ape-gan` does, with
    perturbations crafted on the model alone, but with eps from the start; f stands still meanwhile. So a checkpoint needs no
    other one. The paper says that in its Table 3 the generator is not attacked: that is the threat `grey-box`, crafted on f
    alone; `adaptive` attacks f(G(x)). The released code has its end-to-end part switched off, in which D would be shown attacked
    clips as true ones; here it is as in the equation. Networks, optimisers and what else differs: see `ape-gan`. f and G share
    the recipe's optimiser. The last epoch's weights are kept: those of the first half are no adversarial training.

    Source: Kinfu and Vidal 2022, Analysis and Extensions of Adversarial Training for Video Classification, section 4.3, Eq. 13
    and 14, and Table 3.
    """

    version: ClassVar[int] = 1
    replaces: ClassVar[bool] = True
    recipe: ClassVar[dict[str, Any]] = {"epochs": 6, "lr": 2e-3, "keep": "last"}

    variant: str = param(
        "end-to-end", help="what learns after the generator: all (Eq. 14), or f alone (Eq. 13)", choices=("end-to-end", "frozen")
    )
    eps: float = param(8 / 255, help="budget of the training's attack", unit=PIXEL)
    steps: int = param(2, help="gradient steps of the training's attack", low=1)
    width: int = param(16, help="channels of the networks' first convolution; the published 64", low=1)

    def __post_init__(self) -> None:
        check_eps("defense gat", "linf", self.eps)

    @property
    def trial(self) -> Trial:
        """PGD with the training's budget, through generator and classifier."""
        return Trial.pgd(self.eps, steps=5)

    def network(self, model: Model) -> "Purified":
        """A generator before a copy of the model."""
        return Purified(Generator(self.width).to(model.device), copy.deepcopy(model))

    def learner(self, model: Model) -> "Generative":
        """Starts from the model's weights."""
        return Generative(self, model)

    def guard(self, network: nn.Module, model: Scorer) -> Scorer:
        """Generator and classifier answer."""
        return lambda clips, rng: network(clips)

    def inside(self, network: nn.Module) -> Model:
        """The classifier behind the generator."""
        assert isinstance(network, Purified)
        return network.classifier


class Purified(nn.Module):
    """A generator and the classifier that looks at what it makes.

    Args:
        generator: The generator.
        classifier: The classifier.
    """

    def __init__(self, generator: Generator, classifier: Model) -> None:
        super().__init__()
        self.generator, self.classifier = generator, classifier

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (N, K) of clips (N, 3, T, H, W)."""
        return self.classifier(self.generator(clips))


class Generative(Learner):
    """First a generator that learns to take perturbations out, then adversarial training with it.

    Args:
        defense: Says what learns, and the attack.
        model: The classifier to start from.
    """

    network: Purified

    def __init__(self, defense: GAT, model: Model) -> None:
        super().__init__(defense.network(model))
        self.defense, self.generating = defense, False
        self.rival = Rival(defense.width).to(model.device)

    def begin(self, epoch: int, epochs: int) -> None:
        """In the first half of the epochs the classifier stands still; after it the generator does where it is to be frozen.

        Raises:
            InputError: There is no first half.
        """
        if epochs < 2:
            raise InputError("epochs", f"{epochs} has no half for the generator", "gat needs 2 or more")
        self.generating = 2 * epoch <= epochs
        still = self.network.classifier if self.generating else self.network.generator
        if self.generating or self.defense.variant == "frozen":
            still.eval().requires_grad_(False)

    def attacked(self, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """The clips to learn from: attacked through everything, or the classifier alone while the generator learns."""
        victim, eps = self.network.classifier if self.generating else self.network, self.defense.eps

        def scorer(clips: Tensor, rng: ClipRandom) -> Tensor:
            return victim(clips)

        return pgd(scorer, self.network, clips, labels, rng, eps, eps, self.defense.steps)

    def loss(self, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Eq. 12 while the generator learns alone, Eq. 13 while the classifier does, else the minimum of Eq. 14."""
        made = self.network.generator(self.attacked(clips, labels, rng))
        classifying = clips.new_zeros(()) if self.generating else F.cross_entropy(self.network.classifier(made), labels)
        if not self.generating and self.defense.variant == "frozen":
            return classifying
        self.rival.learn(clips, made.detach())
        return self.rival.restoring(made, clips) + classifying
