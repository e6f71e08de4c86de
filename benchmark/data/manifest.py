"""Any videos, listed in a CSV file."""

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

from ..core.errors import InputError
from ..core.interfaces import ClipRecord
from ..core.params import param
from ..core.registry import did_you_mean, register
from .frame_folder import template_pattern
from .labels import check_split, read_names

_OWNER = "dataset manifest"
_ONLY = "test"
_NUMBER = re.compile(r"[-+]?\d*\.?\d+")
_DIGITS = 6


class _Row(NamedTuple):
    line: int
    id: str
    path: str
    label: str
    name: str
    group: str
    split: str
    start: int
    stop: int | None
    template: str


@register("dataset", "manifest")
@dataclass(frozen=True)
class Manifest:
    """Videos listed in a CSV file with a header: columns path and label, and if wanted group, split, id, class and some more.

    `label` is a class index from 0, which the column `class` may name, in every line; or a class name in every line. Names get
    their index from the file `names`; without it from their sorted order over all splits, which is right only if every class
    occurs. `id` defaults to the path as written, `group` to the id. Without the column `split`, every clip is of split `test`.
    A clip that is a part of its video has `start` and `stop`: its first frame, from 0, and the frame after its last. `template`
    names the frames in a folder that has other images too: img_%05d.jpg.
    A file that does not exist is listed all the same: it becomes a failed clip when it is loaded.
    """

    version: ClassVar[int] = 1

    path: str = param(help="CSV file with columns path, label and if wanted group, split, id, class", identity=False)
    root: str = param("", help="folder that relative paths start from; empty: the CSV file's", identity=False)
    names: str = param("", help="text file with one class name per line, in label order", identity=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order; a class known by number alone is named by it."""
        return self._content[0]

    def records(self, split: str) -> list[ClipRecord]:
        """The videos of a split, in the order of the lines.

        Raises:
            InputError: The file or a line of it is wrong, or there is no such split.
        """
        rows = self._content[1]
        check_split(split, sorted({row.split for row, _ in rows}), self.path)
        root = Path(self.root).expanduser() if self.root else Path(self.path).expanduser().parent
        return [
            ClipRecord(row.id, root / os.path.expanduser(row.path), label, row.group, row.start, row.stop, row.template)
            for row, label in rows
            if row.split == split
        ]

    @cached_property
    def _content(self) -> tuple[tuple[str, ...], list[tuple[_Row, int]]]:
        rows = _read(self.path)
        given = read_names(self.names, _OWNER) if self.names else ()
        if all(row.label.isdecimal() for row in rows):
            classes = _numbered(rows, given, self.path)
            return classes, [(row, int(row.label)) for row in rows]
        classes = given or _named(rows, self.path)
        index = {name: number for number, name in enumerate(classes)}
        for row in rows:
            if row.label not in index:
                raise _error(self.path, row.line, f"label {row.label!r} is not in {self.names}", did_you_mean(row.label, index))
        return classes, [(row, index[row.label]) for row in rows]


def _error(path: str, line: int, problem: str, remedy: str) -> InputError:
    return InputError(f"{_OWNER}: path", f"{path} line {line}: {problem}", remedy)


def _read(path: str) -> list[_Row]:
    """The lines of the file, each with an id of its own."""
    try:
        with Path(path).expanduser().open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            _check_header(path, reader.fieldnames or [])
            rows = [_row(path, reader.line_num, cells) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{_OWNER}: path", f"{path} cannot be read: {error}", "give a UTF-8 CSV file") from None
    if not rows:
        raise InputError(f"{_OWNER}: path", f"{path} lists no videos", "add lines such as clips/run_1.mp4,running")
    seen: dict[str, int] = {}
    for row in rows:
        if row.id in seen:
            raise _error(path, row.line, f"id {row.id!r} stands in line {seen[row.id]} too", "give each line its own id")
        seen[row.id] = row.line
    return rows


def _check_header(path: str, header: Sequence[str]) -> None:
    for column in ("path", "label"):
        if column not in header:
            found = ", ".join(header) or "nothing"
            raise _error(path, 1, f"there is no column {column!r}", f"the header has {found}; it needs path,label")


def _row(path: str, line: int, cells: dict[str, str | None]) -> _Row:
    if None in cells or None in cells.values():
        raise _error(path, line, "it has more or fewer cells than the header", "quote a cell that holds a comma")
    text = {key: (value or "").strip() for key, value in cells.items()}
    for column in ("path", "label"):
        if not text[column]:
            raise _error(path, line, f"{column} is empty", f"give a {column}")
    name = text.get("id") or text["path"]
    split = text.get("split", _ONLY)
    if not split:
        raise _error(path, line, "split is empty", "give a split in every line, or drop the column")
    start, stop = (_frame(path, line, column, text.get(column, "")) for column in ("start", "stop"))
    if stop is not None and stop <= (start or 0):
        raise _error(path, line, f"the clip stops at frame {stop}, where it starts or before", "stop is the frame after the last")
    group, label, template = text.get("group") or name, text["label"], text.get("template", "")
    if template:
        template_pattern(template)
    return _Row(line, name, text["path"], label, text.get("class", ""), group, split, start or 0, stop, template)


def _frame(path: str, line: int, column: str, text: str) -> int | None:
    if text and not text.isdecimal():
        raise _error(path, line, f"{column} {text!r} is no frame number", "frames count from 0")
    return int(text) if text else None


def _named(rows: Sequence[_Row], path: str) -> tuple[str, ...]:
    """Class names where labels are names. Numbers among them are slips: a -1 must not become a class of its own."""
    if any(_NUMBER.fullmatch(row.label) for row in rows):
        bad = next((row for row in rows if not row.label.isdecimal()), rows[0])
        raise _error(path, bad.line, f"label {bad.label!r} is not a class index", "give indices from 0 or names, in every line")
    return tuple(sorted({row.label for row in rows}))


def _numbered(rows: Sequence[_Row], given: tuple[str, ...], path: str) -> tuple[str, ...]:
    """Class names where labels are numbers: those of the file `names`, else of the column `class`, else the numbers."""
    found: dict[int, str] = {}
    for row in rows:
        if len(row.label) > _DIGITS:
            raise _error(path, row.line, f"label {row.label} is too large", "a label is a class index from 0")
        label = int(row.label)
        if given and label >= len(given):
            raise _error(path, row.line, f"label {label} has no name", f"the {len(given)} names end at {len(given) - 1}")
        if row.name and found.setdefault(label, row.name) != row.name:
            raise _error(path, row.line, f"class {row.name!r} has label {label}, as has {found[label]!r}", "one label, one class")
    return given or tuple(found.get(label, str(label)) for label in range(max(int(row.label) for row in rows) + 1))
