"""Who works on which cell: leases are files in the store, so that workers need nothing but a shared folder."""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from ...core.errors import InputError

TTL = 60.0
"""Seconds without a sign of life after which the lease of another host's worker is free again."""

BEATS = 6
"""Signs of life per TTL."""


@dataclass(frozen=True)
class Lease:
    """Who holds a cell.

    Attributes:
        owner: The worker.
        run: The run that the worker belongs to; workers that were started by hand share one name.
        host: Its host.
        pid: Its process there.
        born: When that process was started, in clock ticks since the host's boot: process numbers are used again.
        deaths: How many workers of this run have died over the cell.
    """

    owner: str
    run: str
    host: str
    pid: int
    born: int
    deaths: int = 0


class Leases:
    """The leases of a worker. A context: while it lasts a thread gives signs of life, at its end what is held is given back.

    Claims are made by a hard link, which succeeds for one of several workers, also on NFS; age is measured by the clock of the
    file system, not of this host. A cell that two workers claim in spite of all is computed twice, to the same result.

    Args:
        folder: The store.
        run: Name of the run.
        ttl: See TTL.
    """

    def __init__(self, folder: Path, run: str, ttl: float = TTL) -> None:
        self.folder, self.ttl = folder / "leases", ttl
        owner = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self.me = Lease(owner, run, _host(), os.getpid(), born(os.getpid()) or 0)
        self._held: set[Path] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> "Leases":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError("store", f"cannot make {self.folder}: {error.strerror or error}") from None
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()
        for path in list(self._held):
            self._drop(path)

    def claim(self, name: str) -> Lease | None:
        """Takes a lease that nobody holds, or whose holder is dead.

        Returns:
            The lease, with the deaths over it so far; None where somebody lives who holds it.

        Raises:
            InputError: The store cannot be written.
        """
        path, deaths = self.folder / f"{name}.json", 0
        holder = self._read(path)
        if holder is not None:
            if self._lives(path, holder) or not self._bury(path, holder):
                return None
            deaths = holder.deaths + 1 if holder.run == self.me.run else 0
        mine = replace(self.me, deaths=deaths)
        return mine if self._take(path, mine) else None

    def release(self, name: str) -> None:
        """Gives a lease back."""
        self._drop(self.folder / f"{name}.json")

    @contextlib.contextmanager
    def holding(self, name: str) -> Iterator[Lease | None]:
        """A claim that is given back at the end of the block, whatever ends it."""
        lease = self.claim(name)
        try:
            yield lease
        finally:
            if lease:
                self.release(name)

    def _take(self, path: Path, lease: Lease) -> bool:
        draft = path.with_name(f".{path.name}.{lease.owner}.tmp")
        try:
            draft.write_text(json.dumps(asdict(lease)), encoding="utf-8")
            try:
                os.link(draft, path)
            except FileExistsError:
                return False
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise InputError("store", f"cannot write {path}: {error.strerror or error}") from None
        self._held.add(path)
        return True

    def _bury(self, path: Path, holder: Lease) -> bool:
        """Takes a dead worker's lease away: one of several succeeds."""
        grave = path.with_name(f".{path.name}.{self.me.owner}.dead")
        try:
            os.rename(path, grave)
        except OSError:
            return False
        found = self._read(grave)
        if found is not None and found != holder:  # somebody else was faster, and this one lives
            with contextlib.suppress(OSError):
                os.link(grave, path)
            grave.unlink(missing_ok=True)
            return False
        grave.unlink(missing_ok=True)
        return True

    def _lives(self, path: Path, holder: Lease) -> bool:
        if holder.host == self.me.host:
            return born(holder.pid) == holder.born
        try:
            return self._now() - path.stat().st_mtime <= self.ttl
        except FileNotFoundError:
            return True  # given back just now: the next look finds it free

    def _now(self) -> float:
        """The time on the clock that stamps this folder's files."""
        probe = self.folder / f".{self.me.owner}.clock"
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    def _live(self) -> None:
        while not self._end.wait(self.ttl / BEATS):
            for path in list(self._held):
                with contextlib.suppress(OSError):
                    os.utime(path)

    def _drop(self, path: Path) -> None:
        self._held.discard(path)
        holder = self._read(path)
        if holder is not None and holder.owner == self.me.owner:
            path.unlink(missing_ok=True)

    @staticmethod
    def _read(path: Path) -> Lease | None:
        try:
            return Lease(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def born(pid: int) -> int | None:
    """When a living process of this host was started, in clock ticks since boot, or 0 without /proc; None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            return 0
        return 0
    after = text.rpartition(")")[2].split()  # the name of a program may hold spaces and brackets
    return None if after[0] in ("Z", "X") else int(after[19])


def _host() -> str:
    """This host, and the process numbers that hold here: containers may share a host's name."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()
