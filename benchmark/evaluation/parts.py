"""The live objects behind a cell, for those who need them and not the bench that keeps them."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..core.attack import Attack
from ..core.corruption import Corruption
from ..core.interfaces import ClipRecord, Dataset, Defense, Model
from ..core.trained import Armed
from .cell import Cell


class Parts(Protocol):
    """What gives them: see `Bench`."""

    precision: str

    def batch_of(self, cell: Cell) -> int:
        """Clips per batch."""
        ...

    def model(self, cell: Cell) -> Model:
        """The model under test."""
        ...

    def source(self, cell: Cell) -> Model | None:
        """The other model that a transfer attack is crafted on."""
        ...

    def links(self, cell: Cell) -> Sequence[Defense | Armed]:
        """The defences."""
        ...

    def attack(self, cell: Cell) -> Attack:
        """The attack."""
        ...

    def corruption(self, cell: Cell) -> Corruption:
        """The corruption."""
        ...

    def dataset(self, cell: Cell) -> Dataset:
        """The data set."""
        ...

    def records(self, cell: Cell) -> list[ClipRecord]:
        """The clips."""
        ...

    def fit_records(self, cell: Cell) -> list[ClipRecord]:
        """The clips that a universal perturbation is made on."""
        ...

    def eight_bit(self, cell: Cell) -> bool:
        """Whether the adversarial clips have 8 bits."""
        ...

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once for the key."""
        ...
