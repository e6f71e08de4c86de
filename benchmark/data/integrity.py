"""What makes a video unusable, and losses that FFmpeg passes over: a Matroska file that ends early just has fewer frames."""

from pathlib import Path

from av.container import InputContainer
from av.video.stream import VideoStream

from ..core.errors import InputError

_HEADER = bytes.fromhex("1a45dfa3")
_SEGMENT = bytes.fromhex("18538067")
_SLACK = 1.0


class ClipError(InputError):
    """A video that cannot be used, with the reason in one line. It becomes a failed clip; no other frames stand in for it."""


def check_end(path: Path) -> None:
    """Refuses a Matroska or WebM file that is shorter than it says.

    The segment that holds everything declares its length (RFC 9559, section 4); a live recording declares "unknown" and passes.

    Raises:
        ClipError: The file is cut off.
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(4096)
    if not head.startswith(_HEADER):
        return
    size, start = _length(head, len(_HEADER))
    start += size
    if head[start : start + len(_SEGMENT)] != _SEGMENT:
        return
    size, start = _length(head, start + len(_SEGMENT))
    lost = start + size - path.stat().st_size
    if lost > 0:
        raise ClipError(str(path), f"the file is cut off: {lost} bytes are missing at its end")


def check_duration(path: Path, container: InputContainer, stream: VideoStream, packets: int, end: float) -> None:
    """Refuses a video that lost more than a second on the way, because the demuxer found no way past damage.

    Matroska is held to the DURATION tag that FFmpeg writes, AVI to its header's count of packets (with a second's grace, for old
    encoders miscount by a few). Other formats report such losses themselves.

    Args:
        path: The file, for the message.
        container: The same, open.
        stream: Its video stream.
        packets: How many packets came.
        end: Time of the last frame, in seconds.

    Raises:
        ClipError: More than a second is missing.
    """
    lost = 0.0
    if container.format.name == "avi":
        lost = (stream.frames - packets) / (float(stream.average_rate or 0) or 25.0)
    elif "matroska" in container.format.name:
        lost = _seconds(stream.metadata.get("DURATION", "")) - end
    if lost > _SLACK:
        raise ClipError(str(path), f"the stream is damaged: {lost:.1f} s of it do not decode")


def _seconds(clock: str) -> float:
    """`00:00:02.4` to 2.4; 0 for any other text."""
    try:
        hours, minutes, seconds = clock.strip("\0 ").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return 0.0


def _length(data: bytes, at: int) -> tuple[int, int]:
    """An EBML length (RFC 8794, section 4) at `at`: its value, 0 where unknown, and where it ends."""
    first = data[at] if at < len(data) else 0
    if not first:
        return 0, at
    width = 9 - first.bit_length()
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (0 if value == (1 << 7 * width) - 1 else value), at + width
