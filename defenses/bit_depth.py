"""Fewer levels per pixel."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ..benchmark.core.defense import Preprocessing
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom


@register("defense", "bit-depth")
@dataclass(frozen=True)
class BitDepth(Preprocessing):
    """Bit-depth reduction: every channel is rounded to a few levels before the model sees it.

    Formula: x' = round((2^b - 1) x) / (2^b - 1), b bits.

    Levels are spread from 0 to 1 and rounded to, as in feature squeezing; the code of Athalye et al. for Guo's defence cuts
    the lower bits off instead, which darkens the clip. The default is Guo's. 8 bits, ART's default, change no decoded video,
    only what an attack put between its levels. The gradient is a surrogate, that of the identity: that of the rounding is 0.

    Source: Xu et al. 2018, Feature Squeezing, section 3.1; Guo et al. 2018, Countering Adversarial Images using Input
    Transformations, section 3; Athalye et al. 2018, Obfuscated
    Gradients Give a False Sense of Security, section 5.
    """

    version: ClassVar[int] = 1
    gradient: ClassVar[Literal["exact", "bpda", "none"]] = "bpda"

    bits: int = param(3, help="bits per channel and pixel; usual are 5, 4 and 3", low=1, high=8)

    def purify(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """The clips on 2^bits levels."""
        steps = 2**self.bits - 1
        return (clips.clamp(0, 1) * steps).round() / steps
