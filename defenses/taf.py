"""Temporal adversarial fine-tuning."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..benchmark.core.ascent import Sign, ascend
from ..benchmark.core.best import Best
from ..benchmark.core.branches import Branches
from ..benchmark.core.budget import Ball, check_eps
from ..benchmark.core.cam import WithFeatures, asked_classes, attention
from ..benchmark.core.interfaces import Model
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.trained import Learner, Retrained, Trial
from ..benchmark.core.whitebox import WhiteBox, crafted


@register("defense", "taf")
@dataclass(frozen=True)
class TAF(Retrained):
    """Temporal adversarial fine-tuning: the model also learns from clips that pull its attention to the frames it neglects.

    Formula: min over weights of E[a CE(f(x), y) + (1 - a) CE(g(x_K), y)]. x_K comes of K steps x <- P(x + step sign(grad L)), L
    the mean of the class activation maps over the N time steps that the model attends to least, as in attack ta, for a random
    wrong class where the model is right and the true class where it is wrong. f and g share all weights but the batch norms':
    x_K is made through f and learned from through g, the adversarial path, which is dropped in the end. What stays is the plain
    network: a checkpoint is also one of the model.

    It is meant for accuracy, on clean and on corrupted clips; its paper claims nothing against attacks. It needs a convolutional
    network. The appendix's listing contradicts Eq. 7 (x where the equation has x_K, and no step size); we follow the equation.
    With N = all, as published, nothing is selected. Every clip is augmented, as for the paper's Diving48; on Something-Something
    V1 it found it a little better to augment those alone that the model gets wrong (Table 6b). The paper fine-tunes for 15 epochs
    from the last learning rate of each model's first training, which it does not print; ours is one for all models and falls
    along a cosine. It selects no epoch, so the last one's weights are kept, and the trial is only shown. Ours: x_K is made in
    eval mode, with the statistics that the clean path is deployed with. Re-implemented from the paper, whose code is not to be
    had.

    Source: Duan et al. 2023, Improve Video Representation with Temporal Adversarial Augmentation (TAF), section 3, Eq. 2 to 7.
    """

    version: ClassVar[int] = 1
    recipe: ClassVar[dict[str, Any]] = {"epochs": 6, "lr": 5e-4, "keep": "last"}

    alpha: float = param(0.7, help="share a of the clean clips in the loss", low=0, high=1)
    eps: float = param(64 / 255, help="L-inf budget of the augmentation", unit=PIXEL)
    step: float = param(32 / 255, help="its step size", unit=PIXEL, low=0)
    steps: int = param(1, help="its gradient steps K", low=1)
    frames: int | None = param(None, help="least attended time steps N that it raises; none: all, as published", low=1)

    def __post_init__(self) -> None:
        check_eps("defense taf", "linf", self.eps)

    @property
    def trial(self) -> Trial:
        """Noise, the first corruption of Table 3."""
        return Trial("corruption", "gaussian_noise:table=tiny-64")

    def learner(self, model: Model) -> "TwoPaths":
        """Starts from the model's weights, on both paths."""
        return TwoPaths(self.network(model), self)


class TwoPaths(Learner):
    """Learns from clips through the clean path, and from augmented ones through the adversarial path.

    Args:
        network: The model that learns; outside of `loss` it is the clean path.
        defense: Gives the parameters.
    """

    def __init__(self, network: Model, defense: TAF) -> None:
        super().__init__(network)
        self.defense, self.branches = defense, Branches(network, 2)

    def learning(self) -> list[torch.nn.Parameter]:
        """All weights, the adversarial path's norms among them."""
        return list(self.parameters())

    def switch(self, training: bool) -> None:
        """Both paths."""
        self.train(training).requires_grad_(training)

    def loss(self, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Eq. 7."""
        augmented = self.augmented(clips, labels, rng)
        clean = F.cross_entropy(self.network(clips), labels)
        with self.branches.use(1):
            adversarial = F.cross_entropy(self.network(augmented), labels)
        return self.defense.alpha * clean + (1 - self.defense.alpha) * adversarial

    def augmented(self, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """x_K (Eq. 6), through the clean path as it stands.

        Raises:
            InputError: The model has no feature maps over space and time, or fewer time steps than are asked for.
        """
        given, best = self.defense, Best(clips)

        def loss(logits: Tensor, pair: Tensor, maps: Tensor) -> Tensor:
            return attention(logits, pair, maps, given.frames, "defense taf")

        def craft(target: WhiteBox) -> Tensor:
            pair = torch.stack((labels, asked_classes(target.logits(clips, rng), labels, rng)), dim=1)
            ball, move = Ball(clips, "linf", given.eps), Sign(given.step)
            ascend(target, ball, pair, rng, best, loss=WithFeatures(loss), steps=given.steps, move=move, keep="last")
            return best.clips

        return crafted(self.score, self.network, craft)
