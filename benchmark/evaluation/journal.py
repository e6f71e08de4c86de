"""What a target has answered in a long batch, written down as it comes: an attack that was killed asks again, and is told."""

import io
import shutil
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.rng import ClipRandom

AFTER = 5.0
"""Seconds of a batch that nothing is written of: shorter ones leave no file."""

WORTH = 20.0
"""Times as long as it takes to write it an answer must have taken: a twentieth of the time at most goes into writing."""

ROOM = 0.1
"""Of what is free on the disk that a journal may fill."""

SPEED = 500e6
"""Bytes per second that a disk is believed to take, until it has shown how many."""

AROUND = 1 << 17
"""Bytes that can be written in the time that writing takes besides its bytes."""

SCHEMA = 1
"""Goes up when an answer is written otherwise: those of another schema are none."""

STREAM = 5056
"""Bytes that a clip's stream takes."""

ROW = 512
"""Numbers of a clip that are summed before their check sum is taken."""

HEAD = struct.Struct("<QI")
"""Before each entry: its bytes, and their CRC-32."""


class Journal:
    """The answers of one batch, in a file.

    An answer serves only the call that it was given to: the same one, counted from the batch's first, with the same clips. So
    whatever an attack asks, it hears what it would have heard, and goes on as if it had never been killed.

    Args:
        path: The file; None: nothing is written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._name = path, ""
        self._began, self._calls = 0.0, 0
        self._start = self._end = 0
        self._next: dict[str, Any] | None = None
        self._waiting: list[dict[str, Any]] = []
        self._bytes, self._seconds = SPEED, 1.0

    def turn(self, name: str) -> None:
        """Begins with a batch of that name, with which all answers are told from those to others."""
        self._name, self._began, self._calls, self._end = name, time.monotonic(), 0, 0
        self._waiting.clear()
        title, self._next = self._read(), None
        if title == self._title:
            self._next = self._read()
        else:
            self._end = 0

    @property
    def holds(self) -> bool:
        """Whether the file has answers of this batch, which those of the next one will take the place of."""
        return self._end > 0

    @property
    def _title(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "name": self._name}

    def once(
        self, kind: str, clips: Tensor, rng: ClipRandom | None, make: Callable[[], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """An answer as it was given before the attack was killed; the streams are moved on in any case.

        Args:
            kind: What is asked for.
            clips: What is asked about, (N, C, T, H, W).
            rng: The streams that the answer draws from; None: it draws nothing.
            make: Asks.
        """
        if self._path is None:
            return make()
        number, self._calls = self._calls, self._calls + 1
        if self._next and self._next["number"] == number:
            if self._next["of"] == [kind, _sum(clips)]:
                return self._told(rng, clips.device)
            self._next, self._end = None, self._start  # it does not ask as it did: what comes is no answer to it
        clock = time.monotonic()
        made = make()
        if clips.is_cuda:
            torch.cuda.synchronize(clips.device)
        now, size = time.monotonic(), sum(part.nbytes for part in made) + STREAM * len(rng or ()) + clips.nbytes // 16 + AROUND
        if self._next is None and now - clock >= WORTH * size * self._seconds / self._bytes:
            with suppress(MemoryError):
                parts, streams = [part.to("cpu", copy=True) for part in made], torch.stack(rng.state()) if rng else None
                self._waiting.append({"number": number, "of": [kind, _sum(clips)], "parts": parts, "streams": streams})
        if self._waiting and now - self._began >= AFTER:
            self._write()
        return made

    def _told(self, rng: ClipRandom | None, device: torch.device) -> tuple[Tensor, ...]:
        assert self._next is not None
        parts = tuple(part.to(device) for part in self._next["parts"])
        if rng:
            rng.restore([one.clone() for one in self._next["streams"]])  # a generator reads beyond a row of a larger tensor
        self._next = self._read()
        return parts

    def _read(self) -> dict[str, Any] | None:
        """The next entry; None where the file ends, at an entry that was not written whole if there is one."""
        if self._path is None:
            return None
        self._start = self._end
        with suppress(Exception), self._path.open("rb") as file:  # whatever is wrong with it: the answers are made again
            file.seek(self._start)
            size, check = HEAD.unpack(file.read(HEAD.size))
            body = file.read(min(size, self._path.stat().st_size))
            if size and len(body) == size and zlib.crc32(body) == check:
                found = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
                self._end = file.tell()
                return found
        return None

    def _write(self) -> None:
        """After what was read. A disk that is full, or nearly so, costs the journal and nothing else."""
        assert self._path is not None
        clock, began, content = time.monotonic(), [] if self._end else [self._title], b""
        try:
            content = b"".join(_packed(entry) for entry in (*began, *self._waiting))
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._end + len(content) > ROOM * shutil.disk_usage(self._path.parent).free:
                raise OSError("too little room")
            with self._path.open("r+b" if self._end else "wb") as file:
                file.seek(self._end)
                file.truncate()
                file.write(content)
                self._end = file.tell()
        except (OSError, MemoryError):
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            self._path = None
        self._waiting.clear()
        self._bytes, self._seconds = self._bytes + len(content), self._seconds + time.monotonic() - clock


def _packed(entry: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    torch.save(entry, stream)
    body = stream.getvalue()
    return HEAD.pack(len(body), zlib.crc32(body)) + body


def _sum(clips: Tensor) -> int:
    """Tells clips from others: the CRC-32 of sums of their bits, as of the bits themselves it takes fifteen times as long."""
    flat = clips.detach().float().contiguous().flatten()
    flat = flat if flat.storage_offset() % 2 == 0 else flat.clone()
    whole = len(flat) // ROW * ROW
    sums = flat[:whole].view(torch.int64).view(-1, ROW // 2).sum(dim=1)
    return zlib.crc32(flat[whole:].cpu().numpy().tobytes(), zlib.crc32(sums.cpu().numpy().tobytes()))
