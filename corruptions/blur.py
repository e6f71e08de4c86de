"""Blurs: Gaussian, out of focus, frosted glass, motion, zoom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..benchmark.core.corruption import Pixels
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from .blur_ops import HAIR, defocus, gaussian, motion_blur_frames, planes_of, shuffled, soft_disc, zoomed

TURN = 100.0
"""Degrees per second that a drifting direction turns: 4 per frame at 25 frames per second, as in ImageNet-P."""


@register("corruption", "gaussian_blur")
@dataclass(frozen=True)
class GaussianBlur(Pixels):
    """Gaussian blur of every frame.

    Formula: each channel convolved with a Gaussian of standard deviation sigma pixels, cut at int(4 sigma + 0.5) pixels, the
    edge repeated.

    A validation corruption of ImageNet-C, not among its 15 common ones. In pixels: milder on larger frames.

    Source: Hendrycks and Dietterich 2019, make_imagenet_c.py (scikit-image's `gaussian`); tiny-64 from make_tinyimagenet_c.py,
    which ROSE 2022's generator also uses; imagecorruptions has ImageNet-C's numbers.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": (1.0, 2.0, 3.0, 4.0, 6.0),
        "tiny-64": (0.5, 0.75, 1.0, 1.25, 1.5),
        "rose2022": (0.5, 0.75, 1.0, 1.25, 1.5),
        "imagecorruptions": (1.0, 2.0, 3.0, 4.0, 6.0),
    }
    modes: ClassVar[tuple[str, ...]] = ("static",)

    temporal: str = param("static", help="static: nothing is drawn")

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See `Corruption`."""
        return gaussian(planes_of(clips), setting, self.truncate).view(clips.shape)


@register("corruption", "defocus_blur")
@dataclass(frozen=True)
class DefocusBlur(Pixels):
    """Out of focus: every point becomes a disc.

    Formula: each channel convolved with the disc x^2 + y^2 <= r^2 of mean weight, r in pixels, itself softened by a Gaussian of
    3 x 3 pixels (5 x 5 where r > 8) of the setting's second number; the border mirrored without its last pixel.

    The reference softens the disc within a grid of 17 x 17 pixels, or 2 r + 1 where r > 8, that mirrors at its border: at
    severities 4 and 5 of the 224-pixel table the kernel adds up to 1.013 and 1.011 and brightens the frame. Kept. In pixels:
    milder on larger frames.

    Source: Hendrycks and Dietterich 2019, make_imagenet_c.py; tiny-64 from make_tinyimagenet_c.py; ROSE 2022, Schiappa et al.
    2023 and imagecorruptions have ImageNet-C's numbers.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "tiny-64": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        "rose2022": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "schiappa2023": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "imagecorruptions": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    }
    modes: ClassVar[tuple[str, ...]] = ("static",)

    temporal: str = param("static", help="static: nothing is drawn")

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See `Corruption`."""
        return defocus(planes_of(clips), soft_disc(*setting), self.truncate).view(clips.shape)


@register("corruption", "glass_blur")
@dataclass(frozen=True)
class GlassBlur(Pixels):
    """Seen through frosted glass: pixels take over those of neighbours.

    Formula: Gaussian blur of sigma pixels, cut to whole levels; then for each sweep, pixel after pixel from the lower right to
    the upper left, the pixel becomes a copy of the one dx, dy away as it is by then, both uniform in -d..d-1; then the blur
    again. Settings are (sigma, d, sweeps).

    The paper means to swap the two pixels; its code only copies one way, and this does what its code does. Severity 2 is
    no stronger than 1, and 4 is weaker than 3. `iid` draws anew for every frame, as the reference does for every picture.

    Source: Hendrycks and Dietterich 2019, make_imagenet_c.py; tiny-64 from make_tinyimagenet_c.py; imagecorruptions has
    ImageNet-C's numbers.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        "tiny-64": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        "imagecorruptions": ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    }

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See `Corruption`."""
        _, margin, sweeps = setting
        shape = (self.draws(clips.shape[2]), *(max(side - 2 * margin, 0) for side in clips.shape[3:]))
        # One draw gives the offsets of all sweeps, as the digits of a number below 4097.
        codes = (rng.uniform(shape) * (2 * margin) ** (2 * sweeps)).to(torch.int16)
        return self.frosted(clips, setting, codes)

    def frosted(self, clips: Tensor, setting: tuple[float, int, int], codes: Tensor) -> Tensor:
        """`change` with given draws.

        Args:
            clips: uint8 (N, 3, T, H, W).
            setting: Sigma, d, sweeps.
            codes: int16 (N, T or 1, H - 2 d, W - 2 d), for the pixels that move: digits to the base 2 d, the lowest first: dx + d
                and dy + d of the first sweep, then of the next.
        """
        sigma, margin, sweeps = setting
        steps = self.steps(margin, sweeps, clips.shape[4])
        moved = shuffled(gaussian(planes_of(clips), sigma, truncate=True), codes, steps, margin)
        return gaussian(moved, sigma, self.truncate).view(clips.shape)

    @staticmethod
    def steps(margin: int, sweeps: int, width: int) -> NDArray[np.int32]:
        """How far in memory the neighbour is that a code means, for frames `width` wide: (sweeps, codes)."""
        base = 2 * margin
        digits = np.arange(base ** (2 * sweeps)) // base ** np.arange(2 * sweeps)[:, None] % base - margin
        return (digits[1::2] * width + digits[::2]).astype(np.int32)


@register("corruption", "motion_blur")
@dataclass(frozen=True)
class MotionBlur(Pixels):
    """Camera motion during the exposure: every frame smeared along a line.

    Formula: sum over i = 0..2 r of k_i times the frame read at (i cos a, i sin a) pixels, rounded to whole pixels, half down;
    k_i proportional to exp(-i^2 / 2 sigma^2); the edge repeated; a uniform in -45..45 degrees. Settings are (r, sigma).

    `iid`, the reference, draws a for every frame, which flickers; `static` draws it once per clip; `drift` turns it by 100
    degrees per second, to and fro between -45 and 45. It differs from ImageMagick by one grey level at most; imagecorruptions
    drops terms that lie further away than the frame is large (frames of less than 2 r + 1 pixels), which darkens. In pixels:
    milder on larger frames.

    Source: Hendrycks and Dietterich 2019, make_imagenet_c.py (ImageMagick's MotionBlur); tiny-64 from make_tinyimagenet_c.py;
    ROSE 2022, Schiappa et al. 2023 and imagecorruptions have ImageNet-C's numbers; drift after ImageNet-P.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
        "tiny-64": ((10, 1.0), (10, 1.5), (10, 2.0), (10, 2.5), (12, 3.0)),
        "rose2022": ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
        "schiappa2023": ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
        "imagecorruptions": ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
    }
    modes: ClassVar[tuple[str, ...]] = ("iid", "static", "drift")

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See `Corruption`."""
        angles = self.angles(clips.shape[2], rng, rate)[:, None].expand(-1, 3, -1)
        radius, sigma = setting
        blurred = motion_blur_frames(planes_of(clips), radius, sigma, angles.flatten())
        return self.quantise(blurred.add_(HAIR)).view(clips.shape)

    def angles(self, frames: int, rng: ClipRandom, rate: float) -> Tensor:
        """Directions of all frames, degrees, shape (N, T); `rate` in frames per second, 0 where unknown, which counts as 25."""
        if self.temporal != "drift":
            return rng.uniform((self.draws(frames),), -45.0, 45.0).expand(-1, frames)
        turned = rng.uniform((1,), 0.0, 180.0) + torch.arange(frames, device=rng.device) * (TURN / (rate or 25.0))
        return 45.0 - (turned % 180.0 - 90.0).abs()


@register("corruption", "zoom_blur")
@dataclass(frozen=True)
class ZoomBlur(Pixels):
    """The camera zooms in during the exposure.

    Formula: the mean of the frame, twice, and of its enlargements by 1 + d, 1 + 2 d, ... around the middle: the middle ceil(H/z)
    by ceil(W/z) pixels, bilinear, corner to corner. Settings are (d, number of factors with 1).

    The numbers of factors are those that the reference's float ranges really have: at severity 1 it ends at 1.11 (tiny-64:
    1.06 and 1.11 at severities 1 and 2) where the others leave their end out. The reference crops squares; here both sides
    are cropped alike, as in ROSE 2022. The references' SciPy leaves the last row of some enlargements black at a few sizes,
    for a rounding (160 pixels at severity 5; not 64, 112, 224 or 256); here it is the frame's.

    Source: Hendrycks and Dietterich 2019, make_imagenet_c.py; tiny-64 from make_tinyimagenet_c.py; ROSE 2022, Schiappa et al.
    2023 and imagecorruptions have ImageNet-C's numbers.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": ((0.01, 12), (0.01, 16), (0.02, 11), (0.02, 13), (0.03, 11)),
        "tiny-64": ((0.01, 7), (0.01, 12), (0.01, 16), (0.01, 21), (0.01, 26)),
        "rose2022": ((0.01, 12), (0.01, 16), (0.02, 11), (0.02, 13), (0.03, 11)),
        "schiappa2023": ((0.01, 12), (0.01, 16), (0.02, 11), (0.02, 13), (0.03, 11)),
        "imagecorruptions": ((0.01, 12), (0.01, 16), (0.02, 11), (0.02, 13), (0.03, 11)),
    }
    modes: ClassVar[tuple[str, ...]] = ("static",)

    temporal: str = param("static", help="static: nothing is drawn")

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See `Corruption`."""
        return zoomed(planes_of(clips), self.factors(setting)[1:], self.truncate).view(clips.shape)

    @staticmethod
    def factors(setting: tuple[float, int]) -> list[float]:
        """All factors, 1 first, to the last bit as NumPy's `arange` has them: one bit may decide about one more pixel."""
        step, count = setting
        return [1 + i * ((1 + step) - 1) for i in range(count)]
