"""Smoothing over time by the median."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..benchmark.core.defense import Preprocessing
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from .frame_average import shifted


@register("defense", "temporal-median")
@dataclass(frozen=True)
class TemporalMedian(Preprocessing):
    """Temporal median: every pixel becomes the median of itself and its neighbours in time.

    Formula: x'_t = median of x_s over s = t - k to t + k, per pixel and channel; before the first frame stands the first again,
    after the last the last.

    Neighbours are frames of the clip that the model is given, which may lie far apart in the video. In a still scene,
    what lasts for k frames or fewer vanishes, but for the clip's first and last ones, which are held. A static perturbation
    passes unharmed. The gradient is exact: it goes to the frame that the median comes from, and where several have its value,
    to the one nearest to the frame itself.

    Source: the median filter along time, a baseline of the project's own; no paper is re-implemented.
    """

    version: ClassVar[int] = 1

    k: int = param(1, help="neighbours on either side", unit="frames", low=1)

    def purify(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """The clips, median over time."""
        window = shifted(clips, self.k)
        with torch.no_grad():
            median = _middle(window)
        # From the ends of the window to its centre, so that of equal values the nearest stays.
        order = sorted(range(len(window)), key=lambda place: -abs(place - self.k))
        made = window[order[0]]
        for place in order[1:]:
            made = torch.where(window[place] == median, window[place], made)
        return made


def _middle(values: list[Tensor]) -> Tensor:
    """The median of an odd number of tensors, element by element: they are sorted by exchanging neighbours.

    On windows of a few frames that is several times faster than `torch.median`.
    """
    values = list(values)
    for turn in range(len(values)):
        for low in range(turn % 2, len(values) - 1, 2):
            pair = values[low], values[low + 1]
            values[low], values[low + 1] = torch.minimum(*pair), torch.maximum(*pair)
    return values[len(values) // 2]
