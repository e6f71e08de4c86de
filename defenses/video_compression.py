"""Compression of the clip as a video."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ..benchmark.core import codec
from ..benchmark.core.defense import Preprocessing
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.storage import from_frames, to_frames
from .jpeg import to_bytes


@register("defense", "video-compression")
@dataclass(frozen=True)
class VideoCompression(Preprocessing):
    """Video compression: the clip is compressed as H.264 and decoded before the model sees it.

    Formula: x' = decode(encode(round(255 x))) / 255 by `ffmpeg -vcodec libx264 -crf C`, preset medium, 4:2:0, at 25 frames per
    second, where x are the frames at the model's input, one after the other.

    The default C is that of ART's VideoCompression. As there, the gradient is a surrogate, that of the identity. Other than
    there, everything happens in memory and on a copy, pixels are rounded to the nearest of 256 levels, and an odd height or
    width is made even by repeating the last row or column, which is cut off again afterwards. One C per defence: to compare
    several, list several defences.

    Source: ART's VideoCompressionPyTorch, after Armory's UCF101 scenario; x264's constant rate factor.
    """

    version: ClassVar[int] = 1
    gradient: ClassVar[Literal["exact", "bpda", "none"]] = "bpda"

    crf: int = param(28, help="x264's rate factor; higher is coarser, usual are 18, 23, 28 and 35", low=0, high=51)

    def purify(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """The clips as they come back from H.264, each encoded alone."""
        made = torch.stack([self._through(clip) for clip in to_bytes(clips)])
        return made.to(clips.device, clips.dtype) / 255

    def _through(self, clip: Tensor) -> Tensor:
        """A clip uint8 (3, T, H, W), compressed and decoded, on the CPU."""
        frames, encoding = to_frames(clip), codec.constant_quality("libx264", self.crf)
        height, width = frames.shape[1:3]
        # 4:2:0 has one colour for 2x2 pixels.
        even = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        decoded = codec.decode(codec.encode(even, encoding), encoding.decoder, even.shape)
        return from_frames(decoded[:, :height, :width])
