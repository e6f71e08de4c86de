"""The first draw of the first gradient, which attacks through a random defence share whatever number of draws they average."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from ..core.attack import Gradient
from ..core.rng import ClipRandom
from .cell import Cell
from .footage import KEPT_BYTES


class FirstDraws:
    """Keeps, on the CPU, what two cells of this process need; as they have the same streams, it is the same for both."""

    def __init__(self) -> None:
        self._cells: Counter[str] = Counter()
        self._kept: dict[str, tuple[Gradient, list[Tensor]]] = {}
        self._left: Counter[str] = Counter()

    def expect(self, cells: Iterable[Cell]) -> None:
        """Tells which cells are to come; what was kept for others goes."""
        self._kept.clear()
        self._cells = Counter(_alike(cell) for cell in cells if cell.threat is not None and cell.threat.name == "adaptive")

    def once(self, cell: Cell, ids: Sequence[str], rng: ClipRandom, make: Callable[[], Gradient]) -> Gradient:
        """The first draw of a batch, made now or by another cell; the streams are moved on in any case."""
        alike = _alike(cell)
        key = f"{alike} {list(ids)}"
        if key in self._kept:
            found, state = self._kept[key]
            rng.restore(state)
            self._left[key] -= 1
            if not self._left[key]:
                del self._kept[key]
            return Gradient(*(part.to(rng.device, copy=True) for part in found))
        found = make()
        if self._cells[alike] > 1 and self._size + found.grad.nbytes <= KEPT_BYTES:
            self._kept[key] = Gradient(*(part.to("cpu", copy=True) for part in found)), rng.state()
            self._left[key] = self._cells[alike] - 1
        return found

    @property
    def _size(self) -> int:
        return sum(found.grad.nbytes for found, _ in self._kept.values())


def _alike(cell: Cell) -> str:
    """What all cells have in common that differ in the number of draws alone."""
    average = cell.threat.average if cell.threat else ""
    clips = f"{cell.dataset} {cell.split} {cell.limit} {cell.seed}"
    return f"{clips} {cell.model} {cell.attack} {cell.defense_text} {average}"
