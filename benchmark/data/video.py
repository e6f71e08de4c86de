"""From a video file, or a folder of frames, to RGB frames.

Files are decoded from the first frame to the last, in decode order. Header counts, timestamps and seeking are not trusted: each
is wrong on real data sets (edit lists, packed B-frames, variable frame rates); the order of decoding is right on all of them.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from .frame_folder import Picker, read_folder
from .integrity import ClipError, check_duration, check_end

VIDEOS = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ts", ".ogv")
"""Suffixes of files that `folder` takes for videos."""

HELD_BYTES = 128 * 2**20
"""Undecoded colour (YUV) that one clip may hold: 1,100 frames of 320x240. A longer video is decoded twice instead."""


def read_frames(path: Path, pick: Picker, template: str = "") -> NDArray[np.uint8]:
    """The wanted frames of a video, upright.

    Args:
        path: Video file, or folder of frames in natural order of their names (2.jpg before 10.jpg).
        pick: Called once with the true number of frames and the average frame rate (of frames in a folder 0). Of a file with
            several video streams, FFmpeg's best one counts.
        template: Names of the frames in a folder; see `frame_files`.

    Returns:
        uint8 (T, H, W, 3), RGB, in the order of the indices.

    Raises:
        ClipError: Missing, empty, damaged anywhere (of a frame folder: in a wanted frame), no video, or frames of several sizes.
    """
    if not path.exists():
        raise ClipError(str(path), "there is no such file or folder")
    try:
        frames = read_folder(path, pick, template) if path.is_dir() else _from_file(path, pick)
    except (FFmpegError, OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ClipError(str(path), f"cannot be decoded: {' '.join(reason.split())}") from error
    shapes = {frame.shape[:2] for frame in frames}
    if len(shapes) > 1:
        raise ClipError(str(path), f"the frames have {len(shapes)} sizes")
    return np.stack(frames)


def count_frames(path: Path, template: str = "") -> int:
    """How many frames a video really has, by decoding it.

    Raises:
        ClipError: As `read_frames`.
    """
    counts: list[int] = []

    def first(total: int, rate: float) -> list[int]:
        counts.append(total)
        return [0]

    read_frames(path, first, template)
    return counts[0]


def _from_file(path: Path, pick: Picker) -> list[NDArray[np.uint8]]:
    check_end(path)
    held: dict[int, VideoFrame] = {}
    size = total = 0
    with av.open(str(path)) as container:
        for total, frame in enumerate(_decode(path, container), start=1):
            size += sum(plane.buffer_size for plane in frame.planes)
            if size <= HELD_BYTES:
                held[total - 1] = frame
            else:
                held.clear()
        rate = float(_stream(path, container).average_rate or 0)
    if not total:
        raise ClipError(str(path), "the video has no frames")
    wanted = pick(total, rate)
    if not held:
        return _second_pass(path, wanted)
    return _convert({index: held[index] for index in set(wanted)}, wanted)


def _second_pass(path: Path, wanted: Sequence[int]) -> list[NDArray[np.uint8]]:
    """The wanted frames of a long video, whose true length is known by now; stops after the last of them."""
    chosen, last = {}, max(wanted)
    with av.open(str(path)) as container:
        for index, frame in enumerate(_decode(path, container)):
            if index in wanted:
                chosen[index] = frame
            if index == last:
                break
    return _convert(chosen, wanted)


def _convert(chosen: dict[int, VideoFrame], wanted: Sequence[int]) -> list[NDArray[np.uint8]]:
    # One reformatter per clip: frame.to_ndarray(format=...) builds a scaler for every frame, which costs eight times as much.
    reformatter = VideoReformatter()
    ready = {index: _upright(reformatter, frame) for index, frame in chosen.items()}
    return [ready[index] for index in wanted]


def _upright(reformatter: VideoReformatter, frame: VideoFrame) -> NDArray[np.uint8]:
    rgb = np.asarray(reformatter.reformat(frame, format="rgb24").to_ndarray(), dtype=np.uint8)
    # PyAV gives degrees counter-clockwise and leaves the turning to us.
    return np.rot90(rgb, round(frame.rotation / 90))


def _stream(path: Path, container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        raise ClipError(str(path), "the file has no video stream")
    return stream


def _decode(path: Path, container: InputContainer) -> Iterator[VideoFrame]:
    """All frames in decode order. FFmpeg patches damaged frames up and goes on; here that ends the clip."""
    stream = _stream(path, container)
    if stream.codec_context is None:
        raise ClipError(str(path), "the video codec is unknown")
    # Clips are decoded side by side; threads inside a decoder gain nothing on small frames.
    stream.codec_context.thread_count = 1
    packets, end = 0, 0.0
    for packet in container.demux(stream):
        packets += packet.size > 0
        for frame in packet.decode():
            assert isinstance(frame, VideoFrame)
            if frame.is_corrupt:
                raise ClipError(str(path), "the stream is damaged")
            end = max(end, frame.time or 0.0)
            yield frame
    check_duration(path, container, stream, packets, end)
