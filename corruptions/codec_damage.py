"""Damage on the way: bytes of the compressed video that change or get lost."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import av
import numpy as np
import torch
from torch import Tensor

from ..benchmark.core import recode
from ..benchmark.core.codec import Coded, frame_rate, to_packet
from ..benchmark.core.corruption import Stream
from ..benchmark.core.integrity import video_stream, whole_frames
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from .codec import PLAIN, through

CHUNK = 1472
"""Bytes of a UDP datagram on Ethernet: 1500 less the headers of IP and UDP."""

_START = re.compile(rb"\x00?\x00\x00\x01")


class Noise:
    """FFmpeg's bitstream filter `noise=A`, which has no randomness: a sum over the bytes says which of them change.

    With S = 0 at first, every byte b adds b + 1 to S, an unsigned number of 32 bits; where S is then a multiple of A, the byte
    becomes the lowest 8 bits of S. That is one byte in about A.

    Args:
        every: A.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._sum = 0

    def __call__(self, payload: bytes) -> bytes:
        """The next packet of the stream, damaged."""
        values = np.frombuffer(payload, np.uint8)
        sums = (self._sum + np.cumsum(values + np.uint64(1), dtype=np.uint64)) % 2**32
        hit = sums % self.every == 0
        self._sum = int(sums[-1]) if len(sums) else self._sum
        return np.where(hit, sums.astype(np.uint8), values).tobytes()


def lossy(packets: Sequence[Coded], lost: Sequence[bool]) -> list[Coded]:
    """An Annex B stream (H.264) without some of its chunks of 1472 bytes.

    What is left is cut into units at the start codes in it, as a receiver does. A unit whose start is lost thereby ends up at the
    end of the one before; each belongs to the packet that its first byte was in, and keeps that packet's time.

    Args:
        packets: The stream.
        lost: For every chunk whether it gets lost; the first must not.
    """
    stream = np.frombuffer(b"".join(packet.data for packet in packets), np.uint8)
    places = np.flatnonzero(np.repeat(~np.asarray(lost, bool), CHUNK)[: len(stream)])
    received = stream[places].tobytes()
    ends = np.cumsum([len(packet.data) for packet in packets])
    starts = [match.start() for match in _START.finditer(received)]
    content = [b""] * len(packets)
    for start, stop in zip(starts, [*starts[1:], len(received)], strict=True):
        content[int(np.searchsorted(ends, places[start], side="right"))] += received[start:stop]
    return [packet._replace(data=data) for packet, data in zip(packets, content, strict=True) if data]


@register("corruption", "bit_error")
@dataclass(frozen=True)
class BitError(Stream):
    """Bytes of the compressed video change.

    Formula: `ffmpeg -c copy -bsf noise=A`: S = 0; for every byte b of the stream S += b + 1, and where S is a multiple of A the
    byte becomes S modulo 256. One byte in about A is hit, always the same ones: there is no randomness.

    At the stage `file`, the payload of the source's video packets changes where it lies, so that the container stays as it is;
    where a container scatters payload (MPEG-TS), its packets move into Matroska first. At the stage `frames`, clips are
    H.264 at `-crf 23` first; a short clip may have fewer than A bytes and stay whole. Decoded on one thread, for on more the same
    damage gives other pixels from run to run; lost frames fall out of a file, and in a clip the last good frame stands for them.

    Source: Yi et al. 2021, Mini Kinetics-C, create_mini_kinetics_c.py; table yi2021 has A.
    """

    tables: ClassVar[Mapping[str, Sequence[int]]] = {"yi2021": (100000, 50000, 30000, 20000, 10000)}
    smallest: ClassVar[int] = 16

    table: str = param("yi2021", help="severity table")

    def recode(self, path: Path, setting: int, rng: ClipRandom) -> bytes:
        """The file with bytes of its video changed.

        Raises:
            ClipError: It is missing, damaged already, or holds no video.
        """
        with recode.opened(path) as source:
            for _ in whole_frames(path, source):
                pass
        return _in_place(path, setting) or _remuxed(path, setting)

    def change(self, clips: Tensor, setting: int, rng: ClipRandom, rate: float) -> Tensor:
        """Clips as H.264 with bytes changed."""

        def damage(row: int, packets: list[Coded]) -> list[Coded]:
            noise = Noise(setting)
            return [packet._replace(data=noise(packet.data)) for packet in packets]

        return through(clips, lambda row: PLAIN, rate, damage)


@register("corruption", "packet_loss")
@dataclass(frozen=True)
class PacketLoss(Stream):
    """Parts of the compressed video get lost on the network.

    Formula: The video as H.264 (`-crf 23`) in chunks of 1472 bytes; each but the first, which has the stream's headers, gets lost
    with probability p %.

    The reference sends over a simulated network with administrator's rights and no seed. How a clip looks depends much on which
    chunk is lost: compare over several seeds. A short clip has few chunks and often loses none. Decoded on one thread; lost
    frames fall out of a file, and in a clip the last good frame stands for them.

    Source: Yi et al. 2021, Mini Kinetics-C, packet-loss-simulation; table yi2021 has p.
    """

    tables: ClassVar[Mapping[str, Sequence[int]]] = {"yi2021": (1, 2, 3, 4, 6)}
    smallest: ClassVar[int] = 16

    table: str = param("yi2021", help="severity table")

    def recode(self, path: Path, setting: int, rng: ClipRandom) -> bytes:
        """The file's frames as H.264, with chunks missing."""
        return recode.reencode(path, PLAIN, lambda packets: lossy(packets, _lost(packets, setting, rng)))

    def change(self, clips: Tensor, setting: int, rng: ClipRandom, rate: float) -> Tensor:
        """Clips as H.264, with chunks missing."""

        def damage(row: int, packets: list[Coded]) -> list[Coded]:
            return lossy(packets, _lost(packets, setting, rng[torch.tensor([row])]))

        return through(clips, lambda row: PLAIN, rate, damage)


def _lost(packets: Sequence[Coded], percent: float, rng: ClipRandom) -> list[bool]:
    chunks = -(-sum(len(packet.data) for packet in packets) // CHUNK)
    draws = rng.uniform((chunks,), 0, 100)[0].cpu()
    return [number > 0 and draw < percent for number, draw in enumerate(draws.tolist())]


def _in_place(path: Path, every: int) -> bytes | None:
    """The file's bytes with the video's payload damaged where it lies; None where it does not lie in one piece."""
    data, noise = path.read_bytes(), Noise(every)
    made = bytearray(data)
    with recode.opened(path) as source:
        for packet in source.demux(video_stream(str(path), source)):
            payload = bytes(packet)
            if not payload:
                continue
            # Where the packet starts, or its header in the container, which has a few bytes.
            first = -1 if packet.pos is None else data.find(payload, packet.pos, packet.pos + len(payload) + 64)
            if first < 0:
                return None
            made[first : first + len(payload)] = noise(payload)
    return bytes(made)


def _remuxed(path: Path, every: int) -> bytes:
    """The file's video packets, damaged, in Matroska."""
    made, noise = BytesIO(), Noise(every)
    with recode.opened(path) as source, av.open(made, "w", format="matroska", options={"fflags": "+bitexact"}) as target:
        stream = video_stream(str(path), source)
        track = target.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in source.demux(stream) if packet.size):
            # Decoders sort frames by what is in them: whole numbers do where a container left times out.
            damaged = to_packet(Coded(noise(bytes(packet)), number, number, packet.is_keyframe))
            damaged.stream, damaged.time_base = track, 1 / frame_rate(stream.average_rate)
            target.mux(damaged)
    return made.getvalue()
