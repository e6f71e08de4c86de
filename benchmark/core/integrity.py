"""What makes a video unusable, and losses that FFmpeg passes over: a Matroska file that ends early just has fewer frames."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .errors import InputError

_HEADER = bytes.fromhex("1a45dfa3")
_SEGMENT = bytes.fromhex("18538067")
_SLACK = 1.0


class ClipError(InputError):
    """A video that cannot be used, with the reason in one line. It becomes a failed clip; no other frames stand in for it."""


def video_stream(name: str, container: InputContainer) -> VideoStream:
    """FFmpeg's best video stream of an open file.

    Args:
        name: The file, for the message.
        container: The same, open.

    Raises:
        ClipError: There is none, or its codec is unknown.
    """
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        raise ClipError(name, "the file has no video stream")
    if stream.codec_context is None:
        raise ClipError(name, "the video codec is unknown")
    return stream


def whole_frames(path: Path, container: InputContainer) -> Iterator[VideoFrame]:
    """All frames in decode order. FFmpeg patches damaged frames up and goes on; here that ends the clip.

    Raises:
        ClipError: The video is damaged, or there is none.
        FFmpegError: Likewise.
    """
    stream = video_stream(str(path), container)
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


def most_pixels(width: int, height: int) -> dict[str, str]:
    """A decoder's options against damaged headers, which may claim pictures of any size: at most four times the area."""
    # A decoder's own buffers count too; of small pictures they are the larger part.
    return {"max_pixels": str(max(4 * width * height, 2**20))}


def surviving_frames(name: str, container: InputContainer) -> Iterator[VideoFrame]:
    """What still decodes of a video that was damaged on purpose, in decode order; frames of another size than declared fall out.

    Args:
        name: The video, for the message.
        container: The same, open.

    Raises:
        ClipError: There is no video stream.
    """
    stream = video_stream(name, container)
    context = stream.codec_context
    # With more threads the same damage decodes to other pixels from run to run.
    context.thread_count = 1
    if context.width and context.height:
        context.options = most_pixels(context.width, context.height)
    size = (context.width, context.height) if context.width and context.height else None
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:
            return
        if packet is None:
            return
        with contextlib.suppress(FFmpegError):
            for frame in packet.decode():
                assert isinstance(frame, VideoFrame)
                size = size or (frame.width, frame.height)
                if (frame.width, frame.height) == size:
                    yield frame


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
