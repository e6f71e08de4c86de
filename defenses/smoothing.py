"""Randomised smoothing."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..benchmark.core.interfaces import Scorer
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom


@register("defense", "smoothing")
@dataclass(frozen=True)
class Smoothing:
    """Randomised smoothing: Gaussian noise is added to the clip, scores of several draws are averaged.

    Formula: clip + sigma * N(0, 1), independent for every pixel of every frame and channel, in the model's input and before its
    normalisation. Noisy values may leave [0, 1], as in the definition: nothing is clipped.

    Re-implemented from the paper. Here the mean softmax score of the draws decides, without abstaining: the soft form, which an
    adaptive attack follows by its gradient. The paper's PREDICT (hard votes, abstains) and CERTIFY (a radius) are in vbench
    certify. A model that was not trained on such noise loses much of its clean accuracy.

    Source: Cohen, Rosenfeld and Kolter 2019, Certified Adversarial Robustness via Randomized Smoothing, section 3.
    """

    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True
    gradient: ClassVar[Literal["exact", "bpda", "none"]] = "exact"

    sigma: float = param(
        0.25, help="standard deviation of the noise; the paper's: 0.12, 0.25, 0.5, 1", unit="of [0, 1]", low=0.001
    )
    draws: int = param(32, help="noisy copies whose scores are averaged", low=1)

    def protect(self, model: Scorer) -> Scorer:
        """The model behind one draw of noise per clip and pass."""

        def smoothed(clips: Tensor, rng: ClipRandom) -> Tensor:
            return model(torch.add(clips, rng.normal(clips.shape[1:]), alpha=self.sigma), rng)

        return smoothed
