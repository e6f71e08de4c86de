"""Digital corruptions of frames: colour, compression, resolution, deformation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..benchmark.core.corruption import Pixels
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.storage import jpeg
from .digital_blocks import pixelated
from .digital_elastic import affine_maps, sampled, smoothed
from .hsv import brightened, saturated
from .noise_words import words

_CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
_BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)
_SATURATE = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))
_JPEG = (25, 18, 15, 10, 7)
_PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)


@dataclass(frozen=True)
class Fixed(Pixels):
    """A corruption that draws nothing: every frame is changed alike."""

    modes: ClassVar[tuple[str, ...]] = ("static",)

    temporal: str = param("static", help="static: nothing is drawn")


@register("corruption", "contrast")
@dataclass(frozen=True)
class Contrast(Fixed):
    """Less contrast: every value moves towards the mean of its channel.

    Formula: (x - m) c + m, m the mean of the frame's channel; the table holds c.

    `yi2021` is a step milder than ImageNet-C.

    Source: Hendrycks and Dietterich, ICLR 2019, and their generators; Yi et al., NeurIPS Datasets and Benchmarks 2021.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": _CONTRAST,
        "tiny-64": _CONTRAST,
        "yi2021": (0.5, 0.4, 0.3, 0.2, 0.1),
        "imagecorruptions": _CONTRAST,
    }

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See `Corruption.change`."""
        values = clips.float()
        # Sums of whole numbers, exact in any order: threads and batches do not change them.
        mean = values.sum(dim=-1).double().mean(dim=-1) / values.shape[-1]
        return self.quantise(values.mul_(setting).add_((mean * (1 - setting)).float()[..., None, None]))


@register("corruption", "brightness")
@dataclass(frozen=True)
class Brightness(Fixed):
    """Brighter frames: the value of HSV goes up.

    Formula: V := min(V + c, 1) in HSV, that is rgb V' / V, and black becomes grey c; the table holds c.

    Source: Hendrycks and Dietterich, ICLR 2019, and their generators; Yi et al., NeurIPS Datasets and Benchmarks 2021.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": _BRIGHTNESS,
        "tiny-64": _BRIGHTNESS,
        "yi2021": _BRIGHTNESS,
        "imagecorruptions": _BRIGHTNESS,
    }

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See `Corruption.change`."""
        return self.quantise(brightened(clips, setting))


@register("corruption", "saturate")
@dataclass(frozen=True)
class Saturate(Fixed):
    """Paler or gaudier colours: the saturation of HSV changes.

    Formula: S := min(a S + b, 1) in HSV; the table holds (a, b). Grey has no hue and turns red where b > 0, as in the reference.

    Severities 1 and 2 take colour away, 3 to 5 add some: strength does not rise throughout.

    Source: Hendrycks and Dietterich, ICLR 2019 (their validation set), and their generators; Yi et al., NeurIPS Datasets and
    Benchmarks 2021.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": _SATURATE,
        "tiny-64": (*_SATURATE[:4], (30, 0.2)),
        "yi2021": _SATURATE,
        "imagecorruptions": _SATURATE,
    }

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See `Corruption.change`."""
        return self.quantise(saturated(clips, *setting))


@register("corruption", "jpeg_compression")
@dataclass(frozen=True)
class JpegCompression(Fixed):
    """Every frame stored as JPEG.

    Formula: libjpeg at quality q, colour at half resolution, standard tables; the table holds q.

    `rose2022` fed red as blue and blue as red, so that the weights of brightness are swapped; so does this.

    Source: Hendrycks and Dietterich, ICLR 2019, and their generators; Schiappa et al., CVPR 2023.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": _JPEG,
        "tiny-64": (65, 58, 50, 40, 25),
        "rose2022": _JPEG,
        "schiappa2023": _JPEG,
        "imagecorruptions": _JPEG,
    }

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See `Corruption.change`."""
        return jpeg(clips.flip(1), setting).flip(1) if self.table == "rose2022" else jpeg(clips, setting)


@register("corruption", "pixelate")
@dataclass(frozen=True)
class Pixelate(Fixed):
    """Fewer, larger pixels.

    Formula: the mean over blocks, int(c side) of them along each side, shown at the old size; the table holds c.

    Source: Hendrycks and Dietterich, ICLR 2019, and their generators (Pillow's box filter).
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": _PIXELATE,
        "tiny-64": (0.9, 0.8, 0.7, 0.6, 0.5),
        "imagecorruptions": _PIXELATE,
    }
    smallest: ClassVar[int] = 4

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See `Corruption.change`."""
        return pixelated(clips, setting)


@register("corruption", "elastic_transform")
@dataclass(frozen=True)
class ElasticTransform(Pixels):
    """Frames as if on rubber: a random affine map, then smooth random displacements.

    Formula: first the affine map that moves three points, each coordinate by U(-c, c); then each pixel shows what lies at its
    place plus (dx, dy) = a G(U(-1, 1)), G a Gaussian of width s that ends at 3 s, edges mirrored. The table holds (a, s, c), in
    pixels, made for 224 or 64. `imagecorruptions` has another definition: no affine map, (dx, dy) = a G(U(-h, h)) with h 0.005
    of the height and G of width 0.01 of the height and of the width; its table holds a. At severity 1 it is 10 dB milder.

    Severities 1 and 2 of `imagenet-c-224` bend the frame as a whole, 3 to 5 locally and less: strength does not rise throughout.

    Source: Hendrycks and Dietterich, ICLR 2019, and their generators; Michaelis et al., 2019 (`imagecorruptions`).
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": (
            (488, 170.8, 24.4),
            (488, 19.52, 48.8),
            (12.2, 2.44, 4.88),
            (17.08, 2.44, 4.88),
            (29.28, 2.44, 4.88),
        ),
        "tiny-64": ((0, 0, 5.12), (3.2, 19.2, 3.84), (6.4, 5.12, 3.84), (6.4, 1.92, 1.92), (10.24, 1.92, 1.28)),
        "imagecorruptions": (12.5, 16.25, 21.25, 25, 30),
    }
    smallest: ClassVar[int] = 3

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See `Corruption.change`."""
        draws, plane = self.draws(clips.shape[2]), clips.shape[3:]
        corners = rng.uniform((draws, 3, 2), -1, 1)
        made = []
        for clip, jitter, drawn in zip(clips, corners, words(rng, (2, draws, *plane)), strict=True):
            fields = torch.from_numpy(drawn.astype(np.float32)).add_(0.5).div_(32768).sub_(1)
            made.append(self.bent(clip, jitter, fields.to(clip.device), setting))
        return torch.stack(made)

    def bent(self, clip: Tensor, jitter: Tensor, fields: Tensor, setting: Any) -> Tensor:
        """A clip deformed by given draws.

        Args:
            clip: uint8 (3, T, H, W).
            jitter: What the three points draw, -1 to 1, float32 (D, 3, 2), D draws, 1 or T.
            fields: What displacements in x and y are made of, -1 to 1, float32 (2, D, H, W).
            setting: The table's numbers.
        """
        height, width = clip.shape[2:]
        values = clip.float()
        if self.table == "imagecorruptions":
            shift = smoothed(fields, 0.01 * height, 0.01 * width).mul_(0.005 * height * setting)
        else:
            amplitude, sigma, reach = setting
            values = sampled(values, *affine_maps(jitter * reach, height, width), twice=False)
            shift = smoothed(fields, sigma, sigma).mul_(amplitude)
        shift[0] += torch.arange(width, device=clip.device)
        shift[1] += torch.arange(height, device=clip.device)[:, None]
        return self.quantise(sampled(values, shift[0], shift[1], twice=True))
