"""What a table of a paper is made of: its numbers, the cells behind them, what a user may change. Nothing here imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ...core.registry import Component

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Setting:
    """What a user may change of a table.

    Attributes:
        dataset: Spec of one of the paper's data sets; None for the embedded world.
        limit: Number of clips; None for the table's own, or all of the paper's data set.
        checkpoints: By what `Grid.checkpoints` names: a file, URL or published name of weights, or of a model a whole spec.
    """

    dataset: str | None = None
    limit: int | None = None
    checkpoints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Want:
    """A cell that a number of a table needs; the engine's `Cell` without what needs torch.

    Attributes:
        dataset: The data set.
        split: Its split.
        limit: First clips of the class-balanced order; None for all.
        seed: Of every clip's randomness.
        model: The model.
        defense: Links of the chain.
        attack: None for clean and corrupted clips.
        corruption: None for clean and attacked clips.
        severity: 1 to 5; 0 where there is no corruption.
        threat: Canonical text; `none` where nothing attacks.
    """

    dataset: Component
    split: str
    limit: int | None
    seed: int
    model: Component
    defense: tuple[Component, ...] = ()
    attack: Component | None = None
    corruption: Component | None = None
    severity: int = 0
    threat: str = "none"

    @cached_property
    def key(self) -> Key:
        """What tells it from other cells, as `spec_key` reads it from stored ones."""
        defense = "+".join(link.text for link in self.defense) or "none"
        attack = self.attack.text if self.attack else "none"
        corruption = self.corruption.text if self.corruption else ""
        place = self.dataset.text, self.split, self.limit, self.seed, self.model.text
        return (*place, defense, attack, self.threat, corruption, self.severity)


def spec_key(spec: Mapping[str, Any]) -> Key:
    """The key of a stored cell's spec."""
    names = ("dataset", "split", "limit", "seed", "model", "defense", "attack", "threat")
    return (*(spec[name] for name in names), spec.get("corruption", ""), spec.get("severity", 0))


@dataclass(frozen=True)
class Place:
    """One number of a table.

    Attributes:
        row: Label of its row, as in the paper.
        column: Label of its column, as in the paper; of an adaptive counterpart with `, adaptive` behind it.
        wants: The cells whose mean it is; empty where it is skipped.
        threat: How the attacker meets the defence; `none` where nothing attacks.
        measure: `top1` or `top5`.
        skip: Why it cannot be measured; empty otherwise.
        differs: What is different in this row or column from the paper's.
        values: The numbers of its row and column, such as {"eps": 4}.
        counterpart: Whether the paper has no such number: it is the adaptive one beside its own.
        against: Label of the row that this one is compared with; empty for none.
    """

    row: str
    column: str
    wants: tuple[Want, ...]
    threat: str
    measure: str = "top1"
    skip: str = ""
    differs: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    counterpart: bool = False
    against: str = ""


@dataclass(frozen=True)
class Grid:
    """A table or figure of a paper, to be measured.

    Attributes:
        name: Such as `shuffling-table5`.
        title: What it shows.
        source: The paper and the place in it.
        published: Name of the file with the paper's numbers.
        differs: What is different here from what the paper did.
        derive: Name of a function of `derived` that makes more numbers of the measured ones; empty for none.
        places: Its numbers, row by row.
        checkpoints: What may be given weights: its models, and `MODEL+DEFENCE` of its trained defences.
    """

    name: str
    title: str
    source: str
    published: str
    differs: tuple[str, ...]
    derive: str
    places: tuple[Place, ...]
    checkpoints: tuple[str, ...]

    @property
    def wants(self) -> list[Want]:
        """The cells behind it, each once; corrupted ones last, those of the same corrupted clips together."""
        found = {want.key: want for place in self.places for want in place.wants}
        return sorted(found.values(), key=lambda want: want.key[-2:])


def as_trained(link: Component) -> Component:
    """What a checkpoint is named after; the number of draws is no part of it. `armed` asks the class, which needs torch."""
    defaults = {one.name: one.default for one in link.entry.fields if one.name == "draws"}
    return replace(link, values=link.values | defaults)
