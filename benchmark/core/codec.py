"""Video codecs in process, through PyAV: frames in memory, encoded and decoded.

Encoders run as FFmpeg's command line runs them (its defaults, bicubic conversion of colour to 4:2:0, sizes cut to even numbers),
but on one thread, so that a build gives the same bytes on every machine. Decoders run on one thread too: a damaged stream
decodes to other pixels from run to run on more.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import av
import numpy as np
import torch
from av.codec.codec import UnknownCodecError
from av.error import ArgumentError, FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from .errors import InputError
from .integrity import most_pixels

RATE = 25
"""Frames per second where nothing says otherwise."""

_DECODERS = {"libx264": "h264", "libx265": "hevc"}
_MPEG2_RATES = [Fraction(n, d) for n, d in ((24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (50, 1), (60, 1))]
_GREY = 128
_LAMBDA = 118
"""FFmpeg's unit of quantisers."""


class Coded(NamedTuple):
    """A packet of a video stream.

    Attributes:
        data: Its content.
        shown: When its frame is shown, in frames.
        stored: When it is decoded, in frames; below 0 at the start of a stream that reorders.
        key: Whether decoding can start at it.
    """

    data: bytes
    shown: int
    stored: int
    key: bool


@dataclass(frozen=True)
class Encoding:
    """An encoder and what is asked of it.

    Attributes:
        encoder: FFmpeg's name of it.
        options: FFmpeg's options, by name.
    """

    encoder: str
    options: Mapping[str, str]

    @property
    def decoder(self) -> str:
        """FFmpeg's name of the decoder for what it writes."""
        return _DECODERS.get(self.encoder, self.encoder)


def constant_quality(encoder: str, factor: int) -> Encoding:
    """`-crf factor` of libx264 or libx265, preset medium."""
    return Encoding(encoder, {"crf": str(factor)} | _quiet(encoder))


def average_bits(encoder: str, bits: float) -> Encoding:
    """`-b:v bits -maxrate bits -bufsize bits`, bits per second; below 1000, the unit of both encoders, it is 1000."""
    target = str(max(int(bits), 1000))
    return Encoding(encoder, {"b": target, "maxrate": target, "bufsize": target} | _quiet(encoder))


def fixed_quantiser(encoder: str, quantiser: float) -> Encoding:
    """`-q:v quantiser` of mpeg2video or mpeg4, which end at 31: beyond it only the weight of bits against errors goes up.

    The command line hands the quantiser over with every frame, which PyAV has no way to; limits that leave no choice do the same.
    """
    limit = str(round(quantiser * _LAMBDA))
    return Encoding(encoder, {"lmin": limit, "lmax": limit, "i_qfactor": "1", "b_qfactor": "1"})


def _quiet(encoder: str) -> dict[str, str]:
    return {"x265-params": "log-level=none:pools=1:frame-threads=1"} if encoder == "libx265" else {}


def _repeatable(encoding: Encoding, width: int, height: int) -> dict[str, str]:
    """Options without which an encoder makes other bytes of the same frames from call to call."""
    if encoding.encoder == "libx265" and max(width, height) <= 64:
        # The coding blocks must be smaller than the frame.
        quiet = encoding.options["x265-params"]
        return {"x265-params": f"{quiet}:ctu={32 if max(width, height) > 32 else 16}"}
    return repeatable_x264() if encoding.encoder == "libx264" else {}


def repeatable_x264() -> dict[str, str]:
    """Options without which libx264 makes other bytes of the same small frames from call to call.

    Its macroblock tree then weighs what lay in memory before, in its AVX-512 code alone; with that of AVX2 the bytes are those of
    machines that have no AVX-512.
    """
    return {"x264-params": "asm=AVX2"} if _avx512() else {}


@cache
def _avx512() -> bool:
    """Whether this processor has it; torch may be told, or built, not to use it."""
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return torch.backends.cpu.get_cpu_capability() == "AVX512"


def encode(frames: NDArray[np.uint8], encoding: Encoding, rate: float = RATE, layout: str = "rgb24") -> list[Coded]:
    """Frames as a stream of packets, headers inside (Annex B for H.264 and H.265).

    Args:
        frames: uint8 (T, H, W, 3); an odd last row or column is cut off.
        encoding: How.
        rate: Frames per second; 0 stands for 25.
        layout: Order of the channels, `rgb24` or `bgr24`.

    Raises:
        InputError: This build of FFmpeg lacks the encoder, or it refuses frames of this size.
    """
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    context = created(encoding.encoder)
    configure(context, encoding, width, height, frame_rate(rate))
    reformatter = VideoReformatter()
    pictures = (
        reformatter.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format=layout),
            format="yuv420p",
            interpolation=Interpolation.BICUBIC,
        )
        for frame in frames
    )
    return packets_of(context, encoding, pictures, "the clip")


