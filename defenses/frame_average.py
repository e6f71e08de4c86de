"""Smoothing over time by the mean."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..benchmark.core.defense import Preprocessing
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom


@register("defense", "frame-average")
@dataclass(frozen=True)
class FrameAverage(Preprocessing):
    """Frame averaging: every frame becomes the mean of itself and its neighbours in time.

    Formula: x'_t = mean of x_s over s = t - k to t + k; before the first frame stands the first again, after the last the last.

    Neighbours are frames of the clip that the model is given, which may lie far apart in the video. The gradient is exact.
    Whatever is alike on all frames, such as a static perturbation, passes unharmed.

    Source: the mean filter along time, a baseline of the project's own; no paper is re-implemented.
    """

    version: ClassVar[int] = 1

    k: int = param(1, help="neighbours on either side", unit="frames", low=1)

    def purify(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """The clips, averaged over time."""
        first, *others = shifted(clips, self.k)
        total = first.clone()
        for other in others:
            total = total + other
        return total / (2 * self.k + 1)


def shifted(clips: Tensor, k: int) -> list[Tensor]:
    """Clips (N, C, T, H, W) k frames early up to k frames late, 2k + 1 of them; the first and the last frame are held."""
    frames = clips.shape[2]
    early, late = clips[:, :, :1], clips[:, :, -1:]
    held = torch.cat([*[early] * k, clips, *[late] * k], dim=2)
    return [held[:, :, start : start + frames] for start in range(2 * k + 1)]
