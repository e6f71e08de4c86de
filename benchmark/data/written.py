"""The manifest of a published data set: annotation joined with files once, then read again until either changes."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from ..core.errors import InputError
from ..core.files import cache_root, sha256, write_atomically
from ..core.interfaces import ClipRecord
from .annotations import Listed, contents
from .local import LocalCopy
from .manifest import Manifest
from .tree import Tree

READER = 1
"""Goes up when the same annotation and files come to give other records."""

_COLUMNS = ("id", "path", "label", "class", "group", "split", "start", "stop", "template")


def written_once(
    data: LocalCopy, split: str, version: int, inputs: Sequence[Path], listed: Callable[[], Sequence[Listed]]
) -> list[ClipRecord]:
    """The clips of a split, from the cache folder's manifest where that is still true, else joined anew and written there.

    It is true as long as the content of the annotation, the parameters and the times of the folders of clips stand. A cache
    folder that cannot be written costs time on the next call and nothing else.

    Args:
        data: The data set.
        split: Its split.
        version: Of its reader.
        inputs: The annotation files.
        listed: Reads them.

    Raises:
        InputError: The annotation is wrong, or none of its clips is there.
    """
    path = _place(data, split, version, inputs)
    if path.is_file():
        try:
            return Manifest(str(path), root=str(data.folder)).records(split)
        except InputError:
            pass  # somebody else's hand was in the cache: it is made anew
    records = join(data, split, listed())
    try:
        for older in path.parent.glob(f"{path.stem.rpartition('-')[0]}-*.csv"):
            older.unlink(missing_ok=True)
        write_atomically(path, _text(data, split, records))
    except OSError:
        pass
    return records


def join(data: LocalCopy, split: str, listed: Sequence[Listed]) -> list[ClipRecord]:
    """The listed clips with their files; a missing file stands where it should be.

    Raises:
        InputError: The annotation is wrong, or none of its clips is there.
    """
    bases, tree = data.bases(split), data.tree(split)
    records, found = [], 0
    for row in listed:
        path = tree.find(row.place) or (tree.find(row.also) if row.also else None)
        for place in (data.folder / row.place, bases[0] / row.place):
            path = path or (place if place.exists() else None)
        found += path is not None
        path = path or bases[0] / row.place
        records.append(ClipRecord(row.id, path, row.label, row.group, row.start, row.stop, data.template))
    if not found:
        what = f"none of the {len(records):,} clips of split {split} is there" if records else f"split {split} lists no clips"
        raise InputError(f"{data.owner}: root", f"{what}; {bases[0]} holds {contents(bases[0])}", f"expected {data.example}")
    return records


def _place(data: LocalCopy, split: str, version: int, inputs: Sequence[Path]) -> Path:
    """Where the manifest lies: its name says for what it was made (first hash) and from what (second)."""
    classes = data.classes
    about = [str(data.folder), data.annotations, data.list, data.names, data.template]
    sources = [(str(path), _content(path, data.owner)) for path in inputs]
    stamp = Tree.stamp(data.bases(split), classes if data.by_class else ())
    return (
        cache_root() / "manifests" / f"{data.name}-{split}-{_hash(about)[:8]}-"
        f"{_hash([READER, version, classes, sources, stamp])[:16]}.csv"
    )


def _content(path: Path, owner: str) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise InputError(owner, f"{path} cannot be read: {error}", "give an annotation or list file") from None


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _text(data: LocalCopy, split: str, records: Sequence[ClipRecord]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for one in records:
        path = one.path.relative_to(data.folder) if one.path.is_relative_to(data.folder) else one.path
        stop = "" if one.stop is None else one.stop
        table.writerow(
            (one.id, path.as_posix(), one.label, data.classes[one.label], one.group, split, one.start, stop, one.template)
        )
    return text.getvalue()
