"""What scenes share: a video is decoded, and a clip corrupted, once for all cells to come, also where memory holds neither."""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ..core.interfaces import Batch, ClipRecord, InputSpec
from ..data.loader import Reader, read_clip, read_views
from .cell import Cell
from .memory import may_keep
from .scene import Scene, canonical, decoded
from .shelf import Shelf, stamp


class Sharing:
    """Knows which scenes are to come, and puts on a shelf what they need and memory does not keep for them.

    Args:
        device: Where clips are corrupted: another one rounds otherwise.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
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
        plain = sum(one.nbytes for one in self._views.values() if not one.moment and not one.corrupted)
        self._stays = {
            # Corrupted clips come by turns, and to one worker; the others are there all the time, and for all.
            name
            for name, view in self._views.items()
            if uses[name] > 1 and (view.moment or (view.nbytes > most if view.corrupted else plain > most or shared))
        }

    def size(self) -> int:
        """Bytes that will lie on the shelf; corrupted clips of one corruption and severity at a time."""
        plain, read = 0, set()  # of several views of a video one is made for its reader, and the others for the shelf
        corrupted: Counter[tuple[str, int]] = Counter()
        for view in self._views.values():
            if view.corrupted:
                corrupted[view.corrupted.text, view.corrupted.severity] += view.nbytes * (view.name in self._stays)
            else:
                plain += view.nbytes * (view.key in read or view.name in self._stays)
                read.add(view.key)
        return plain + max(corrupted.values(), default=0)

    def reader(self, scene: Scene) -> Reader:
        """What makes a clip of the scene from a record: by decoding, or from the shelf."""
        corrupted, shelf = scene.corrupted, self._shelf
        read = corrupted.read if corrupted else partial(read_clip, moment=scene.moment)
        if shelf is None or scene.name not in self._views:
            return read
        self._begun.add(scene.name)
        name, stays = self._name(scene), scene.name in self._stays
        others = {} if corrupted else {self._name(one): one for one in self._others(scene)}

        def kept_or_read(record: ClipRecord, spec: InputSpec) -> Tensor:
            clip = stamp(record)
            if not clip:
                return read(record, spec)
            kept = shelf.get(name, clip, spec)
            if kept is not None:
                return kept
            missing = [] if shelf.full else [other for other in others if not shelf.has(other, clip)]
            wanted = [scene, *(others[other] for other in missing)]
            views = read_views(record, [(one.spec, one.moment) for one in wanted]) if missing else None
            made = next(views) if views else read(record, spec)
            if stays:
                shelf.put(name, clip, made)
            with suppress(Exception):  # what is wrong with another view its own reader tells
                for other, its in zip(missing, views or (), strict=True):
                    shelf.put(other, clip, its)
                    if shelf.full:
                        break
            return made

        return kept_or_read

    def once(self, scene: Scene, batch: Batch, make: Callable[[], Tensor]) -> Tensor:
        """Corrupted clips of a batch, uint8 (N, 3, T, H, W) on the CPU: made, or from the shelf."""
        shelf, clips = self._shelf, [stamp(record) for record in batch.records] if scene.name in self._stays else []
        if shelf is None or not clips or not all(clips):
            return make()
        kept = [shelf.get(self._name(scene), clip, scene.spec) for clip in clips]
        found = [one for one in kept if one is not None]
        if len(found) == len(kept):
            return torch.stack(found)
        made = make()
        for clip, its in zip(clips, made, strict=True):
            shelf.put(self._name(scene), clip, its)
        return made

    def release(self, cell: Cell) -> None:
        """Takes away the clips of a cell's corruption, as no other cell needs them any more."""
        for view in self._views.values():
            of = view.corrupted
            if self._shelf and of and cell.corruption and (of.text, of.severity) == (cell.corruption.text, cell.severity):
                self._shelf.discard(self._name(view))

    def _others(self, scene: Scene) -> list[Scene]:
        """The views of the same videos that were not looked at yet."""
        views = [one for name, one in self._views.items() if name not in self._begun]
        return [one for one in views if one.key == scene.key and one.corrupted is None]

    def _name(self, view: Scene) -> str:
        return f"{view.view} {self._device.type}" if view.corrupted else view.view
