"""Compression: the video encoded anew, at lower quality the higher the severity."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..benchmark.core import codec, recode
from ..benchmark.core.codec import Coded, Encoding
from ..benchmark.core.corruption import Stream
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.storage import from_frames, to_frames

PLAIN = codec.constant_quality("libx264", 23)
"""What stands in for the source file where frames in memory have none: FFmpeg's default for H.264."""


def through(
    clips: Tensor, encoding: Callable[[int], Encoding], rate: float, damage: Callable[[int, list[Coded]], list[Coded]]
) -> Tensor:
    """Clips (N, 3, T, H, W), each encoded alone and decoded, with as many frames as before.

    Args:
        clips: uint8, RGB.
        encoding: How the clip of a row is encoded.
        rate: Frames per second.
        damage: What happens to the packets of a row.
    """
    made = []
    for row, clip in enumerate(clips):
        frames, chosen = to_frames(clip), encoding(row)
        packets = damage(row, codec.encode(frames, chosen, rate))
        made.append(from_frames(codec.decode(packets, chosen.decoder, frames.shape)))
    return torch.stack(made).to(clips.device)


@dataclass(frozen=True)
class _Compressed(Stream):
    smallest: ClassVar[int] = 16

    table: str = param("yi2021", help="severity table")

    @abstractmethod
    def encoding(self, setting: Any, plain: Callable[[], float]) -> Encoding:
        """The encoder; `plain` gives the bits per second of what there is."""

    def recode(self, path: Path, setting: Any, rng: ClipRandom) -> bytes:
        """The file's frames, compressed anew."""
        return recode.reencode(path, self.encoding(setting, lambda: recode.bit_rate(path)))

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """Clips, each compressed and decoded."""

        def bits(row: int) -> float:
            size = sum(len(packet.data) for packet in codec.encode(to_frames(clips[row]), PLAIN, rate))
            return 8 * size * float(codec.frame_rate(rate)) / clips.shape[2]

        return through(clips, lambda row: self.encoding(setting, lambda: bits(row)), rate, lambda row, packets: packets)


@register("corruption", "h264_crf")
@dataclass(frozen=True)
class H264Crf(_Compressed):
    """H.264 at a constant quality.

    Formula: `ffmpeg -vcodec libx264 -crf C`, preset medium, 4:2:0, an odd last row or column cut off. C is the rate factor: lower
    is better, 51 is the worst there is.

    On one thread. Sound is dropped. Frames stay as many as they were, at the mean frame rate; the reference keeps time stamps.

    Source: Yi et al. 2021, Mini Kinetics-C, create_mini_kinetics_c.py; table yi2021.
    """

    tables: ClassVar[Mapping[str, Sequence[int]]] = {"yi2021": (23, 30, 37, 44, 51)}

    def encoding(self, setting: int, plain: Callable[[], float]) -> Encoding:
        """libx264 at the setting."""
        return codec.constant_quality("libx264", setting)


@register("corruption", "h265_crf")
@dataclass(frozen=True)
class H265Crf(_Compressed):
    """H.265 at a constant quality.

    Formula: `ffmpeg -vcodec libx265 -crf C`, preset medium, 4:2:0, an odd last row or column cut off. C is the rate factor: lower
    is better, 51 is the worst there is.

    On one thread. Sound is dropped. Frames stay as many as they were, at the mean frame rate; the reference keeps time stamps.

    Source: Yi et al. 2021, Mini Kinetics-C, create_mini_kinetics_c.py; table yi2021.
    """

    tables: ClassVar[Mapping[str, Sequence[int]]] = {"yi2021": (27, 33, 39, 45, 51)}

    def encoding(self, setting: int, plain: Callable[[], float]) -> Encoding:
        """libx265 at the setting."""
        return codec.constant_quality("libx265", setting)


