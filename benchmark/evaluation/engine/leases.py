"""Who works on which cell: leases are files in the store, so that workers need nothing but a shared folder."""

import contextlib
import errno
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

NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
"""What file systems without hard links answer."""


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
        earlier: How many of earlier runs have, since it was last given back.
    """

    owner: str
    run: str
    host: str
    pid: int
    born: int
    deaths: int = 0
    earlier: int = 0


UNREADABLE = Lease("", "", "", 0, 0)
"""Stands for a torn lease file, as a crash of its host may leave it: only its age tells whether it is still held."""


class Leases:
    """The leases of a worker. A context: while it lasts a thread gives signs of life, at its end what is held is given back.

    Claims are made by a hard link, which succeeds for one of several workers, also on NFS; age is measured by the clock of the
    file system, not of this host. A cell that two workers claim in spite of all is computed twice, to the same result.

    Args:
        folder: The store.
        run: Name of the run; by default one of its own, in which nobody else can have died.
        ttl: See TTL.
    """

    def __init__(self, folder: Path, run: str = "", ttl: float = TTL) -> None:
        self.folder, self.ttl = folder / "leases", ttl
        owner = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self.me = Lease(owner, run or owner, _host(), os.getpid(), born(os.getpid()) or 0)
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
        path, mine = self.folder / f"{name}.json", self.me
        holder = self._read(path)
        if holder is not None:
            if self._lives(path, holder) or not self._bury(path, holder):
                return None
            if holder.run == mine.run:
                mine = replace(mine, deaths=holder.deaths + 1, earlier=holder.earlier)
            else:
                mine = replace(mine, earlier=holder.earlier + holder.deaths + 1)
        return mine if self._take(path, mine) else None

    def release(self, name: str) -> None:
        """Gives a lease back."""
        self._drop(self.folder / f"{name}.json")

    def free(self, owner: str, innocent: bool) -> None:
        """Frees the leases of a worker that is known to be dead; `innocent`: the death does not count against its cells."""
        for path in self.folder.glob("*.json"):
            holder = self._read(path)
            if holder is not None and holder.owner == owner:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink() if innocent else os.utime(path, (0, 0))

    @contextlib.contextmanager
    def holding(self, name: str) -> Iterator[Lease | None]:
        """A claim that is given back at the end of the block, whatever ends it."""
        lease = self.claim(name)
        try:
            yield lease
        finally:
            if lease:
                self.release(name)

    def now(self) -> float:
        """The time on the clock that stamps the store's files.

        Raises:
            InputError: The store cannot be written.
        """
        probe = self.folder / f".{self.me.owner}.clock"
        try:
            probe.touch()
            return probe.stat().st_mtime
        except OSError as error:
            raise _unwritable(probe, error) from None
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()

    def _take(self, path: Path, lease: Lease) -> bool:
        draft = path.with_name(f".{path.name}.{lease.owner}.tmp")
        try:
            draft.write_text(json.dumps(asdict(lease)), encoding="utf-8")
            _place(draft, path)
        except FileExistsError:
            if self._read(path) != lease:  # or NFS has lost its answer, and asked twice
                return False
        except OSError as error:
            raise _unwritable(path, error) from None
        finally:
            with contextlib.suppress(OSError):
                draft.unlink()
        self._held.add(path)
        return True

    def _bury(self, path: Path, holder: Lease) -> bool:
        """Takes a dead worker's lease away: one of several succeeds."""
        grave = path.with_name(f".{path.name}.{self.me.owner}.dead")
        try:
            os.rename(path, grave)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unwritable(path, error) from None
        mistaken = self._read(grave) != holder  # somebody else was faster, and this one lives
        with contextlib.suppress(OSError):
            if mistaken:
                _place(grave, path)
        grave.unlink(missing_ok=True)
        return not mistaken

    def _lives(self, path: Path, holder: Lease) -> bool:
        if holder.host == self.me.host:
            started = born(holder.pid)
            if started is None:
                return False
            if started and holder.born:
                return started == holder.born
        now = self.now()
        try:
            return now - path.stat().st_mtime <= self.ttl
        except FileNotFoundError:
            return True  # given back just now: the next look finds it free

    def _live(self) -> None:
        while not self._end.wait(self.ttl / BEATS):
            for path in list(self._held):
                with contextlib.suppress(OSError):
                    os.utime(path)

    def _drop(self, path: Path) -> None:
        self._held.discard(path)
        holder = self._read(path)
        if holder is not None and holder.owner == self.me.owner:
            with contextlib.suppress(OSError):  # a disk that turned read-only: the lease grows old by itself
                path.unlink(missing_ok=True)

    @staticmethod
    def _read(path: Path) -> Lease | None:
        try:
            return Lease(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            return UNREADABLE


def born(pid: int) -> int | None:
    """When a living process of this host was started, in clock ticks since boot; 0: not known; None: there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no /proc, a process that is hidden from us, or none
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
    """This host since its boot, and the process numbers that hold here: hosts and containers may share a name."""
    known = [socket.gethostname()]
    with contextlib.suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        known.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(known)


def _place(draft: Path, path: Path) -> None:
    """Gives a file a second name, if that is free."""
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with path.open("xb") as stream:
            stream.write(draft.read_bytes())


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError("store", f"cannot write {path}: {error.strerror or error}")
