"""JPEG compression of every frame."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..benchmark.core import storage
from ..benchmark.core.defense import Preprocessing
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom


@register("defense", "jpeg")
@dataclass(frozen=True)
class Jpeg(Preprocessing):
    """JPEG: every frame is compressed and decoded by itself before the model sees it.

    Formula: x' = decode(encode(round(255 x), quality)) / 255 per frame, by libjpeg with its standard tables and 4:2:0 colour.

    The default is the quality of Guo et al. Pixels are rounded to the nearest of 256 levels; the code of Athalye et al. and
    ART cut the rest off. The gradient is a surrogate, that of the identity: JPEG has none, and Athalye et al. leave no
    accuracy by it.

    Source: Guo et al. 2018, Countering Adversarial Images using Input Transformations, section 3; Athalye et al. 2018, Obfuscated
    Gradients Give a False Sense of Security, section 5.
    """

    version: ClassVar[int] = 1
    gradient: ClassVar[Literal["exact", "bpda", "none"]] = "bpda"

    quality: int = param(75, help="libjpeg's quality; lower is coarser, usual are 75, 50 and 25", low=1, high=100)

    def purify(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """The clips as their frames come back from JPEG."""
        return storage.jpeg(to_bytes(clips), self.quality).to(clips.dtype) / 255


def to_bytes(clips: Tensor) -> Tensor:
    """Clips in [0, 1] as the nearest uint8 levels; what lies outside becomes 0 or 255."""
    return (clips * 255).round().clamp(0, 255).to(torch.uint8)
