"""Which clips a training learns from, chooses its epoch by and is tested on, and where they lie meanwhile."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.interfaces import ClipRecord, Dataset, InputSpec
from ..data.loader import load
from ..data.selection import default_split

HELD_OUT = 10
"""One source video in so many validates, where the data set has no clips for it."""

IN_MEMORY = 8 * 2**30
"""Bytes of a split's decoded clips up to which they are held in memory; more lie in a file."""


def parts(data: Dataset) -> dict[str, list[ClipRecord]]:
    """The clips to train on, to validate on and to test on.

    Tested is on the split that is tested by custom; `1-train` belongs to a split `1`, to others `train`. Papers validate on what
    they test on. Here the epoch is never chosen by test clips: it is by the split `val` where that is another one, else by a
    tenth of the training split's source videos, which are not trained on; which ones depends on the names of the videos alone.

    Returns:
        The records by `train`, `val` and `test`.

    Raises:
        InputError: There is no training split, its files are missing, or all its clips are of one video.
    """
    tested = default_split(data)
    own = f"{tested}-train"
    learn = data.records(own if own in getattr(data, "splits", ()) else "train")
    test = data.records(tested)
    if tested != "val" and _has(data, "val"):
        return {"train": learn, "val": data.records("val"), "test": test}
    held = _held_out(learn)
    train, val = ([one for one in learn if (one.group in held) == wanted] for wanted in (False, True))
    return {"train": train, "val": val, "test": test}


def read_clips(records: Sequence[ClipRecord], spec: InputSpec, folder: Path) -> tuple[Tensor, Tensor]:
    """All clips of a split, uint8 (M, 3, T, H, W), and their labels (M,).

    Args:
        records: Which.
        spec: The model's input.
        folder: Where clips above `IN_MEMORY` bytes lie while the process lives, in a file without a name.

    Raises:
        InputError: There is none, one cannot be read (a model is trained on all or not at all), or the folder is full.
    """
    if not records:
        raise InputError("dataset", "a split has no clips", "training needs clips to train on, to validate on and to test on")
    clips: Tensor | None = None
    labels: list[Tensor] = []
    for batch, failures in load(records, spec, batch_size=64):
        if failures or batch is None:
            raise InputError("dataset", f"{len(failures)} videos cannot be read, the first: {failures[0].reason}")
        if clips is None:
            clips = _room((len(records), *batch.clips.shape[1:]), folder)
        done = sum(map(len, labels))
        clips[done : done + len(batch.clips)] = batch.clips
        labels.append(batch.labels)
    assert clips is not None
    return clips, torch.cat(labels)


def _has(data: Dataset, split: str) -> bool:
    """Whether there are such clips; of a split that an official data set has, missing files are an error of their own."""
    known = getattr(data, "splits", None)
    if known is not None:
        return split in known
    try:
        return bool(data.records(split))
    except InputError:
        return False


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
