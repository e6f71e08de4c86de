"""The list files that code bases train and test from, all read into one kind of line."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ..core.errors import InputError
from .annotations import entry, numbered, read_json
from .tree import stem


class Line(NamedTuple):
    """One clip of a list.

    Attributes:
        number: Line in the file, from 1; 0 in a JSON file.
        place: Path as written.
        label: Class index or class name; None where the list gives none.
        first: First frame, counted from 1; 0 where the list gives no range.
        last: Last frame, counted from 1; 0 where the list gives no range.
        frames: Frames that the list counts; 0 where it does not.
    """

    number: int
    place: str
    label: int | str | None
    first: int = 0
    last: int = 0
    frames: int = 0


_SUBSETS = {"train": ("training", "train"), "val": ("validation", "val", "testing"), "test": ("testing", "test", "validation")}
_FRAME_LIST = ("original_vido_id", "original_video_id")  # the first is the spelling of PySlowFast's own files
_NUMBER = re.compile(r"-?\d+")


def read_list(path: Path, split: str, owner: str) -> list[Line]:
    """The clips of a list, its format told by its content.

    - `path label`: MMAction2 and VideoMAE videos, PySlowFast (there also with commas), and UCF101's own `path`;
    - `folder frames label`: MMAction2, TSM, VideoMAE frames; with tabs: GST;
    - `folder first last label`, or with semicolons: bLVNet-TAM and others of IBM, frames counted from 1;
    - a header `original_vido_id video_id frame_id path labels` and a line per frame: PySlowFast;
    - JSON of `labels` and `database`: Hara et al.'s 3D ResNets.

    A text list is one split, whatever it is called; of a JSON file, the subset that `split` means is taken.

    Raises:
        InputError: The file cannot be read, or a line is of no such format.
    """
    if path.suffix.lower() == ".json":
        return _database(path, split, owner)
    lines = list(numbered(path, owner))
    if lines[0][1].startswith(_FRAME_LIST):
        return _per_frame(path, lines, owner)
    return _columns(path, lines, owner)


def names_of(path: Path, owner: str) -> tuple[str, ...]:
    """The class names that a JSON list carries in label order; none for other lists."""
    if path.suffix.lower() != ".json":
        return ()
    return tuple(str(name) for name in read_json(path, owner, dict).get("labels", ()))


def _columns(path: Path, lines: Sequence[tuple[int, str]], owner: str) -> list[Line]:
    """`path [numbers]`: a path may hold the separator and end in numbers, so only those that every line ends in count."""
    mark = next((mark for mark in "\t;" if mark in lines[0][1]), "," if re.search(r",\s*-?\d+$", lines[0][1]) else " ")
    fields = [(number, [part.strip() for part in (line.split(mark) if mark != " " else line.split())]) for number, line in lines]
    count = min({_numbers(parts) for _, parts in fields} - {0}, default=0)
    read = []
    for number, parts in fields:
        line, wrong = _line(number, mark, parts, count)
        if wrong:
            wanted = "a line is: path label, folder frames label, or folder first last label"
            raise InputError(owner, f"{path} line {number} reads {mark.join(parts)!r}: {wrong}", wanted)
        read.append(line)
    return read


def _numbers(parts: Sequence[str]) -> int:
    """How many numbers end the line, three at most."""
    count = 0
    while count < min(3, len(parts) - 1) and _NUMBER.fullmatch(parts[-1 - count]):
        count += 1
    return count


def _line(number: int, mark: str, parts: Sequence[str], count: int) -> tuple[Line, str]:
    """A line whose last `count` fields are numbers, and what is wrong with it."""
    if _numbers(parts) < count:
        return Line(number, "", None), f"other lines end in {count} numbers"
    cut = len(parts) - count
    place, values = mark.join(parts[:cut]), [int(part) for part in parts[cut:]]
    if not values:
        return Line(number, place, None), "" if stem(place) != place else "there is no label"
    if min(values[:-1], default=1) < 1 or values[-1] < 0:
        return Line(number, place, None), "no frame is number 0 and no label below it (is this a pre-training list?)"
    if count < 3:
        return Line(number, place, values[-1], frames=sum(values[:-1])), ""
    first, last, label = values
    return Line(number, place, label, first, last), "it ends before it starts" if last < first else ""


def _per_frame(path: Path, lines: Sequence[tuple[int, str]], owner: str) -> list[Line]:
    """PySlowFast's image lists: the frames of a video lie in one folder, and its id is the number of its first line."""
    text = [line for _, line in lines]
    mark = "," if "," in text[0] else "\t" if "\t" in text[0] else " "
    found: dict[str, tuple[int, str, str, int]] = {}
    for (number, _), row in zip(lines[1:], csv.DictReader(text, delimiter=mark), strict=False):
        video, image = next((row.get(key) for key in _FRAME_LIST if row.get(key)), None), row.get("path")
        if not video or not image or "/" not in image:
            raise InputError(owner, f"{path} line {number} names no video or no frame in a folder", f"the header is {text[0]!r}")
        start, _, _, count = found.get(video, (number, "", "", 0))
        found[video] = start, str(PurePosixPath(image).parent), (row.get("labels") or "").strip('" '), count + 1
    return [
        Line(number, place, int(label) if _NUMBER.fullmatch(label) else None, frames=count)
        for number, place, label, count in found.values()
    ]


def _database(path: Path, split: str, owner: str) -> list[Line]:
    database = entry(read_json(path, owner, dict), "database", dict, path, owner)
    subsets = {str(item.get("subset", "")) for item in database.values() if isinstance(item, dict)}
    kind = "train" if split.endswith("train") else "test" if split == "test" or split.isdecimal() else "val"
    subset = next((name for name in _SUBSETS[kind] if name in subsets), None)
    if subset is None:
        raise InputError(owner, f"{path} has no subset for split {split!r}", f"it has {', '.join(sorted(subsets)) or 'none'}")
    lines: list[Line] = []
    for name, item in database.items():
        if entry(item, "subset", str, path, owner) == subset:
            about: dict[str, Any] = entry(item, "annotations", dict, path, owner)
            label = entry(about, "label", str, path, owner)
            lines.append(Line(0, f"{label}/{name}", label))
    return lines
