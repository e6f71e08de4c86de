"""Copies of data sets in small: a few tiny clips in the layouts that people have on their disks."""

import json
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

CODECS = {".mp4": "libx264", ".avi": "mpeg4", ".webm": "libvpx"}


def clip(path: Path, frames: int = 6, rate: int = 25, level: int = 90) -> Path:
    """A video of 32x32; frame t is grey of `level` + 10 t."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[path.suffix], rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 32, 32, "yuv420p", 1
        for index in range(frames):
            image = np.full((32, 32, 3), level + 10 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def frames(folder: Path, count: int = 6, template: str = "%05d.jpg", level: int = 90) -> Path:
    """A folder of frames, counted from 1; frame t is grey of `level` + 10 (t - 1)."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.new("RGB", (32, 24), (level + 10 * index,) * 3).save(folder / (template % (index + 1)))
    return folder


def write(path: Path, text: str | list | dict) -> Path:
    """A text file, or JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def rows(records, root: Path):
    """What a test compares: id, path under the root, label, group."""
    return [(one.id, one.path.relative_to(root).as_posix(), one.label, one.group) for one in records]


def packed(source: Path, path: Path) -> Path:
    """An MPEG-4 AVI with `source`'s frames whose B-frames share a packet with the frame before, as in UCF101's DivX files.

    `source` is an MPEG-4 AVI with single B-frames. A placeholder stands for each frame that moved, and the DivX mark says so.
    """
    with av.open(str(source)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    kinds = [packet[packet.index(_PICTURE) + 4] >> 6 for packet in packets]
    out = []
    for number, (packet, kind) in enumerate(zip(packets, kinds, strict=True)):
        if kind == _B:
            out.append(_PICTURE + b"\x50\x7f\xff")
        else:
            joined = number + 1 < len(packets) and kinds[number + 1] == _B
            out.append(packet + packets[number + 1] if joined else packet)
    start = out[0].index(_PICTURE)
    out[0] = out[0][:start] + b"\0\0\1\xb2DivX503b1393p" + out[0][start:]
    with av.open(str(path), "w") as container, av.open(str(source)) as origin:
        stream = container.add_stream_from_template(origin.streams.video[0])
        for number, content in enumerate(out):
            packet = av.Packet(content)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), number == 0
            packet.pts = packet.dts = number
            container.mux(packet)
    return path


def edited(path: Path, start: int, count: int) -> Path:
    """Makes an MP4 of 25 frames a second show `count` frames from `start` on; its header still counts all of them."""
    data = bytearray(path.read_bytes())
    edit, media = data.index(b"elst") + 12, data.index(b"mdhd") + 16
    (scale,) = struct.unpack_from(">I", data, media)
    (shift,) = struct.unpack_from(">i", data, edit + 4)
    struct.pack_into(">Ii", data, edit, count * 1000 // 25, shift + start * scale // 25)
    path.write_bytes(data)
    return path


def turned(path: Path) -> Path:
    """Makes an MP4 be shown a quarter turn clockwise."""
    data = bytearray(path.read_bytes())
    one, matrix = 1 << 16, data.index(b"tkhd") + 44
    struct.pack_into(">9i", data, matrix, 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


_PICTURE, _B = b"\0\0\1\xb6", 2
