"""Pixel noise: every value of a frame by itself becomes another one, by a law that depends on its grey level alone."""

from abc import abstractmethod
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
from .noise_laws import Words, normal, poisson, replaced
from .noise_words import words

_GAUSSIAN = (0.08, 0.12, 0.18, 0.26, 0.38)
_SHOT = (60, 25, 12, 5, 3)
_SHOT_64 = (250, 100, 50, 30, 15)
_IMPULSE = (0.03, 0.06, 0.09, 0.17, 0.27)
_SPECKLE = (0.15, 0.2, 0.35, 0.45, 0.6)
_SPECKLE_64 = (0.15, 0.2, 0.25, 0.3, 0.35)


@dataclass(frozen=True)
class Noise(Pixels):
    """Noise that a law makes out of one word of 16 random bits per value; subclasses define `noisy`."""

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See `Corruption.change`."""
        frames, *plane = clips.shape[2:]
        drawn = words(rng, (3, self.draws(frames), *plane))
        return torch.stack([self.noisy(clip, own, setting) for clip, own in zip(clips, drawn, strict=True)])

    @abstractmethod
    def noisy(self, clip: Tensor, words: Words, setting: Any) -> Tensor:
        """A clip uint8 (3, T, H, W) with noise from words uint16 (3, D, H, W), D draws."""


@register("corruption", "gaussian_noise")
@dataclass(frozen=True)
class GaussianNoise(Noise):
    """Normal noise of one strength, each pixel and channel by itself.

    Formula: clip(x + sigma n, 0, 1) with x in [0, 1] and n standard normal; the table holds sigma, a fraction of the pixel range.

    The normal quantile is taken at 65,536 levels (largest |n| 4.3), so that each cumulative probability is right to 2**-16. ROSE
    stored its noisy frames as MPEG-4, which takes away about a severity of it: `storage=mp4v`.

    Source: Hendrycks and Dietterich, ICLR 2019, and their generators for 224 and 64 pixels; Schiappa et al., CVPR 2023.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": _GAUSSIAN,
        "tiny-64": (0.04, 0.08, 0.12, 0.15, 0.18),
        "rose2022": _GAUSSIAN,
        "schiappa2023": _GAUSSIAN,
        "imagecorruptions": _GAUSSIAN,
    }

    def noisy(self, clip: Tensor, words: Words, setting: Any) -> Tensor:
        """See `Noise.noisy`."""
        return normal(clip, words, np.full(256, setting * 255, dtype=np.float32), self.truncate)


@register("corruption", "speckle_noise")
@dataclass(frozen=True)
class SpeckleNoise(Noise):
    """Normal noise in proportion to brightness, each pixel and channel by itself.

    Formula: clip(x + sigma x n, 0, 1) with x in [0, 1] and n standard normal; the table holds sigma.

    `rose2022` and `schiappa2023` use the milder numbers of the 64-pixel table on large frames.

    Source: Hendrycks and Dietterich, ICLR 2019 (their validation set), and their generators; Schiappa et al., CVPR 2023.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": _SPECKLE,
        "tiny-64": _SPECKLE_64,
        "rose2022": _SPECKLE_64,
        "schiappa2023": _SPECKLE_64,
        "imagecorruptions": _SPECKLE,
    }

    def noisy(self, clip: Tensor, words: Words, setting: Any) -> Tensor:
        """See `Noise.noisy`."""
        return normal(clip, words, np.arange(256, dtype=np.float32) * np.float32(setting), self.truncate)


@register("corruption", "shot_noise")
@dataclass(frozen=True)
class ShotNoise(Noise):
    """Photon counting noise: Poisson, each pixel and channel by itself.

    Formula: clip(Poisson(c x) / c, 0, 1) with x in [0, 1]; the table holds c, the photons expected where the frame is white.

    Each cumulative probability is right to 2**-17. `rose2022` and `schiappa2023` use the 64-pixel table on large frames, which is
    5 to 7 dB milder.

    Source: Hendrycks and Dietterich, ICLR 2019, and their generators; Yi et al., NeurIPS Datasets and Benchmarks 2021 (stored as
    JPEG: `storage=jpeg80`); Schiappa et al., CVPR 2023.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": _SHOT,
        "tiny-64": _SHOT_64,
        "yi2021": _SHOT,
        "rose2022": _SHOT_64,
        "schiappa2023": _SHOT_64,
        "imagecorruptions": _SHOT,
    }

    def noisy(self, clip: Tensor, words: Words, setting: Any) -> Tensor:
        """See `Noise.noisy`."""
        return poisson(clip, words, setting, self.truncate)


@register("corruption", "impulse_noise")
@dataclass(frozen=True)
class ImpulseNoise(Noise):
    """Salt and pepper: some values turned to black or white, each channel by itself, so that dots are coloured.

    Formula: with probability p a value is replaced, by 0 or 1 with equal chances; the table holds p.

    Source: Hendrycks and Dietterich, ICLR 2019, and their generators; Schiappa et al., CVPR 2023.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": _IMPULSE,
        "tiny-64": (0.01, 0.02, 0.05, 0.08, 0.14),
        "rose2022": _IMPULSE,
        "schiappa2023": _IMPULSE,
        "imagecorruptions": _IMPULSE,
    }

    def noisy(self, clip: Tensor, words: Words, setting: Any) -> Tensor:
        """See `Noise.noisy`."""
        return replaced(clip, words, pepper=setting / 2, salt=setting / 2)


@register("corruption", "salt_noise")
@dataclass(frozen=True)
class SaltNoise(Noise):
    """Some values turned to white, each channel by itself.

    Formula: with probability p = s / 10 at severity s a value becomes 1; the table holds p.

    Source: the ROSE 2022 generator; one of the twelve corruptions of ViTTA (Lin et al., CVPR 2023), there at severity 5.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {"rose2022": (0.1, 0.2, 0.3, 0.4, 0.5)}

    table: str = param("rose2022", help="severity table")

    def noisy(self, clip: Tensor, words: Words, setting: Any) -> Tensor:
        """See `Noise.noisy`."""
        return replaced(clip, words, pepper=0, salt=setting)


@register("corruption", "pepper_noise")
@dataclass(frozen=True)
class PepperNoise(Noise):
    """Some values turned to black, each channel by itself.

    Formula: with probability p = s / 10 at severity s a value becomes 0; the table holds p.

    Source: the ROSE 2022 generator; one of the twelve corruptions of ViTTA (Lin et al., CVPR 2023), there at severity 5.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {"rose2022": (0.1, 0.2, 0.3, 0.4, 0.5)}

    table: str = param("rose2022", help="severity table")

    def noisy(self, clip: Tensor, words: Words, setting: Any) -> Tensor:
        """See `Noise.noisy`."""
        return replaced(clip, words, pepper=setting, salt=0)
