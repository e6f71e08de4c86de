"""Which clips a cell looks at, and what has to be decoded for them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..core.interfaces import ClipRecord, Dataset, InputSpec
from ..data.corrupted import Corrupted
from .cell import Cell
from .memory import USUAL
from .parts import Parts

NORMALISED = ("mean", "std", "channels")
"""What a model does to clips itself: models that differ in nothing else take the same ones."""


@dataclass(frozen=True)
class Scene:
    """Which clips, and how a model sees them.

    Attributes:
        key: Tells these records from all others.
        data: Their data set.
        records: The clips.
        spec: The model's input.
        corrupted: What is done to them; None: nothing.
        moment: Frames by which every sampled frame lies later.
        batch: Clips per batch.
    """

    key: str
    data: Dataset
    records: Sequence[ClipRecord]
    spec: InputSpec
    corrupted: Corrupted | None = None
    moment: int = 0
    batch: int = USUAL

    @property
    def name(self) -> str:
        """Tells these very pixels from all others."""
        return f"{self.key} {self.view}"

    @property
    def view(self) -> str:
        """Tells what is seen of a video from all else that may be."""
        how = self.corrupted
        done = f"{how.text} {how.version} {how.severity} {how.seed}" if how else "plain"
        return f"{seen(self.spec)} {self.moment} {done}"

    @property
    def nbytes(self) -> int:
        """Bytes of its clips, with 8 bits."""
        return len(self.records) * 3 * self.spec.frames * self.spec.size**2


def scene_of(cell: Cell, parts: Parts, spec: InputSpec, moment: int = 0, batch: int = USUAL) -> Scene:
    """The clips of a cell as a model of that input sees them, `moment` frames later."""
    key = f"{cell.dataset} {cell.split} {cell.limit}"
    how, corrupted = cell.corruption, None
    if how:
        corrupted = Corrupted(parts.corruption(cell), cell.severity, how.text, cell.seed, moment, how.entry.version)
    return Scene(key, parts.dataset(cell), parts.records(cell), spec, corrupted, moment, batch)


def to_come(cells: Iterable[Cell], parts: Parts, inputs: Mapping[str, InputSpec]) -> Iterator[tuple[Scene, int]]:
    """The scenes of cells, with the number of cells that look at them.

    Args:
        cells: The cells; those of models whose input is not known are left out.
        parts: The live objects.
        inputs: What models take, by their canonical text.
    """
    alike: dict[str, list[Cell]] = {}
    for cell in cells:
        how = f"{cell.corruption and cell.corruption.text} {cell.severity} {cell.seed} {cell.shifts}"
        alike.setdefault(f"{cell.dataset} {cell.split} {cell.limit} {cell.model.text} {how}", []).append(cell)
    for same in alike.values():
        cell = same[0]
        for moment in range(cell.shifts + 1) if cell.model.text in inputs else ():
            yield scene_of(cell, parts, inputs[cell.model.text], moment), len(same)


def seen(spec: InputSpec) -> dict[str, Any]:
    """What a model's clips depend on."""
    return {name: value for name, value in asdict(spec).items() if name not in NORMALISED}


def canonical(scene: Scene) -> InputSpec:
    """What is corrupted: the model's view in a corruption's canonical size, or as it is where the corruption has none."""
    how = scene.corrupted
    if how is None or how.corruption.stage == "file" or hasattr(scene.data, "load"):
        return scene.spec
    return how.geometry(scene.spec)


def decoded(scene: Scene) -> Scene | None:
    """What is read of the videos for it; None where the clips are in memory already."""
    if hasattr(scene.data, "load"):
        return None
    if scene.corrupted is None or scene.corrupted.corruption.stage == "file":
        return scene
    return replace(scene, spec=canonical(scene), corrupted=None)
