"""A whole video file under a corruption, written as a file to look at or to hand on."""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from ..core.codec import repeatable_x264
from ..core.errors import InputError
from ..core.storage import from_frames, to_frames
from . import video
from .corrupted import Corrupted

LARGEST = 1 << 28
"""Bytes of decoded RGB that are held in memory."""

QUALITY = {"crf": "12", "preset": "medium"}
"""Of the written file: its own loss is far below that of any corruption."""


def corrupt_file(source: Path, how: Corrupted, tick: Callable[[int, int], None] = lambda done, total: None) -> bytes:
    """The video with every frame corrupted at its own size, as an H.264 MP4 without sound.

    Args:
        source: A video file.
        how: The corruption; its clip is named by the file's name.
        tick: Told how many frames are written, and of how many.

    Raises:
        ClipError: The video cannot be decoded, before or after the corruption.
        InputError: The corruption does not work on this video, or it is too long to be held in memory.
    """
    random = how.streams([source.name])
    coded = how.source(source, random)
    rates: list[float] = []

    def every(total: int, rate: float) -> range:
        rates.append(rate or 25.0)
        return range(total)

    _check_size(source)
    clip = from_frames(video.read_frames(coded, every))
    made = how.changed(clip, how.order(clip.shape[1], rates[0], random), random, rates[0])
    return _mp4(to_frames(made), rates[0], tick)


def _check_size(source: Path) -> None:
    shapes: list[int] = []

    def first(total: int, rate: float) -> list[int]:
        shapes.append(total)
        return [0]

    frame = video.read_frames(source, first)[0]
    if frame.nbytes * shapes[0] > LARGEST:
        height, width = frame.shape[:2]
        problem = f"{source} has {shapes[0]} frames of {width}x{height}, more than {LARGEST >> 20} MB of pixels"
        raise InputError("input", problem, "cut it into shorter files")


def _mp4(frames: NDArray[np.uint8], rate: float, tick: Callable[[int, int], None]) -> bytes:
    height, width = (side // 2 * 2 for side in frames.shape[1:3])  # yuv420p has no odd sides
    file, options = io.BytesIO(), QUALITY | repeatable_x264()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
            container.mux(stream.encode(picture))
            tick(number + 1, len(frames))
        container.mux(stream.encode())
    return file.getvalue()
