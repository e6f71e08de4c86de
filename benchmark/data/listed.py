"""From the lines of a list file to the clips of a published data set."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from ..core.errors import InputError
from .annotations import Listed
from .lists import Line, read_list
from .local import LocalCopy
from .tree import fold, stem


def from_list(data: LocalCopy, path: Path, split: str) -> Iterator[Listed]:
    """The clips of a list file; its labels are held against the class folders in its paths, where it has them.

    Raises:
        InputError: The list cannot be read, counts classes in another order, or gives a label to no class.
    """
    lines = read_list(path, split, data.owner)
    offset = _offset(data, path, lines)
    known: dict[str, int] = {}
    for line in lines:
        place = PurePosixPath(line.place)
        bare, label = stem(place.name), _label(data, path, line, offset)
        if label is None:
            known = known or {stem(PurePosixPath(row.place).name): row.label for row in data.parse(split)}
            if bare not in known:
                problem = f"{_where(path, line)} gives {line.place} no label"
                raise InputError(data.owner, problem, "nor does the official annotation; give a list with labels")
            label = known[bare]
        name, group = data.identity(bare, label)
        part = f":{line.first}-{line.last}" if line.last else ""
        yield Listed(f"{name}{part}", str(place), label, group, max(0, line.first - 1), line.last or None, line.frames)


def _label(data: LocalCopy, path: Path, line: Line, offset: int) -> int | None:
    if isinstance(line.label, str):
        return data.label(line.label, _where(path, line))
    if line.label is None:
        return _folder_label(data, line)
    label, count = line.label - offset, len(data.classes)
    if not 0 <= label < count:
        raise InputError(
            data.owner, f"{_where(path, line)}: label {line.label} has no class", f"labels run from 0 to {count - 1}"
        )
    return label


def _offset(data: LocalCopy, path: Path, lines: Sequence[Line]) -> int:
    """0, or 1 where the list counts classes from 1 as UCF101's own does.

    A label that is not its folder's means that the list numbers the classes in another order, by ASCII for one: then every model
    would be judged on wrong labels.
    """
    pairs = [(line, line.label, _folder_label(data, line)) for line in lines if isinstance(line.label, int)]
    gaps = {label - folder for _, label, folder in pairs if folder is not None}
    if gaps == {1}:
        return 1
    for line, label, folder in pairs:
        if folder is not None and label != folder:
            raise InputError(
                f"{data.owner}: list",
                f"{_where(path, line)} gives {line.place} label {label}, but its folder is class {folder}",
                "the list numbers classes in another order; give names=FILE in the list's order",
            )
    return 0


def _folder_label(data: LocalCopy, line: Line) -> int | None:
    """The label of the folder that the clip lies in; the file's own name is never asked (v_HandStandPushups_g01_c01)."""
    return data.index.get(fold(PurePosixPath(line.place).parent.name)) if data.by_class else None


def _where(path: Path, line: Line) -> str:
    return f"{path} line {line.number}" if line.number else str(path)
