"""From a video file, or a folder of frames, to RGB frames.

Files are decoded from the first frame to the last, in decode order. Header counts, timestamps and seeking are not trusted: each
is wrong on real data sets (edit lists, packed B-frames, variable frame rates); the order of decoding is right on all of them.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from ..core.integrity import ClipError, check_end, surviving_frames, video_stream
from ..core.integrity import whole_frames as _decode
from .frame_folder import Picker, read_folder

VIDEOS = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ts", ".ogv")
"""Suffixes of files that `folder` takes for videos."""

HELD_BYTES = 128 * 2**20
"""Undecoded colour (YUV) that one clip may hold: 1,100 frames of 320x240. A longer video is decoded twice instead."""


def read_frames(source: Path | bytes, pick: Picker, template: str = "") -> NDArray[np.uint8]:
    """The wanted frames of a video, upright.

    Args:
        source: Video file, or folder of frames in natural order of their names (2.jpg before 10.jpg). Or the content of a video
            file that was damaged on purpose: of that, whatever still decodes counts.
        pick: Called once with the true number of frames and the average frame rate (of frames in a folder 0). Of a file with
            several video streams, FFmpeg's best one counts.
        template: Names of the frames in a folder; see `frame_files`.

    Returns:
        uint8 (T, H, W, 3), RGB, in the order of the indices.

    Raises:
        ClipError: Missing, empty, damaged anywhere (of a frame folder: in a wanted frame), no video, or frames of several sizes;
            of a content, no frame decodes.
    """
    (frames,) = read_each(source, [pick], template)
    return frames


def read_each(source: Path | bytes, picks: Sequence[Picker], template: str = "") -> Iterator[NDArray[np.uint8]]:
    """As `read_frames`, for several choices of frames, from one decoding of the file where it is not a long one."""
    name = _name(source)
    try:
        if isinstance(source, Path):
            source.stat()  # says why, as `exists` does not
        if isinstance(source, Path) and source.is_dir():
            chosen = (read_folder(source, pick, template) for pick in picks)
        else:
            chosen = _from_file(source, picks)
        for frames in chosen:
            shapes = {frame.shape[:2] for frame in frames}
            if len(shapes) > 1:
                raise ClipError(name, f"the frames have {len(shapes)} sizes")
            yield np.stack(frames)
    except FileNotFoundError as error:
        raise ClipError(name, "there is no such file or folder") from error
    except (FFmpegError, OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ClipError(name, f"cannot be decoded: {' '.join(reason.split())}") from error


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


def _name(source: Path | bytes) -> str:
    return str(source) if isinstance(source, Path) else "corrupted video"


def _open(source: Path | bytes) -> InputContainer:
    return av.open(str(source) if isinstance(source, Path) else BytesIO(source), "r")


def _frames(source: Path | bytes, container: InputContainer) -> Iterator[VideoFrame]:
    return _decode(source, container) if isinstance(source, Path) else surviving_frames(_name(source), container)


def _from_file(source: Path | bytes, picks: Sequence[Picker]) -> Iterator[list[NDArray[np.uint8]]]:
    if isinstance(source, Path):
        check_end(source)
    held: dict[int, VideoFrame] = {}
    size = total = 0
    with _open(source) as container:
        for total, frame in enumerate(_frames(source, container), start=1):
            size += sum(plane.buffer_size for plane in frame.planes)
            if size <= HELD_BYTES:
                held[total - 1] = frame
            else:
                held.clear()
        rate = float(video_stream(_name(source), container).average_rate or 0)
    if not total:
        raise ClipError(_name(source), "the video has no frames" if isinstance(source, Path) else "no frame of it decodes")
    for pick in picks:
        wanted = pick(total, rate)
        yield _convert({index: held[index] for index in set(wanted)}, wanted) if held else _second_pass(source, wanted)


def _second_pass(source: Path | bytes, wanted: Sequence[int]) -> list[NDArray[np.uint8]]:
    """The wanted frames of a long video, whose true length is known by now; stops after the last of them."""
    chosen, last = {}, max(wanted)
    with _open(source) as container:
        for index, frame in enumerate(_frames(source, container)):
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
