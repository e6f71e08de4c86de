"""Adversarial perturbation elimination with a GAN, in three dimensions."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..benchmark.core.budget import check_eps
from ..benchmark.core.interfaces import Model, Scorer
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.trained import Learner, Trained, Trial
from .adversarial_training import pgd
from .generator import Discriminator, Generator

RESTORING, FOOLING = 0.7, 0.3
"""Weights of the two terms of Eq. 12, gamma_1 and gamma_2, of the released code."""


@register("defense", "ape-gan")
@dataclass(frozen=True)
class ApeGan(Trained):
    """3-D APE-GAN: a generator makes the clip anew without its perturbation, the model as it is looks at what it made.

    Formula: f(G(x)); over weights of the generator G, the minimum of 0.7 ||G(x + d) - x||^2/(T W H) - 0.3 log D(G(x + d)), where
    the discriminator D minimises -log D(x) - log(1 - D(G(x + d))). The perturbation d is PGD's from a random start with step
    size eps, and eps rises from epoch to epoch, from 0 in the first to the largest in the last. It is crafted on the model alone;
    `through=true` is the paper's equation, which goes through the generator.

    The paper says of its Table 3, whose numbers are the known ones, that the generator is a pre-processing step and not
    attacked; so the default is not either, and such a defence is expected to fail when it is (`adaptive`, to be reported beside
    `oblivious`). Eq. 11 as printed, log D(x) - log D(G(x + d)), has no bound; the usual cross-entropy stands in its place. The
    released networks take 16 frames of 112 x 112 pixels alone; these take any size, and their width is a quarter of the published
    64. G learns with the recipe's AdamW, and betas (0.9, 0.999), where the paper has Adam and (0.5, 0.999); D has the published
    Adam, learning rate 2e-4, and learns once per two updates of G. The paper prints neither the number of PGD steps nor the
    increments of eps: ours are 2 and equal. The last epoch's weights are kept: an earlier one has seen no large eps.

    Source: Kinfu and Vidal 2022, Analysis and Extensions of Adversarial Training for Video Classification, section 4.3, Eq. 9 to
    12, and Table 3; in two dimensions Jin et al. 2019, APE-GAN: Adversarial Perturbation Elimination with GAN.
    """

    version: ClassVar[int] = 1
    recipe: ClassVar[dict[str, Any]] = {"epochs": 6, "lr": 2e-3, "keep": "last"}

    eps: float = param(12 / 255, help="largest budget of the training's attack", unit=PIXEL)
    steps: int = param(2, help="gradient steps of the training's attack", low=1)
    through: bool = param(False, help="whether the training's attack goes through the generator, as in Eq. 10")
    width: int = param(16, help="channels of the networks' first convolution; the published 64", low=1)

    def __post_init__(self) -> None:
        check_eps("defense ape-gan", "linf", self.eps)

    @property
    def trial(self) -> Trial:
        """PGD with the largest budget, through generator and model."""
        return Trial.pgd(self.eps, steps=5)

    def budget(self, epoch: int, epochs: int) -> float:
        """Of epoch `epoch` of `epochs`, counted from 1; a single epoch has the whole one."""
        return self.eps * (epoch - 1) / (epochs - 1) if epochs > 1 else self.eps

    def network(self, model: Model) -> Generator:
        """The generator, on the model's device."""
        return Generator(self.width).to(model.device)

    def learner(self, model: Model) -> "Eliminator":
        """Learns in front of the model, which stays as it is."""
        return Eliminator(self, model)

    def guard(self, network: nn.Module, model: Scorer) -> Scorer:
        """What comes next, behind the generator."""
        return lambda clips, rng: model(network(clips), rng)


class Eliminator(Learner):
    """A generator that learns to take perturbations out.

    Args:
        defense: Says what is attacked, and how.
        model: The classifier, frozen.
    """

    def __init__(self, defense: ApeGan, model: Model) -> None:
        super().__init__(defense.network(model))
        self.defense, self.eps = defense, defense.eps
        self.rival = Rival(defense.width).to(model.device)
        # Closures, so that the classifier is no part of what learns nor of its state.
        self.classify: Scorer = lambda clips, rng: model(clips)
        self.deployed = defense.guard(self.network, self.classify)

    def begin(self, epoch: int, epochs: int) -> None:
        """Takes the epoch's budget."""
        self.eps = self.defense.budget(epoch, epochs)

    def attacked(self, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """The clips to learn from."""
        scorer = self.deployed if self.defense.through else self.classify
        return pgd(scorer, self.network, clips, labels, rng, self.eps, self.eps, self.defense.steps)

    def loss(self, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Eq. 12, after the discriminator's turn."""
        made = self.network(self.attacked(clips, labels, rng))
        self.rival.learn(clips, made.detach())
        return self.rival.restoring(made, clips)

    def score(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """Logits of the whole defence."""
        return self.deployed(clips, rng)


class Rival(nn.Module):
    """The discriminator, which learns by an optimiser of its own, and what it makes the generator learn.

    Args:
        width: Channels of its first convolution.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.judge = Discriminator(width)
        self.optimizer = torch.optim.Adam(self.judge.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.calls = 0

    def get_extra_state(self) -> dict[str, Any]:
        """What a killed training needs besides the weights."""
        return {"optimizer": self.optimizer.state_dict(), "calls": self.calls}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Takes it back."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.calls = state["calls"]

    def learn(self, true: Tensor, made: Tensor) -> None:
        """One update at the first call, the third and so on (Eq. 11), because the generator has two updates per one of these.

        Args:
            true: Clean clips (N, 3, T, H, W).
            made: The generator's, without gradient.
        """
        self.calls += 1
        if self.calls % 2 == 0:
            return
        self.judge.requires_grad_(True)
        self.optimizer.zero_grad(set_to_none=True)
        self.mistake(true, made).backward()
        self.optimizer.step()

    def mistake(self, true: Tensor, made: Tensor) -> Tensor:
        """What the discriminator minimises: the mean of -log D(true) - log(1 - D(made))."""
        return F.softplus(-self.judge(true)).mean() + F.softplus(self.judge(made)).mean()

    def restoring(self, made: Tensor, clean: Tensor) -> Tensor:
        """What the generator minimises (Eq. 12): 0.7 of the squared error, summed over the channels, minus 0.3 log D(made).

        Args:
            made: The generator's clips (N, 3, T, H, W).
            clean: What they should be.
        """
        self.judge.requires_grad_(False)
        error = (made - clean).square().sum(dim=1).mean()
        return RESTORING * error + FOOLING * F.softplus(-self.judge(made)).mean()
