"""Downloads: resumed where they broke, checked by sha256, and never half a file under its final name."""

import errno
import fcntl
import hashlib
import http.client
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from ..core.errors import InputError
from ..core.progress import progress

ATTEMPTS = 3
PAUSE = 1.0
"""Seconds before the second attempt; each further pause is twice as long."""
TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
CHUNK = 1 << 16
"""Bytes per read."""

_MOMENTARY = (408, 425, 429, 500, 502, 503, 504)
"""Answers that another attempt may better."""


class _BrokenError(Exception):
    """The connection ended before the file did; another attempt goes on from there."""


def download(url: str, path: Path, sha256: str = "", about: str = "", where: str = "weights") -> str:
    """Downloads a file, with a progress bar on stderr.

    What has arrived waits in `<name>.part`, from which the next call goes on. Processes that want the same file at once take
    turns, so the folder must be the file's own.

    Args:
        url: An http or https address.
        path: Where the file goes.
        sha256: First hex digits that its sha256 must have; empty to take what comes.
        about: What it is and its licence, for the line that announces the download.
        where: The argument, for messages.

    Returns:
        The file's sha256, 64 hex digits.

    Raises:
        InputError: Offline, no such host or file, a full disk, a connection that breaks again and again, or another file than
            the one promised.
    """
    for name in ("VBENCH_OFFLINE", "HF_HUB_OFFLINE"):
        if os.environ.get(name, "").lower() not in ("", "0", "false", "no"):
            raise InputError(
                where, f"{path.name} is not in the cache and {name} forbids downloads", f"unset {name}, or give a file"
            )
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _turn(path.parent):
            if path.is_file():  # another process was faster
                return _hash(path).hexdigest()
            digest = _persist(url, part, sha256, about or path.name, where)
            if not digest.startswith(sha256):
                _forget(part)
                problem = f"{url} is not the file that was published: its sha256 begins with {digest[:8]}, not {sha256[:8]}"
                raise InputError(where, problem, "the download was removed; try again or ask its publisher")
            os.replace(part, path)
            _forget(part)
    except OSError as error:
        remedy = "free some space or set VBENCH_CACHE to another folder; what has arrived is kept"
        if error.errno == errno.ENOSPC:
            raise InputError(where, f"the disk of {path.parent} is full", remedy) from None
        raise InputError(where, f"cannot write {path}: {error.strerror or error}", "set VBENCH_CACHE to a local folder") from None
    return digest


def _persist(url: str, part: Path, sha256: str, about: str, where: str) -> str:
    """Attempts until all bytes are there; gives their sha256."""
    reason = ""
    for attempt in range(ATTEMPTS):
        try:
            return _receive(url, part, bool(sha256), about, where)
        except _BrokenError as error:
            reason = str(error)
        if attempt + 1 < ATTEMPTS:
            time.sleep(PAUSE * 2**attempt)
    raise InputError(where, f"downloading {url} failed: {reason}", "the same command goes on from there")


def _receive(url: str, part: Path, checked: bool, about: str, where: str) -> str:
    """One attempt, from where the last one ended if the server can."""
    tag = _tag_file(part).read_text() if _tag_file(part).is_file() else ""
    # Without a hash and without a mark of the server's version, bytes of two versions could be mixed.
    have = part.stat().st_size if part.is_file() and (checked or tag) else 0
    with _open(url, have, tag, where) as answer:
        have = have if answer.status == 206 else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        if answer.headers.get_content_type() == "text/html":
            raise InputError(where, f"{url} is a web page, no file", "download by hand and give the file")
        if total and total - have > shutil.disk_usage(part.parent).free:
            raise OSError(errno.ENOSPC, "full")
        size = decimal(total) if total else "of unknown size"
        resumed = f", going on at {decimal(have)}" if have else ""
        print(f"downloading {about}, {size}, from {url}{resumed}", file=sys.stderr, flush=True)
        etag = answer.headers.get("ETag", "")
        _tag_file(part).write_text(etag if etag.startswith('"') else answer.headers.get("Last-Modified", ""))
        digest = _hash(part) if have else hashlib.sha256()
        with part.open("ab" if have else "wb") as file, _progress() as progress:
            bar = progress.add_task(part.stem, total=total, completed=have)
            for chunk in _chunks(answer):
                file.write(chunk)
                digest.update(chunk)
                progress.advance(bar, len(chunk))
            file.flush()
            os.fsync(file.fileno())
    arrived = part.stat().st_size
    if total is not None and arrived != total:
        raise _BrokenError(f"the connection ended at {decimal(arrived)} of {decimal(total)}")
    return digest.hexdigest()


def _open(url: str, have: int, tag: str, where: str) -> HTTPResponse:
    headers = {"User-Agent": "robustvideo", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": tag} if tag else {})
    host = url.partition("//")[2].partition("/")[0]
    try:
        answer: HTTPResponse = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416:  # the part is longer than the file, so it is of another one: begin anew without conditions
            return _open(url, 0, "", where)
        if error.code in _MOMENTARY:
            raise _BrokenError(f"the server answers {error.code} {error.reason}") from None
        raise InputError(where, f"{url}: the server answers {error.code} {error.reason}", "give a file or another URL") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, TimeoutError):
            raise _BrokenError(f"{host} does not answer") from None
        problem = f"cannot reach {host} ({reason})"
        raise InputError(where, problem, f"check the network, or download {url} elsewhere and give the file") from None
    return answer


def _chunks(answer: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = answer.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(f"the connection broke ({error})") from None
        if not chunk:
            return
        yield chunk


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Waits until no other process downloads into the folder; the lock ends with the process, however it ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another process that downloads the same file", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _hash(path: Path) -> "hashlib._Hash":
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256")


def _tag_file(part: Path) -> Path:
    """Holds the server's mark of the version that a part is of."""
    return part.with_name(f"{part.name}.tag")


def _forget(part: Path) -> None:
    for path in (part, _tag_file(part)):
        path.unlink(missing_ok=True)


def _progress() -> Progress:
    return progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
