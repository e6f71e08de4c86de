"""Annotation files: found, read, and told apart from what is none, each slip in one line."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import InputError


class Listed(NamedTuple):
    """One clip as an annotation names it, before anybody looked for its file.

    Attributes:
        id: Stable name, unique in the data set, the same whatever the copy's layout.
        place: Path under the folder of clips, `/` between its parts, with or without the suffix of a video.
        label: Class index, 0-based.
        group: Source video.
        start: First frame, from 0.
        stop: The frame after the last; None: the video's end.
        frames: How many frames the annotation counts; 0: it does not say.
        also: Another place that some copies have the clip at; empty: none.
    """

    id: str
    place: str
    label: int
    group: str
    start: int = 0
    stop: int | None = None
    frames: int = 0
    also: str = ""


def read_text(path: Path, owner: str) -> list[str]:
    """The lines of a text file, stripped.

    Raises:
        InputError: It cannot be read, or is not UTF-8.
    """
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(owner, f"{path} cannot be read: {error}", "give a UTF-8 text file") from None


def numbered(path: Path, owner: str) -> Iterator[tuple[int, str]]:
    """Line number, from 1, and text of every line that is not empty.

    Raises:
        InputError: The file cannot be read, or holds nothing.
    """
    lines = [(number, line) for number, line in enumerate(read_text(path, owner), start=1) if line]
    if not lines:
        raise InputError(owner, f"{path} is empty", "give one line per clip")
    yield from lines


def read_json(path: Path, owner: str, kind: type) -> Any:
    """The content of a JSON file whose outermost value is a `kind`, list or dict.

    Raises:
        InputError: It cannot be read, is no JSON, or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(owner, f"{path} cannot be read: {error}", "give a JSON file") from None
    if not isinstance(found, kind) or not found:
        raise InputError(owner, f"{path} holds {_shape(found)}", f"a {kind.__name__} of clips was expected")
    return found


def entry(item: Any, key: str, kind: type | tuple[type, ...], path: Path, owner: str) -> Any:
    """A value of one entry of a JSON annotation.

    Raises:
        InputError: It is missing or of another type.
    """
    value = item.get(key) if isinstance(item, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        text = repr(item)
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        raise InputError(owner, f"{path}: the entry {shown} has no {key!r}", f"a {_expected(kind)} was expected")
    return value


def find_files(folders: Sequence[Path], patterns: Sequence[str]) -> Iterator[Path]:
    """The files that fit one of the patterns, folder by folder and pattern by pattern."""
    for folder in folders:
        for pattern in patterns:
            matches = sorted(folder.glob(pattern)) if "*" in pattern else [folder / pattern]
            yield from (path for path in matches if path.is_file())


def contents(folder: Path, limit: int = 4) -> str:
    """The first names in a folder, for the message that says what was found instead."""
    try:
        names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return "nothing readable"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "nothing") + more


def _shape(value: Any) -> str:
    return f"a {type(value).__name__} of {len(value)}" if isinstance(value, (list, dict)) else f"a {type(value).__name__}"


def _expected(kind: type | tuple[type, ...]) -> str:
    return " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
