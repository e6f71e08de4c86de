"""Which clips a training learns from, chooses its epoch by and is tested on, and where they lie meanwhile."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.interfaces import ClipRecord, Dataset, InputSpec
from ..data.loader import load
from ..data.selection import default_split
from .progress import decoding

HELD_OUT = 10
"""One source video in so many validates, where the data set has no clips for it."""

IN_MEMORY = 8 * 2**30
"""Bytes of a split's decoded clips up to which they are held in memory; more lie in a file."""


def parts(data: Dataset) -> dict[str, list[ClipRecord]]:
    """The clips to train on, to validate on and to test on.

    Tested is on the split that is tested by custom; `1-train` belongs to a split `1`, to others `train`. Papers validate on what
    they test on. Here no epoch is chosen by test clips: validation clips are those of the split `val` where that is another one,
    else those of a tenth of the training split's source videos, which are not trained on; which ones depends on the names of the
    videos alone.

    Returns:
        The records by `train`, `val` and `test`; no clip is in two of them.

    Raises:
        InputError: There is no training split, its files are missing, all its clips are of one video, or a clip is in two splits.
    """
    tested = default_split(data)
    own = f"{tested}-train"
    learn, test = (_needed(data, split) for split in (own if own in getattr(data, "splits", ()) else "train", tested))
    has_own = tested != "val" and "val" in getattr(data, "splits", ("val",))
    val = _found(data, "val") if has_own else None
    if not val:
        held = _held_out(learn)
        learn, val = ([one for one in learn if (one.group in held) == wanted] for wanted in (False, True))
    found = {"train": learn, "val": val, "test": test}
    _check_apart(found)
    return found


def read_clips(
    records: Sequence[ClipRecord], spec: InputSpec, folder: Path, tick: Callable[[int], None] = lambda clips: None
) -> tuple[Tensor, Tensor]:
    """All clips of a split, uint8 (M, 3, T, H, W), and their labels (M,).

    Args:
        records: Which.
        spec: The model's input.
        folder: Where clips above `IN_MEMORY` bytes lie while the process lives, in a file without a name.
        tick: Told how many more clips are decoded.

    Raises:
        InputError: There is none, one cannot be read (a model is trained on all or not at all), or the folder is full.
    """
    if not records:
        raise InputError("dataset", "a split has no clips", "training needs clips to train on, to validate on and to test on")
    clips, done = None, 0
    for batch, failures in load(records, spec, batch_size=64):
        if failures or batch is None:
            raise InputError("dataset", f"{len(failures)} videos cannot be read, the first: {failures[0].reason}")
        if clips is None:
            clips = _room((len(records), *batch.clips.shape[1:]), folder)
        clips[done : done + len(batch.clips)] = batch.clips
        done += len(batch.clips)
        tick(len(batch.clips))
    assert clips is not None
    return clips, torch.tensor([record.label for record in records])


def read_parts(
    found: Mapping[str, Sequence[ClipRecord]], spec: InputSpec, folder: Path, progress: bool
) -> dict[str, tuple[Tensor, Tensor]]:
    """`read_clips` of all parts, with their progress on stderr."""
    with decoding(sum(map(len, found.values())), progress) as tick:
        return {name: read_clips(part, spec, folder, tick) for name, part in found.items()}


def _needed(data: Dataset, split: str) -> list[ClipRecord]:
    found = _found(data, split)
    if found is None:
        problem = f"training needs clips to train on and to test on, and there is no split {split!r}"
        raise InputError("dataset", problem, "add one: a folder ROOT/train and ROOT/test, or a column split of a manifest")
    return found


def _found(data: Dataset, split: str) -> list[ClipRecord] | None:
    """The clips of a split; None where the data set has no such split."""
    try:
        return data.records(split)
    except InputError as error:
        if error.argument == "split":
            return None
        raise


def _check_apart(found: Mapping[str, Sequence[ClipRecord]]) -> None:
    """Lists and manifests may name a clip for training and for testing."""
    seen: dict[tuple[object, ...], str] = {}
    for part, records in found.items():
        for one in records:
            other = seen.setdefault((one.path, one.start, one.stop, one.id), part)
            if other != part:
                problem = f"{one.id} is a clip of {other} and of {part}"
                raise InputError("dataset", problem, "a clip has one split; a list or manifest of one split cannot be trained on")


def _held_out(records: Sequence[ClipRecord]) -> set[str]:
    groups = sorted({record.group for record in records}, key=lambda group: hashlib.sha256(os.fsencode(group)).digest())
    if len(groups) < 2:
        problem = f"it has no clips to validate on, and the training clips are of {len(groups)} video, so none can be held out"
        raise InputError("dataset", problem, "choose one with more videos, or add a split val")
    return set(groups[: max(1, len(groups) // HELD_OUT)])


def _room(shape: tuple[int, ...], folder: Path) -> Tensor:
    """Room for clips, uint8: in memory, or in a file that goes with the process whatever ends it."""
    size = int(np.prod(shape, dtype=np.int64))
    if size <= IN_MEMORY:
        return torch.empty(shape, dtype=torch.uint8)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            return torch.from_numpy(np.memmap(file, np.uint8, "r+", shape=shape))
    except OSError as error:
        problem = f"{folder} has no room for {size / 2**30:.0f} GiB of decoded clips: {error.strerror or error}"
        raise InputError("out", problem, "name a folder on a larger disk") from None
