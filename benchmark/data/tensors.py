"""Clips that are in memory already, as a data set."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.interfaces import Batch, ClipRecord, InputSpec
from .loader import Failure


class Tensors:
    """Clips and labels given by a program; classes are named by their numbers.

    Args:
        clips: uint8, or float in [0, 1], (N, 3, T, H, W), RGB, as the model takes them.
        labels: Class indices (N,).
        classes: Number of classes.

    Raises:
        InputError: Shapes, types or values are not these.
    """

    def __init__(self, clips: Tensor, labels: Tensor, classes: int) -> None:
        if not isinstance(clips, Tensor) or not isinstance(labels, Tensor) or labels.is_floating_point():
            raise InputError("dataset", "clips or labels are no tensors, or labels are no whole numbers", "give two tensors")
        clips, labels = clips.detach().cpu(), labels.detach().cpu()
        if clips.ndim != 5 or clips.shape[1] != 3 or len(clips) != len(labels):
            raise InputError(
                "dataset", f"clips are {tuple(clips.shape)}, labels {tuple(labels.shape)}", "give (N, 3, T, H, W) and (N,)"
            )
        if clips.is_floating_point() and not bool(((clips >= 0) & (clips <= 1)).all()):
            raise InputError("dataset", "float clips leave [0, 1]", "give pixel values in [0, 1] or uint8")
        if not clips.is_floating_point() and clips.dtype != torch.uint8:
            raise InputError("dataset", f"clips are {clips.dtype}", "give uint8, or float in [0, 1]")
        self._clips = clips.float() if clips.is_floating_point() else clips
        self._labels = [int(label) for label in labels]
        self._count = classes

    @property
    def sha256(self) -> str:
        """Hash of clips and labels."""
        digest = hashlib.sha256(f"{self._clips.dtype} {tuple(self._clips.shape)} {self._labels}".encode())
        digest.update(self._clips.contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def classes(self) -> tuple[str, ...]:
        """The numbers of the classes."""
        return tuple(str(number) for number in range(self._count))

    def records(self, split: str) -> list[ClipRecord]:
        """One record per clip; its id holds the content's hash, because there is no file to name.

        Raises:
            InputError: Another split than `test` is asked for.
        """
        if split != "test":
            raise InputError("split", f"{split!r} is unknown", "clips in memory are one split, test")
        names = [f"{number}-{hashlib.sha256(clip.numpy().tobytes()).hexdigest()[:12]}" for number, clip in enumerate(self._clips)]
        return [ClipRecord(name, Path(), label, name) for name, label in zip(names, self._labels, strict=True)]

    def load(self, records: Sequence[ClipRecord], spec: InputSpec, batch_size: int) -> Iterator[tuple[Batch, list[Failure]]]:
        """Batches of the records' clips, which must have the frames and the size that the model takes."""
        if self._clips.shape[2:] != (spec.frames, spec.size, spec.size):
            wanted = (3, spec.frames, spec.size, spec.size)
            raise InputError("dataset", f"clips are {tuple(self._clips.shape[1:])}", f"the model takes {wanted}")
        rows = {record.id: int(record.id.partition("-")[0]) for record in records}
        for start in range(0, len(records), batch_size):
            part = list(records[start : start + batch_size])
            yield Batch(part, self._clips[[rows[record.id] for record in part]]), []
