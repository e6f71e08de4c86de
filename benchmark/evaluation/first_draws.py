"""The first draw of the first gradient, which attacks through a random defence share whatever number of draws they average."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from torch import Tensor

from ..core.attack import Gradient
from ..core.rng import ClipRandom
from .cell import Cell
from .footage import KEPT_BYTES


class _Kept(NamedTuple):
    draw: Gradient
    streams: list[Tensor]
    wanted: int


class FirstDraws:
    """Keeps, on the CPU, what two cells of this process need; as they have the same streams, it is the same for both."""

    def __init__(self) -> None:
        self._cells: Counter[str] = Counter()
        self._kept: dict[str, _Kept] = {}

    def expect(self, cells: Iterable[Cell]) -> None:
        """Tells which cells are to come; what was kept for others goes."""
        self._kept.clear()
        self._cells = Counter(_alike(cell) for cell in cells if cell.threat is not None and cell.threat.name == "adaptive")

    def once(self, cell: Cell, ids: Sequence[str], rng: ClipRandom, make: Callable[[], Gradient]) -> Gradient:
        """The first draw of a batch, made now or by another cell; the streams are moved on in any case."""
        alike = _alike(cell)
        key = f"{alike} {list(ids)}"
        if kept := self._kept.pop(key, None):
            rng.restore(kept.streams)
            if kept.wanted > 1:
                self._kept[key] = kept._replace(wanted=kept.wanted - 1)
            return Gradient(*(part.to(rng.device, copy=True) for part in kept.draw))
        draw, others = make(), self._cells[alike] - 1
        if others > 0 and draw.grad.nbytes + sum(one.draw.grad.nbytes for one in self._kept.values()) <= KEPT_BYTES:
            self._kept[key] = _Kept(Gradient(*(part.to("cpu", copy=True) for part in draw)), rng.state(), others)
        return draw


def _alike(cell: Cell) -> str:
    """What all cells have in common that differ in the number of draws alone."""
    threat = f"{cell.threat.name} {cell.threat.average}" if cell.threat else ""
    clips = f"{cell.dataset} {cell.split} {cell.limit} {cell.seed}"
    return f"{clips} {cell.model} {cell.attack} {cell.defense_text} {threat}"
