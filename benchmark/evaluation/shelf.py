"""Clips on disk: what memory does not hold, or other workers need, is decoded and corrupted once all the same."""

import math
import shutil
import zlib
from contextlib import suppress
from importlib.metadata import version
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
        device: Where clips are corrupted: another one rounds otherwise.

    Attributes:
        shared: The same.
        full: Whether the disk has taken no more.
    """

    def __init__(self, folder: Path, shared: bool = False, device: str = "cpu") -> None:
        self.folder, self.shared, self.full = folder, shared, False
        self._made_by = [SCHEMA, device, *map(version, ("av", "torchvision", "torch"))]

    def get(self, view: str, record: ClipRecord, spec: InputSpec) -> Tensor | None:
        """A clip uint8 (3, T, H, W); None where it does not lie there, or not whole.

        Args:
            view: Tells these pixels of a video from all others.
            record: The clip; of a video that has been changed since, nothing is known.
            spec: The clip's frames and size.
        """
        shape = (3, spec.frames, spec.size, spec.size)
        with suppress(OSError):
            content = bytearray(self._path(view, record).read_bytes())
            if len(content) == CHECK + math.prod(shape) and content[:CHECK] == _check(memoryview(content)[CHECK:]):
                return torch.frombuffer(content, dtype=torch.uint8, offset=CHECK).view(shape)
        return None

    def has(self, view: str, record: ClipRecord) -> bool:
        """Whether there is a file of the clip."""
        with suppress(OSError):
            return self._path(view, record).exists()
        return False

    def put(self, view: str, record: ClipRecord, clip: Tensor) -> None:
        """Keeps a clip uint8 (3, T, H, W), as long as the disk has room for more than that."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            disk = shutil.disk_usage(self.folder)
            if self.full or disk.free - clip.nbytes < LEFT * disk.total:
                raise OSError("too little room")
            content = clip.contiguous().numpy().tobytes()
            write_atomically(self._path(view, record), _check(content) + content, lasting=False)
        except OSError:  # costs time, and no result
            self.full = True

    def discard(self, view: str | None = None) -> None:
        """Takes away the clips of a view; None: everything."""
        shutil.rmtree(self._view(view) if view else self.folder, ignore_errors=True)

    def _path(self, view: str, record: ClipRecord) -> Path:
        state = record.path.stat()
        clip = [record.id, str(record.path), record.start, record.stop, record.template, state.st_size, state.st_mtime_ns]
        return self._view(view) / digest(clip)

    def _view(self, view: str) -> Path:
        return self.folder / digest([view, *self._made_by])


def _check(content: bytes | memoryview) -> bytes:
    return zlib.crc32(content).to_bytes(CHECK, "big")