@register("corruption", "h264_abr")
@dataclass(frozen=True)
class H264Abr(_Compressed):
    """H.264 at a fraction of the source's bit rate.

    Formula: `ffmpeg -vcodec libx264 -b:v B -maxrate B -bufsize B`, B = R/d bits per second, R the bit rate of the source file
    with its sound. At the stage `frames`, R is that of the clip at `-crf 23`. B is 1000 or more.

    How strong a severity is depends on how well the source was compressed before. A clip of a few frames is mostly its key frame,
    for which severity 5 at the stage `frames` has hardly a bit: it may come out grey.

    Source: Yi et al. 2021, Mini Kinetics-C, create_mini_kinetics_c.py; table yi2021 has d.
    """

    tables: ClassVar[Mapping[str, Sequence[int]]] = {"yi2021": (2, 4, 8, 16, 32)}

    def encoding(self, setting: int, plain: Callable[[], float]) -> Encoding:
        """libx264 at the fraction."""
        return codec.average_bits("libx264", plain() / setting)


@register("corruption", "h265_abr")
@dataclass(frozen=True)
class H265Abr(_Compressed):
    """H.265 at a fraction of the source's bit rate.

    Formula: `ffmpeg -vcodec libx265 -b:v B -maxrate B -bufsize B`, B = R/d bits per second, R the bit rate of the source file
    with its sound. At the stage `frames`, R is that of the clip at H.264's `-crf 23`. B is 1000 or more.

    How strong a severity is depends on how well the source was compressed before; of short clips at low rates the encoder cannot
    go below a floor of its own.

    Source: Yi et al. 2021, Mini Kinetics-C, create_mini_kinetics_c.py; table yi2021 has d.
    """

    tables: ClassVar[Mapping[str, Sequence[int]]] = {"yi2021": (2, 4, 8, 16, 32)}

    def encoding(self, setting: int, plain: Callable[[], float]) -> Encoding:
        """libx265 at the fraction."""
        return codec.average_bits("libx265", plain() / setting)


@register("corruption", "mpeg2")
@dataclass(frozen=True)
class Mpeg2(_Compressed):
    """MPEG-2 at a fixed quantiser, ROSE's "MPEG1".

    Formula: `ffmpeg -c:v mpeg2video -q:v Q`, 4:2:0, an odd last row or column cut off. Q is the quantiser's step: 1 is best, 31
    is the worst there is.

    The published Q = 20 s ends at 31 from severity 2 on, so that the severities 2 to 5 are nearly one. The table vbench covers
    what the codec has.

    Source: ROSE 2022 and Schiappa et al. 2023, codec1; tables rose2022 and schiappa2023 as published, vbench ours.
    """

    tables: ClassVar[Mapping[str, Sequence[int]]] = {
        "vbench": (5, 9, 14, 21, 31),
        "rose2022": (20, 40, 60, 80, 100),
        "schiappa2023": (20, 40, 60, 80, 100),
    }
    broken: ClassVar[Mapping[str, str]] = {"rose2022": "saturated", "schiappa2023": "saturated"}

    table: str = param("vbench", help="severity table")

    def encoding(self, setting: int, plain: Callable[[], float]) -> Encoding:
        """mpeg2video at the setting."""
        return codec.fixed_quantiser("mpeg2video", setting)


@register("corruption", "mpeg4")
@dataclass(frozen=True)
class Mpeg4(_Compressed):
    """MPEG-4 Part 2 at a fixed quantiser, ROSE's "MPEG2".

    Formula: `ffmpeg -c:v mpeg4 -q:v Q`, 4:2:0, an odd last row or column cut off. Q is the quantiser's step: 1 is best, 31 is
    the worst there is.

    The published Q = 15 s ends at 31 from severity 3 on, and severity 2 is nearly there. The table vbench covers what the codec
    has.

    Source: ROSE 2022 and Schiappa et al. 2023, codec2; tables rose2022 and schiappa2023 as published, vbench ours.
    """

    tables: ClassVar[Mapping[str, Sequence[int]]] = {
        "vbench": (5, 9, 14, 21, 31),
        "rose2022": (15, 30, 45, 60, 75),
        "schiappa2023": (15, 30, 45, 60, 75),
    }
    broken: ClassVar[Mapping[str, str]] = {"rose2022": "saturated", "schiappa2023": "saturated"}

    table: str = param("vbench", help="severity table")

    def encoding(self, setting: int, plain: Callable[[], float]) -> Encoding:
        """mpeg4 at the setting."""
        return codec.fixed_quantiser("mpeg4", setting)
