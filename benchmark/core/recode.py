"""Video files compressed anew or damaged, in memory."""

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from .codec import RATE, Coded, Encoding, configure, created, frame_rate, packets_of, to_packet
from .integrity import ClipError, check_end, video_stream, whole_frames


@contextlib.contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """A video file, open.

    Raises:
        ClipError: It is missing, is a folder of frames or, now or while it is read, turns out to be damaged.
    """
    if path.is_dir():
        raise ClipError(str(path), "this corruption needs a video file, not a folder of frames", "choose stage=frames")
    if not path.is_file():
        raise ClipError(str(path), "there is no such file")
    try:
        check_end(path)
        with av.open(str(path)) as container:
            yield container
    except (FFmpegError, OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ClipError(str(path), f"cannot be decoded: {' '.join(reason.split())}") from error


def bit_rate(path: Path) -> float:
    """Bits per second of a whole file, sound included.

    Raises:
        ClipError: As `opened`.
    """
    with opened(path) as container:
        seconds = (container.duration or 0) / av.time_base
        return float(container.bit_rate or (8 * path.stat().st_size / seconds if seconds > 0 else 0))


def reencode(path: Path, encoding: Encoding, damage: Callable[[list[Coded]], list[Coded]] = list) -> bytes:
    """A file's frames, every one, upright and at the mean frame rate, compressed anew; without sound.

    Args:
        path: Video file.
        encoding: How.
        damage: What happens to the packets before they are stored; their order in time stays.

    Returns:
        A Matroska file.

    Raises:
        ClipError: The file is missing, damaged or holds no video.
        InputError: This build of FFmpeg lacks the encoder, or it refuses frames of this size.
    """
    made = BytesIO()
    with opened(path) as source, av.open(made, "w", format="matroska", options={"fflags": "+bitexact"}) as target:
        rate = frame_rate(video_stream(str(path), source).average_rate)
        pictures = _even(path, whole_frames(path, source))
        first = next(pictures, None)
        if first is None:
            raise ClipError(str(path), "the video has no frames")
        created(encoding.encoder)
        track = target.add_stream(encoding.encoder, rate=rate)  # pyright: ignore[reportArgumentType]
        context = track.codec_context
        assert isinstance(context, VideoCodecContext)
        configure(context, encoding, first.width, first.height, rate)
        context.colorspace, context.color_range = first.colorspace, ColorRange.MPEG
        for packet in damage(packets_of(context, encoding, _chained(first, pictures), str(path))):
            plain = to_packet(packet)
            plain.stream, plain.time_base = track, 1 / rate
            target.mux(plain)
    return made.getvalue()


def _chained(first: VideoFrame, rest: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    yield first
    yield from rest


def _even(path: Path, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Frames upright, cut to even sizes, in 4:2:0."""
    reformatter = VideoReformatter()
    graph, size = None, None
    for frame in frames:
        if size is None:
            size = (frame.width, frame.height)
            graph = _geometry(frame)
        if (frame.width, frame.height) != size:
            raise ClipError(str(path), "the frames have several sizes")
        if graph is not None:
            graph.push(frame)
            pulled = graph.pull()
            assert isinstance(pulled, VideoFrame)
            frame = pulled
        # Not every codec can say that its levels are full; players would stretch them.
        yield reformatter.reformat(frame, format="yuv420p", interpolation=Interpolation.BICUBIC, dst_color_range=ColorRange.MPEG)


def _geometry(frame: VideoFrame) -> Graph | None:
    """FFmpeg's filters that turn frames like this one and cut them; None where there is nothing to do."""
    turn = {90: [("transpose", "cclock")], 180: [("hflip", ""), ("vflip", "")], 270: [("transpose", "clock")]}
    steps = turn.get(round(frame.rotation / 90) * 90 % 360, [])
    if frame.width % 2 or frame.height % 2:
        steps = [*steps, ("crop", "iw-mod(iw,2):ih-mod(ih,2)")]
    if not steps:
        return None
    graph = Graph()
    base = frame.time_base or Fraction(1, RATE)
    last = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=base)
    for name, arguments in [*steps, ("buffersink", "")]:
        following = graph.add(name, arguments)
        last.link_to(following)
        last = following
    graph.configure()
    return graph
