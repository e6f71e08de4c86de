"""A border around the frames."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..benchmark.core.interfaces import InputSpec
from ..benchmark.core.masks import border_mask, border_thickness
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from .masked_pgd import Region


@register("attack", "frame-border")
@dataclass(frozen=True)
class FrameBorder(Region):
    """A border around the frames, optimised by projected gradient descent.

    Formula: x <- P(x + step * m * sign(grad loss)), where the mask m is 1 on the border and 0 inside, and P brings the clip into
    the L-inf eps-ball and [0, 1]; the start is uniform noise on the border. Its thickness t, pixels, is the whole part of the
    smaller root of 4 t^2 - 2 (W + H) t + ratio W H = 0; the area that this comes to is reported, and a thickness of 0 refused.

    `per_frame=nothing` paints a picture frame: the same pixel values in all frames, which are the mean over frames of what they
    show and go along the sign of the gradient summed over them; with eps < 1 each frame shows it as far as its ball allows.

    Source: Zajac et al. 2019, Adversarial Framing for Image and Video Classification; the thickness as in Armory's video
    scenarios; Kinfu and Vidal 2022, Analysis and Extensions of Adversarial Training for Video Classification.
    """

    version: ClassVar[int] = 1

    per_frame: str = param("pattern", help="what differs between frames: nothing or the pattern", choices=("nothing", "pattern"))

    def check(self, input: InputSpec, classes: int) -> None:
        """Refuses a border that is thinner than a pixel."""
        super().check(input, classes)
        border_thickness(self.owner, (input.size, input.size), self.ratio)

    @property
    def sticker(self) -> bool:
        """Whether the border shows the same pixel values in all frames."""
        return self.per_frame == "nothing"

    def mask(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """The border, (N, 1, 1, H, W)."""
        height, width = clips.shape[-2:]
        return border_mask(clips, border_thickness(self.owner, (height, width), self.ratio))
