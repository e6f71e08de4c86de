"""Files that are never half-written, and their hashes."""

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any


def write_atomically(path: Path, data: str | bytes, lasting: bool = True) -> None:
    """Writes through a temporary file in the same folder, fsync and rename: a reader sees the old or the new content.

    Args:
        path: The file.
        data: Its content.
        lasting: Whether to wait for the disk; a file that need not outlive a power cut is written much faster.

    Raises:
        OSError: The disk is full or the folder cannot be written; no temporary file is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = data.encode() if isinstance(data, str) else data
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            if lasting:
                stream.flush()
                os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if not lasting:
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # gone since
            total += path.stat().st_size if path.is_file() else 0
    return total


def sha256(path: Path) -> str:
    """The sha256 of a file's content, as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(content: Any) -> str:
    """24 hex digits of the sha256 of what JSON can write."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def cache_root() -> Path:
    """`VBENCH_CACHE`, else `robustvideo` in the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`)."""
    own = os.environ.get("VBENCH_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "robustvideo"
