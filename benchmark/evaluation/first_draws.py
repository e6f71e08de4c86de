"""The first draw of the first gradient, which attacks through a random defence share whatever number of draws they average."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from ..core.attack import Gradient
from ..core.rng import ClipRandom
from .cell import Cell
from .memory import may_keep


class FirstDraws:
    """Keeps, on the CPU, what another cell of this process may need; as both have the same streams, it is the same for both."""

    def __init__(self) -> None:
        self._cells: Counter[str] = Counter()
        self._begun: dict[str, set[str]] = {}
        self._kept: dict[str, tuple[Gradient, list[Tensor]]] = {}

    def expect(self, cells: Iterable[Cell]) -> None:
        """Tells which cells are to come; what was kept for others goes."""
        means = (cell for cell in cells if cell.threat and (cell.threat.name, cell.threat.average) == ("adaptive", "loss"))
        self._cells = Counter(map(_alike, means))
        self._begun.clear()
        self.clear()

    def once(self, cell: Cell, ids: Sequence[str], rng: ClipRandom, make: Callable[[], Gradient]) -> Gradient:
        """The first draw of a batch, made now or by another cell; the streams are moved on in any case."""
        alike = _alike(cell)
        begun = self._begun.setdefault(alike, set())
        begun.add(str(cell.threat))
        wanted, key = self._cells[alike] > len(begun), f"{alike} {list(ids)}"
        if key in self._kept:
            draw, streams = self._kept[key] if wanted else self._kept.pop(key)
            rng.restore(streams)
            return Gradient(*(part.to(rng.device, copy=True) for part in draw))
        draw = make()
        most = may_keep(torch.device("cpu"))
        if wanted and draw.grad.nbytes <= most:
            while draw.grad.nbytes + sum(kept.grad.nbytes for kept, _ in self._kept.values()) > most:
                del self._kept[next(iter(self._kept))]  # the oldest: its other cell may be with another worker
            self._kept[key] = Gradient(*(part.to("cpu", copy=True) for part in draw)), rng.state()
        return draw

    def clear(self) -> None:
        """Forgets what is kept."""
        self._kept.clear()


def _alike(cell: Cell) -> str:
    """What all cells have in common that differ in the number of draws alone."""
    threat = f"{cell.threat.name} {cell.threat.average}" if cell.threat else ""
    clips = f"{cell.dataset} {cell.split} {cell.limit} {cell.seed}"
    return f"{clips} {cell.model} {cell.attack} {cell.defense_text} {threat}"
