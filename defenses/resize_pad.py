"""Random resizing and padding."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..benchmark.core.defense import Preprocessing
from ..benchmark.core.errors import InputError
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from .tta import resized

GREY = 0.5
"""What frames are padded with."""


@register("defense", "resize-pad")
@dataclass(frozen=True)
class ResizePad(Preprocessing):
    """Random resizing and padding: frames are enlarged by a random factor and set at a random place on grey.

    Formula: x' = resize(pad(resize(x, r), P, o), S): sides S become r, drawn from `smallest` S up to P - 1, then P = `largest`
    S by padding with 0.5 at a random offset o, then S again, which the model wants. r and o are drawn once per clip and pass,
    alike for all its frames.

    The defaults are the published sizes: 299 pixels become 310 to 330 and are padded to 331. The authors hand those 331
    pixels to an image network that takes any size; video models do not, hence the way back. Both resizings are bilinear
    (theirs: nearest). Padding is the zero of the range [-1, 1] in which their
    code pads, which is grey. The random flip and
    the auxiliary scores of their challenge code are left out: the paper has neither. Sides that are not equal keep their
    proportions up to a pixel. On clips of fewer than 24 pixels r cannot vary, only o.

    The gradient is exact; what is random is only which draw comes next (Athalye et al. 2018 leave no accuracy by EOT over 30).

    Source: Xie et al. 2018, Mitigating Adversarial Effects Through Randomization, section 3; 30 averaged draws as in the authors'
    code for the NIPS 2017 challenge.
    """

    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True

    smallest: float = param(310 / 299, help="smallest enlarged side, as a share of the clip's", low=1.0, high=2.0)
    largest: float = param(
        331 / 299, help="padded side, which the enlarged one stays below, as a share of the clip's", low=1.0, high=2.0
    )
    draws: int = param(30, help="draws whose scores are averaged", low=1)  # type: ignore[override]

    def __post_init__(self) -> None:
        if self.smallest > self.largest:
            problem = f"smallest={self.smallest:.12g} is above largest={self.largest:.12g}"
            raise InputError("defense resize-pad", problem, "smallest must be at most largest")

    def purify(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """The clips, each resized, padded and resized back by its own draw."""
        made = [self._one(clip, *numbers) for clip, numbers in zip(clips.split(1), rng.uniform((3,)).tolist(), strict=True)]
        return torch.cat(made)

    def _one(self, clip: Tensor, factor: float, down: float, right: float) -> Tensor:
        """A clip (1, C, T, H, W) by three numbers of [0, 1)."""
        sides = clip.shape[3:]
        padded = [round(self.largest * side) for side in sides]
        # Python's floats are doubles: a share just below 1 cannot round up to 1 here.
        height, width = (_chosen(round(self.smallest * side), high, factor) for side, high in zip(sides, padded, strict=True))
        top, left = int(down * (padded[0] - height + 1)), int(right * (padded[1] - width + 1))
        around = (left, padded[1] - width - left, top, padded[0] - height - top)
        return resized(F.pad(resized(clip, (height, width)), around, value=GREY), sides)


def _chosen(low: int, high: int, share: float) -> int:
    """A whole number of [low, high), `low` where there is none, by a number of [0, 1)."""
    return low + int(share * max(high - low, 1))
