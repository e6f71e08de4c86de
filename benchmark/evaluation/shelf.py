"""Clips on disk: what memory does not hold, or other workers need, is decoded and corrupted once all the same."""

import errno
import math
import shutil
import stat
import zlib
from contextlib import suppress
from importlib.metadata import version
from os.path import isfile
from pathlib import Path

import torch
from torch import Tensor

from ..core.files import digest, write_atomically
from ..core.interfaces import ClipRecord, InputSpec

SCHEMA = 1
"""Goes up when clips are decoded, resized or written otherwise."""

LEFT = 0.1
"""Of a disk that stays free."""

CHECK = 4
"""Bytes of the CRC-32 before a clip."""


class Shelf:
    """A file for each clip of a view: `<view>/<clip>`.

    Args:
        folder: Where they lie.
        shared: Whether other workers look there, too.

    Attributes:
        shared: The same.
        full: Whether the disk has taken no more.
    """

    def __init__(self, folder: Path, shared: bool = False) -> None:
        self.folder, self.shared, self.full = folder, shared, False
        self._made_by = [SCHEMA, *map(version, ("av", "torchvision", "torch"))]

    def get(self, view: str, clip: str, spec: InputSpec) -> Tensor | None:
        """Pixels uint8 (3, T, H, W); None where they do not lie there, or not whole.

        Args:
            view: Tells these pixels of a video from all others.
            clip: The clip's `stamp`.
            spec: Its frames and size.
        """
        shape = (3, spec.frames, spec.size, spec.size)
        with suppress(OSError):
            content = bytearray(self._path(view, clip).read_bytes())
            if len(content) == CHECK + math.prod(shape) and content[:CHECK] == _check(memoryview(content)[CHECK:]):
                return torch.frombuffer(content, dtype=torch.uint8, offset=CHECK).view(shape)
        return None

    def has(self, view: str, clip: str) -> bool:
        """Whether there is a file of them."""
        return isfile(self._path(view, clip))

    def put(self, view: str, clip: str, pixels: Tensor) -> None:
        """Keeps pixels uint8 (3, T, H, W), as long as the disk has room for more; what fails costs time, and no result."""
        if self.full:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            disk = shutil.disk_usage(self.folder)
            self.full = disk.free - pixels.nbytes < LEFT * disk.total
            if not self.full:
                content = pixels.contiguous().numpy().tobytes()
                write_atomically(self._path(view, clip), _check(content) + content, lasting=False)
        except FileNotFoundError:  # another worker has just taken the folder away
            return
        except (OSError, MemoryError) as error:
            self.full = True
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):  # results need the room
                self.discard()

    def discard(self, view: str | None = None) -> None:
        """Takes away the clips of a view; None: everything."""
        shutil.rmtree(self._path(view) if view else self.folder, ignore_errors=True)

    def _path(self, view: str, clip: str = "") -> Path:
        return self.folder / digest([view, *self._made_by]) / clip


def stamp(record: ClipRecord) -> str:
    """Tells a clip of a video file from all others, and from what it was before the file was changed.

    Empty for a folder of images, one of which may be changed without a trace, and where the file cannot be reached.
    """
    with suppress(OSError, ValueError):  # a name that no file can have
        state = record.path.stat()
        if not stat.S_ISDIR(state.st_mode):
            return digest([record.id, str(record.path), record.start, record.stop, state.st_size, state.st_mtime_ns])
    return ""


def _check(content: bytes | memoryview) -> bytes:
    return zlib.crc32(content).to_bytes(CHECK, "big")
