"""The clips of cells, plain or corrupted: decoded once, and kept in memory for the next cell where they fit."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.interfaces import Batch, InputSpec
from ..data.corrupted import Corrupted
from ..data.loader import Failure, load
from ..data.transform import resized
from .memory import may_keep
from .scene import Scene, canonical
from .sharing import Sharing


class Taken(NamedTuple):
    """All clips of a scene, and those that could not be decoded, in batches of so many records."""

    batches: list[Batch]
    failures: list[Failure]
    by: int

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(batch.clips.nbytes for batch in self.batches)


def _make_room(known: dict[str, Taken], most: int) -> None:
    """Leaves so many bytes of scenes; what was not used for longest goes."""
    while known and sum(one.size for one in known.values()) > most:
        del known[next(iter(known))]


def _regrouped(batches: Sequence[Batch], scene: Scene) -> Iterator[Batch]:
    """The same clips in the batches that reading them anew would give."""
    clips = {name: clip for batch in batches for name, clip in zip(batch.ids, batch.clips, strict=True)}
    for start in range(0, len(scene.records), scene.batch):
        found = [record for record in scene.records[start : start + scene.batch] if record.id in clips]
        if found:
            yield Batch(found, torch.stack([clips[record.id] for record in found]))


class Footage:
    """Gives scenes batch by batch.

    They are kept for cells to come: other attacks look at the same plain clips, other models and defences at the same corrupted
    ones.

    Args:
        device: Where frames are corrupted.

    Attributes:
        sharing: What is made once although memory does not hold it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self.sharing = device, Sharing(device)
        self._kept: dict[str, dict[str, Taken]] = {"plain": {}, "corrupted": {}, "resized": {}}
        self._failures: dict[str, list[Failure]] = {}

    def batches(self, scene: Scene) -> Iterator[Batch]:
        """The scene's clips in batches, on the CPU.

        Raises:
            InputError: The corruption does not work on such clips.
        """
        known = self._kept["resized" if canonical(scene) != scene.spec else "corrupted" if scene.corrupted else "plain"]
        if scene.name in known:
            known[scene.name] = taken = known.pop(scene.name)  # the one that was used last
            yield from taken.batches if taken.by == scene.batch else _regrouped(taken.batches, scene)
            return
        taken, most = Taken([], [], scene.batch), may_keep(torch.device("cpu"))
        stays = scene.moment == 0  # later moments are seen once; the next cell starts with the clips as they are
        for batch, failures in self._read(scene):
            taken.failures.extend(failures)
            if batch is not None:
                whole = batch.clips[0].nbytes * len(scene.records)
                stays = stays and whole <= most
                if stays:
                    _make_room(known, most - whole)
                    taken.batches.append(batch)
                yield batch
        self._failures[scene.name] = taken.failures
        if stays:
            _make_room(known, most - taken.size)  # once more: another scene may have been taken in meanwhile
            known[scene.name] = taken

    def failures(self, scene: Scene) -> list[Failure]:
        """The clips that could not be decoded, known once `batches` has ended."""
        return self._failures.get(scene.name, [])

    def _read(self, scene: Scene) -> Iterator[tuple[Batch | None, list[Failure]]]:
        how, records = scene.corrupted, scene.records
        in_memory = getattr(scene.data, "load", None)  # data that is in memory already reads itself
        if in_memory and (scene.moment or how and how.corruption.stage == "file"):
            raise InputError("dataset", "clips in memory have no video that they were taken from", "use stage=frames, no shifts")
        if in_memory and not how:
            yield from in_memory(records, scene.spec, scene.batch)
        elif how is None or how.corruption.stage == "file":
            yield from load(records, scene.spec, scene.batch, read=self.sharing.reader(scene))
        else:
            yield from self._on_frames(scene, how)

    def _on_frames(self, scene: Scene, how: Corrupted) -> Iterator[tuple[Batch | None, list[Failure]]]:
        """At the corruption's canonical size, which serves models of all sizes; those of another one have them resized."""
        geometry = canonical(scene)
        resizes = geometry != scene.spec
        before = replace(scene, spec=geometry) if resizes else replace(scene, corrupted=None)
        for batch in self.batches(before):
            if resizes:
                made = resized(batch.clips.to(self._device), scene.spec.size).cpu()
            else:
                made = self.sharing.once(scene, batch, lambda batch=batch: self._corrupt(batch, how, scene.spec))
            yield Batch(batch.records, made), []
        if self.failures(before):
            yield None, self.failures(before)

    def _corrupt(self, batch: Batch, how: Corrupted, spec: InputSpec) -> Tensor:
        clips = batch.clips if batch.clips.dtype == torch.uint8 else (batch.clips * 255).round().to(torch.uint8)
        clips = resized(clips.to(self._device), how.corruption.canonical)
        clips = clips.clone() if clips.data_ptr() == batch.clips.data_ptr() else clips  # another's code may write into it
        return how.frames(clips, batch.ids, spec).cpu()
