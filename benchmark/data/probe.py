"""What is odd about a video: the known traps of data sets, named."""

import re
from pathlib import Path

import av
from av.error import FFmpegError
from av.video.stream import VideoStream

from ..core.integrity import ClipError
from ..core.interfaces import ClipRecord
from .video import count_frames

_PACKED = re.compile(rb"DivX\d+b\d+p")
_HEAD = 1 << 16


def probe(record: ClipRecord) -> list[str]:
    """Decodes a clip and names what about it misleads other readers, and what its annotation says wrongly.

    Raises:
        ClipError: It is missing or damaged, or ends before the clip starts.
    """
    total = count_frames(record.path, record.template)
    if record.start >= total:
        raise ClipError(str(record.path), f"has {total} frames; the clip is to start at frame {record.start}")
    traits = [] if record.path.is_dir() else _traits(record.path, total)
    if record.stop is not None and record.stop > total:
        traits.append("ends before the annotation says; the files are trusted")
    if total < 3:
        traits.append("fewer than three frames")
    return traits


def _traits(path: Path, total: int) -> list[str]:
    try:
        with av.open(str(path)) as container:
            stream = container.streams.best("video")
            assert isinstance(stream, VideoStream)
            frame = next(container.decode(stream))
            base, guessed = float(stream.base_rate or 0), float(stream.average_rate or 0)
            traits = {
                "header counts other frames than decode": stream.frames not in (0, total),
                "header does not count the frames": stream.frames == 0,
                "rotated by metadata": frame.rotation % 360 != 0,
                "variable frame rate": bool(base and guessed) and abs(base - guessed) > 0.02 * base,
                "packed B-frames": _PACKED.search(path.open("rb").read(_HEAD)) is not None,
            }
    except (FFmpegError, OSError, StopIteration) as error:
        raise ClipError(str(path), f"cannot be decoded: {error}") from error
    return [f"{trait} (handled)" for trait, present in traits.items() if present]