def decode(packets: Iterable[Coded], decoder: str, shape: Sequence[int], layout: str = "rgb24") -> NDArray[np.uint8]:
    """Frames of a stream that may be damaged: each at its time, and where one is lost, the last good one again.

    Before the first good frame it stands too; where there is none at all, all is grey. Frames of another size count as lost.

    Args:
        packets: The stream.
        decoder: FFmpeg's name.
        shape: (T, H, W, 3); an odd last row or column is the one before it again.
        layout: Order of the channels, `rgb24` or `bgr24`.
    """
    total, height, width = shape[:3]
    context = created(decoder, "r")
    context.options = most_pixels(width, height)
    shown: dict[int, VideoFrame] = {}
    for packet in [*map(to_packet, packets), None]:
        # What an unreadable packet leaves of a picture comes out with later ones, or not at all.
        with contextlib.suppress(FFmpegError):
            for frame in context.decode(packet):
                if frame.pts is not None and (frame.height, frame.width) == (height // 2 * 2, width // 2 * 2):
                    shown[frame.pts] = frame
    made = np.full((total, height, width, 3), _GREY, np.uint8)
    reformatter = VideoReformatter()
    known = sorted(time for time in shown if 0 <= time < total)
    for number, time in enumerate(known):
        start, stop = time if number else 0, known[number + 1] if number + 1 < len(known) else total
        try:
            picture = reformatter.reformat(shown[time], format=layout, interpolation=Interpolation.BICUBIC).to_ndarray()
        except FFmpegError:  # a damaged header may name a format that nothing can be made of
            made[start:stop] = made[start - 1] if start else made[start]
            continue
        made[start:stop, : picture.shape[0], : picture.shape[1]] = picture
        made[start:stop, picture.shape[0] :] = made[start:stop, picture.shape[0] - 1 : picture.shape[0]]
        made[start:stop, :, picture.shape[1] :] = made[start:stop, :, picture.shape[1] - 1 : picture.shape[1]]
    return made


def mp4v(frames: NDArray[np.uint8], rate: float) -> NDArray[np.uint8]:
    """Frames as they come back from a file of OpenCV's `VideoWriter` with `mp4v`, how ROSE stored its sets.

    That is MPEG-4 at 2 bits per pixel, a key frame every 12 and no quantiser below 3 (OpenCV's rule, cap_ffmpeg_impl.hpp).

    Args:
        frames: uint8 (T, H, W, 3), RGB.
        rate: Frames per second; 0 stands for 25.

    Returns:
        uint8 of the same shape.

    Raises:
        InputError: The frames are too small to be encoded.
    """
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    bits = str(int(2 * frame_rate(rate) * height * width))
    encoding = Encoding("mpeg4", {"b": bits, "bt": bits, "qmin": "3", "g": "12"})
    # BGR as OpenCV has it: FFmpeg takes colour down to 4:2:0 in another way for it than for RGB.
    packets = encode(frames[..., ::-1], encoding, rate, "bgr24")
    return np.ascontiguousarray(decode(packets, "mpeg4", frames.shape, "bgr24")[..., ::-1])


def frame_rate(rate: float | Fraction | None) -> Fraction:
    """A frame rate that every codec can write; 25 where there is none."""
    if not rate or rate <= 0:
        return Fraction(RATE)
    exact = Fraction(rate).limit_denominator(1001)
    return exact if 0 < exact.numerator < 2**16 else max(Fraction(rate).limit_denominator(100), Fraction(1, 100))


def created(name: str, mode: Literal["r", "w"] = "w") -> VideoCodecContext:
    """An encoder (`w`) or decoder (`r`) of FFmpeg's, on one thread.

    Raises:
        InputError: This build of FFmpeg lacks it.
    """
    try:
        context = av.CodecContext.create(name, mode)
    except UnknownCodecError:
        kind = "encoder" if mode == "w" else "decoder"
        raise InputError(f"codec {name}", f"this build of FFmpeg has no such {kind}", "PyAV's own wheels have it") from None
    assert isinstance(context, VideoCodecContext)
    # More threads in a decoder give a damaged stream other pixels from run to run, in an encoder other bytes per machine.
    context.thread_count = 1
    return context


def configure(context: VideoCodecContext, encoding: Encoding, width: int, height: int, rate: Fraction) -> None:
    """Sets an encoder up for 4:2:0 frames of a size."""
    if encoding.encoder == "mpeg2video":
        # It knows eight rates. At a fixed quantiser they change nothing but the header; the container has the true one.
        rate = min(_MPEG2_RATES, key=lambda known: abs(known - rate))
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.framerate, context.time_base = rate, 1 / rate
    context.thread_count = 1
    context.options = dict(encoding.options) | _repeatable(encoding, width, height)


def packets_of(context: VideoCodecContext, encoding: Encoding, pictures: Iterable[VideoFrame], owner: str) -> list[Coded]:
    """What an encoder makes of all pictures, one after the other in time.

    Raises:
        InputError: It refuses frames of this size; the message starts with `owner`.
    """
    packets = []
    try:
        for time, picture in enumerate(pictures):
            picture.pts, picture.time_base = time, context.time_base
            # Else the source's own key frames would become key frames again.
            picture.pict_type = PictureType.NONE
            packets += context.encode(picture)
        packets += context.encode(None)
    except ArgumentError as error:
        size = f"{context.width}x{context.height}"
        raise InputError(owner, f"{encoding.encoder} refuses frames of {size}: {error.strerror}") from error
    return [Coded(bytes(packet), packet.pts, packet.dts, packet.is_keyframe) for packet in packets]


def to_packet(coded: Coded) -> av.Packet:
    """PyAV's form of a packet, its times in frames."""
    # Not av.Packet(data): that lacks the zeros that decoders need behind a packet, and MPEG-4 then decodes at random.
    packet = av.Packet(len(coded.data))
    packet.update(coded.data)
    packet.pts, packet.dts, packet.is_keyframe = coded.shown, coded.stored, coded.key
    return packet
