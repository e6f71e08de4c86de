"""Class names in label order, for data sets that a user describes."""

from collections.abc import Sequence
from pathlib import Path

from ..core.errors import InputError


def read_names(path: str, owner: str) -> tuple[str, ...]:
    """Class names from a text file, one per line in label order; empty lines at the end do not count.

    Raises:
        InputError: The file is missing, empty, not UTF-8, or names a class twice; `owner` is the data set, for the message.
    """
    where = f"{owner}: names"
    try:
        lines = [line.strip() for line in Path(path).expanduser().read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(where, f"{path} cannot be read: {error}", "give a UTF-8 file with one class name per line") from None
    seen: dict[str, int] = {}
    for number, name in enumerate(lines, start=1):
        if not name:
            raise InputError(where, f"{path} line {number} is empty", "give one class name per line")
        if name in seen:
            raise InputError(where, f"{path} lines {seen[name]} and {number} both name {name!r}", "a class has one line")
        seen[name] = number
    if not lines:
        raise InputError(where, f"{path} is empty", "give one class name per line")
    return tuple(lines)


def check_split(split: str, known: Sequence[str], owner: str) -> None:
    """Refuses a split that a data set does not have.

    Raises:
        InputError: Names the splits that there are.
    """
    if split not in known:
        raise InputError("split", f"{owner} has no split {split!r}", f"there is {', '.join(known)}")
