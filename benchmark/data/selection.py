"""A fixed part of a data set, and a name for it."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import InputError
from ..core.interfaces import ClipRecord, Dataset


def balanced(records: Sequence[ClipRecord], limit: int | None = None) -> list[ClipRecord]:
    """The first `limit` clips of a fixed order that goes round the classes.

    Inside a class clips stand by the sha256 of their id, so neither names nor file order favour anything. A smaller limit gives
    the beginning of a larger one, and the order of `records` does not matter.

    Args:
        records: The clips of a split.
        limit: How many; None, or more than there are, stands for all.

    Raises:
        InputError: The limit is below 1.
    """
    if limit is not None and limit < 1:
        raise InputError("limit", f"{limit} is below 1", "it must be a whole number, 1 or more")
    rank: Counter[int] = Counter()
    turns = []
    for digest, record in sorted(((_digest(record.id), record) for record in records), key=lambda pair: pair[0]):
        turns.append((rank[record.label], record.label, digest, record))
        rank[record.label] += 1
    return [turn[-1] for turn in sorted(turns, key=lambda turn: turn[:3])][:limit]


def manifest_sha256(records: Sequence[ClipRecord]) -> str:
    """A name for exactly these clips: a hash over id, label, group and file size, whatever their order and place on disk.

    Of a clip that is a part of its video, or of chosen images in its folder, that counts too. The content is not read, so that
    20,000 videos take seconds: a file replaced by one of equal size goes unnoticed. Size is -1 for a missing file (so a partial
    copy of a data set has another name) and the number of entries for a frame folder.

    Returns:
        64 hex digits.
    """
    lines = sorted(json.dumps(_facts(record)) for record in records)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def missing(records: Sequence[ClipRecord]) -> list[ClipRecord]:
    """The clips whose video or folder is not there."""
    return [record for record in records if not record.path.exists()]


def default_split(dataset: object) -> str:
    """The split that a data set is tested on where none is named: its `default_split`, else `test`."""
    return getattr(dataset, "default_split", "test")


def fit_split(dataset: Dataset, evaluated: str, wanted: str | None) -> str:
    """The split on which something universal is made for clips of the split `evaluated`: another one, which has clips.

    Args:
        dataset: The data set.
        evaluated: The split that is judged.
        wanted: The user's choice; None: the validation clips, else the training clips.

    Raises:
        InputError: There is none, or the one wanted is the one that is judged.
    """
    if wanted == evaluated:
        raise InputError(
            "fit_split", f"{wanted!r} is the split that is judged", "a universal perturbation is made on other clips"
        )
    for split in [wanted] if wanted else ["val", f"{evaluated}-train", "train"]:
        try:
            if split != evaluated and dataset.records(split):
                return split
        except InputError:
            if wanted:
                raise
    problem = f"the data set has no other clips than those of split {evaluated!r} to make it on"
    raise InputError("fit_split", problem, "name a split with clips")


def _facts(record: ClipRecord) -> list[str | int | None]:
    whole: list[str | int | None] = [record.id, record.label, record.group, _size(record.path)]
    part = [record.start, record.stop, record.template]
    return whole + part if part != [0, None, ""] else whole


def _digest(text: str) -> bytes:
    return hashlib.sha256(os.fsencode(text)).digest()


def _size(path: Path) -> int:
    try:
        return sum(1 for _ in path.iterdir()) if path.is_dir() else path.stat().st_size
    except (OSError, ValueError):
        return -1
