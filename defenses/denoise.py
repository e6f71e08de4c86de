"""Denoised smoothing."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..benchmark.core.interfaces import Model, Scorer
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.trained import Learner, Trained
from .dncnn import DnCNN


@register("defense", "denoise")
@dataclass(frozen=True)
class Denoise(Trained):
    """Denoised smoothing: noise is added to the clip, a trained denoiser takes it out, scores of several draws are averaged.

    Formula: f(D(x + sigma * N(0, 1))), where f is the model as it is and D a residual denoiser, D(z) = z - R(z), that looks at
    frame after frame. D alone is trained, to minimise E|D(x + noise) - x|^2 (`mse`) or the cross-entropy between
    f(D(x + noise)) and the class that f gives x (`stability`); `mse-stability` is the paper's Stab + MSE: the first half of the
    epochs by the one, the rest by the other.

    Re-implemented from the paper. The paper classifies images; the shuffling paper puts it before video networks without saying
    how, so that the denoiser is 2-D here and the noise independent for every pixel of every frame. The paper's DnCNN has depth
    17 and width 64; ours is small, because a clip has many frames. Stability alone is content with any output that the model
    classifies as it does the clip, however unlike the clip it is. As with smoothing, the mean softmax score of the draws
    decides, without abstaining. A checkpoint belongs to one sigma and serves any number of draws; the epoch that is kept has
    the best accuracy on noisy validation clips.

    Source: Salman et al. 2020, Denoised Smoothing: A Provable Defense for Pretrained Classifiers, section 3; denoiser: Zhang et
    al. 2017, Beyond a Gaussian Denoiser, section 3. Before video networks: Hwang et al. 2024, Temporal Shuffling, Table 5.
    """

    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True
    recipe: ClassVar[dict[str, Any]] = {"epochs": 6, "lr": 5e-3, "weight_decay": 1e-4, "keep": "best"}
    deployment: ClassVar[tuple[str, ...]] = ("draws",)

    sigma: float = param(
        0.25, help="standard deviation of the noise; the paper's: 0.12, 0.25, 0.5, 1", unit="of [0, 1]", low=0.001
    )
    objective: str = param("mse-stability", help="what D is trained for", choices=("mse", "stability", "mse-stability"))
    depth: int = param(3, help="convolutions of the denoiser; the paper's: 17", low=2)
    width: int = param(16, help="channels of the denoiser; the paper's: 64", low=1)
    draws: int = param(32, help="noisy copies whose scores are averaged", low=1)  # type: ignore[assignment]

    def network(self, model: Model) -> DnCNN:
        """The denoiser, on the model's device."""
        device = next(iter(model.parameters()), torch.empty(0)).device
        return DnCNN(self.depth, self.width).to(device)

    def learner(self, model: Model) -> "Denoiser":
        """Learns in front of the model, which stays as it is."""
        return Denoiser(self, model)

    def guard(self, network: nn.Module, model: Scorer) -> Scorer:
        """What comes next, behind one draw of noise and the denoiser."""
        return lambda clips, rng: model(network(self.noisy(clips, rng)), rng)

    def noisy(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """Clips with noise, not cut to [0, 1]."""
        return torch.add(clips, rng.normal(clips.shape[1:]), alpha=self.sigma)


class Denoiser(Learner):
    """Learns to take noise out of clips.

    Args:
        defense: Says what noise, and what for.
        model: The classifier.
    """

    def __init__(self, defense: Denoise, model: Model) -> None:
        super().__init__(defense.network(model))
        self.defense, self.objective = defense, defense.objective
        # Closures, so that the classifier is no part of what learns nor of its state.
        self.classify = lambda clips: model(clips)
        self.deployed = defense.guard(self.network, lambda clips, rng: model(clips))

    def begin(self, epoch: int, epochs: int) -> None:
        """The objective of the epoch."""
        if self.defense.objective == "mse-stability":
            self.objective = "mse" if 2 * epoch <= epochs else "stability"

    def loss(self, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Mean squared error per number, or cross-entropy to what the model says of the clean clips; labels are not looked at."""
        made = self.network(self.defense.noisy(clips, rng))
        if self.objective == "mse":
            return F.mse_loss(made, clips)
        with torch.no_grad():
            said = self.classify(clips).argmax(dim=1)
        return F.cross_entropy(self.classify(made), said)

    def score(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """Logits of the whole defence, one draw."""
        return self.deployed(clips, rng)
