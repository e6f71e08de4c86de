"""What scenes share: a video is decoded, and a clip corrupted, once for all cells to come, also where memory holds neither."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from os.path import isdir  # unlike Path's it raises nothing, whatever is wrong with the file

import torch
from torch import Tensor

from ..core.interfaces import Batch, ClipRecord, InputSpec
from ..data.loader import Reader, read_clip, read_views
from .cell import Cell
from .memory import may_keep
from .scene import Scene, canonical, decoded, size_of
from .shelf import Shelf


class Sharing:
    """Knows which scenes are to come, and puts on a shelf what they need and memory does not keep for them."""

    def __init__(self) -> None:
        self._shelf: Shelf | None = None
        self._views: dict[str, Scene] = {}
        self._stays: set[str] = set()
        self._begun: set[str] = set()

    def expect(self, scenes: Iterable[tuple[Scene, int]], shelf: Shelf | None) -> None:
        """Tells which scenes are to come, how many cells look at each, and where their clips may lie; None: nowhere."""
        self._shelf, self._views = shelf, {}
        self._begun.clear()
        uses: Counter[str] = Counter()
        for scene, cells in scenes:
            read = decoded(scene)
            for view in {one.name: one for one in (read, replace(scene, spec=canonical(scene))) if read and one}.values():
                self._views[view.name] = view
                uses[view.name] += cells
        most, shared = may_keep(torch.device("cpu")), shelf is not None and shelf.shared
        plain = sum(size_of(one) for one in self._views.values() if not one.moment and not one.corrupted)
        self._stays = {
            # Corrupted clips come by turns, and to one worker; the others are there all the time, and for all.
            name
            for name, view in self._views.items()
            if uses[name] > 1 and (view.moment or (size_of(view) > most if view.corrupted else plain > most or shared))
        }

    def size(self) -> int:
        """Bytes that will lie on the shelf; corrupted clips of one corruption and severity at a time."""
        plain, read = 0, set()  # of several views of a video one is made for its reader, and the others for the shelf
        corrupted: Counter[tuple[str, int]] = Counter()
        for view in self._views.values():
            if view.corrupted:
                corrupted[view.corrupted.text, view.corrupted.severity] += size_of(view) * (view.name in self._stays)
            else:
                plain += size_of(view) * (view.key in read or view.name in self._stays)
                read.add(view.key)
        return plain + max(corrupted.values(), default=0)

    def reader(self, scene: Scene) -> Reader:
        """What makes a clip of the scene from a record: by decoding, or from the shelf."""
        corrupted, shelf = scene.corrupted, self._shelf
        read = corrupted.read if corrupted else partial(read_clip, moment=scene.moment)
        if shelf is None or scene.name not in self._views:
            return read
        self._begun.add(scene.name)
        others, stays = [] if corrupted else self._others(scene), scene.name in self._stays

        def kept_or_read(record: ClipRecord, spec: InputSpec) -> Tensor:
            if isdir(record.path):  # only the wanted images are read, and one may be changed without a trace in the folder
                return read(record, spec)
            clip = shelf.get(scene.view, record, spec)
            if clip is not None:
                return clip
            missing = [] if shelf.full else [one for one in others if not shelf.has(one.view, record)]
            clip, *made = _views([scene, *missing], record) or [read(record, spec)]
            for one, its in zip(missing, made, strict=False):
                shelf.put(one.view, record, its)
            if stays:
                shelf.put(scene.view, record, clip)
            return clip

        return kept_or_read

    def once(self, scene: Scene, batch: Batch, make: Callable[[], Tensor]) -> Tensor:
        """Corrupted clips of a batch, uint8 (N, 3, T, H, W) on the CPU: made, or from the shelf."""
        if self._shelf is None or scene.name not in self._stays or any(isdir(record.path) for record in batch.records):
            return make()
        kept = [self._shelf.get(scene.view, record, scene.spec) for record in batch.records]
        found = [clip for clip in kept if clip is not None]
        if len(found) == len(kept):
            return torch.stack(found)
        made = make()
        for record, clip in zip(batch.records, made, strict=True):
            self._shelf.put(scene.view, record, clip)
        return made

    def release(self, cell: Cell) -> None:
        """Takes away the clips of a cell's corruption, as no other cell needs them any more."""
        for view in self._views.values():
            of = view.corrupted
            if self._shelf and of and cell.corruption and (of.text, of.severity) == (cell.corruption.text, cell.severity):
                self._shelf.discard(view.view)

    def _others(self, scene: Scene) -> list[Scene]:
        """The views of the same videos that were not looked at yet."""
        views = [one for name, one in self._views.items() if name not in self._begun]
        return [one for one in views if one.key == scene.key and one.corrupted is None]


def _views(scenes: list[Scene], record: ClipRecord) -> list[Tensor]:
    """Clips of all scenes; none where one of them cannot be made, which says nothing of the first."""
    if len(scenes) < 2:
        return []
    try:
        return read_views(record, [(one.spec, one.moment) for one in scenes])
    except Exception:
        return []
