"""The live objects of a run: each model, data set, batch of clips and set of adversarials is made once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..core.attack import Attack
from ..core.corruption import Corruption
from ..core.errors import InputError
from ..core.files import digest
from ..core.interfaces import Batch, ClipRecord, Dataset, Defense, InputSpec, Model
from ..core.registry import Component
from ..core.trained import Armed
from ..data.loader import load
from ..data.selection import balanced, fit_split
from ..models.armed import arm
from ..models.armoury import Owner
from ..models.build import build_model
from .ahead import Ahead
from .cell import Cell
from .components import check_attack, check_corruption, check_links, check_threat
from .crafted import Crafted
from .eight_bit import survives
from .first_draws import FirstDraws
from .footage import Footage
from .identity import crafted_key, spec
from .memory import ROOMS, USUAL, Room, may_keep, room_for
from .precision import in_precision, prepare
from .scene import Scene, scene_of, seen, to_come
from .shelf import Shelf
from .threat import Pipeline, inside

Keeper = Callable[[Cell, int, Batch, Callable[[], Crafted]], Crafted]
"""Gives a cell's adversarial batch of a number: kept, or made now."""


def _ends(problem: str) -> NoReturn:
    raise InputError("device", problem, "what was measured is kept; look at the device and run it again")


@dataclass
class Bench:
    """Resolves cells to live objects and keeps those that several cells share.

    Attributes:
        device: Where models run.
        batch_size: Clips per batch; None: as many as fit, see `memory.room_for`. Results do not depend on it.
        precision: What models compute in: one of `request.PRECISIONS`.
        tick: Called with the number of forward passes' worth of work that was just done, for progress.
        stopped: Asked after every batch: whether to keep what was measured and end.
        keeper: Asked for adversarial clips that are handed on and not in memory; makes them where nobody keeps them.
        lost: Called with what is wrong when the device has failed, so that nothing can be computed any more; does not return.
        computes: Whether it is computed with, or only looked at: then what this machine lacks does not matter.
        footage: Gives the clips.
        ahead: Brings them to the device.
        first_draws: What attacks through one random defence share.
    """

    device: torch.device = torch.device("cpu")
    batch_size: int | None = None
    precision: str = "float32"
    tick: Callable[[int], None] = lambda work: None
    stopped: Callable[[], bool] = lambda: False
    keeper: Keeper = lambda cell, number, batch, make: make()
    lost: Callable[[str], NoReturn] = _ends
    computes: bool = True
    footage: Footage = field(init=False)
    ahead: Ahead = field(init=False)
    first_draws: FirstDraws = field(default_factory=FirstDraws)
    _live: dict[str, Any] = field(default_factory=dict)
    _crafted: dict[str, Crafted] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.computes:
            prepare(self.precision, self.device)
        self.footage, self.ahead = Footage(self.device), Ahead(self.device)

    def room(self, cell: Cell) -> Room:
        """How many clips fit into a pass, and a batch, of the model that the cell is attacked through: learnt once."""
        key = self._room_key(cell)
        if key not in ROOMS:
            ROOMS[key] = room_for(self._attacked_model(cell), self.device, self.batch_size)
        return ROOMS[key]

    def batch_of(self, cell: Cell) -> int:
        """Clips per batch of a cell; what is usual, as long as nobody has asked for its `room`."""
        room = ROOMS.get(self._room_key(cell))
        return room.batch if room else self.batch_size or USUAL

    def resize(self, cell: Cell, batch: int) -> None:
        """From now on batches of another size for the cell's model; what is held on the device of the old ones goes."""
        self.room(cell).batch = batch
        self._crafted.clear()
        self.first_draws.clear()

    def _room_key(self, cell: Cell) -> str:
        named = f"{cell.source or cell.model} {self._attacked_model(cell).weights_sha256}"
        return f"{self.device} {named} {self.precision} {self.batch_size}"

    def _attacked_model(self, cell: Cell) -> Model:
        return self.source(cell) or self.model(cell)

    def dataset(self, cell: Cell) -> Dataset:
        """The cell's data set."""
        return self.once(f"dataset {cell.dataset}", cell.dataset.create)

    def records(self, cell: Cell) -> list[ClipRecord]:
        """The clips of the cell, in the class-balanced order.

        Raises:
            InputError: There are none, or a label is not one of the data set's classes.
        """
        return self.once(f"records {cell.dataset} {cell.split} {cell.limit}", lambda: self._records(cell))

    def model(self, cell: Cell) -> Model:
        """The model under test, on the device."""
        return self._model(cell, cell.model)

    def source(self, cell: Cell) -> Model | None:
        """The other model that a transfer attack is crafted on."""
        return self._model(cell, cell.source) if cell.source else None

    def attack(self, cell: Cell) -> Attack:
        """The cell's attack."""
        assert cell.attack is not None
        return cell.attack.create()

    def corruption(self, cell: Cell) -> Corruption:
        """The cell's corruption."""
        assert cell.corruption is not None
        return cell.corruption.create()

    def pipeline(self, cell: Cell, exact: bool = False) -> Pipeline:
        """The model behind the cell's defences: what is judged; `exact` in float32 in any case."""
        return self._precise(Pipeline.build(self.model(cell), self.links(cell)), exact)

    def links(self, cell: Cell) -> list[Defense | Armed]:
        """The cell's defences, trained ones with their weights."""
        owner = Owner(cell.model, cell.dataset)
        return [
            self.once(f"link {link} {owner.model} {owner.dataset}", lambda link=link: arm(link, owner, self.model(cell)))
            for link in cell.defense
        ]

    def attacked(self, cell: Cell) -> Pipeline:
        """What the attacker holds, by the cell's threat.

        Raises:
            InputError: The threat needs a gradient that the defence does not give, or a source model of another input.
        """
        assert cell.threat is not None
        check_threat(cell, self)
        if cell.threat.name == "adaptive":
            return self.pipeline(cell)
        if cell.threat.name == "grey-box":
            return self._precise(Pipeline.build(inside(self.links(cell)) or self.model(cell), []))
        return self._precise(Pipeline.build(self._attacked_model(cell), []))

    def scene(self, cell: Cell, moment: int = 0) -> Scene:
        """The clips of a cell as its model sees them, `moment` frames later."""
        return scene_of(cell, self, self.model(cell).input, moment, self.batch_of(cell))

    def expect(self, cells: Sequence[Cell], inputs: Mapping[str, InputSpec], shelf: Shelf | None = None) -> None:
        """Tells which cells are to come, so that what they share is made once; see `to_come`."""
        self.first_draws.expect(cells)
        self.footage.sharing.expect(to_come(cells, self, inputs), shelf)

    def fitting_batch(self, cell: Cell) -> Batch:
        """The clips that a universal perturbation is made on: decoded once, as one batch.

        Raises:
            InputError: The data set has no other split, or none of its clips can be decoded.
        """
        return self.once(f"fitting {self._fit_key(cell)} {seen(self.model(cell).input)}", lambda: self._fitting_batch(cell))

    def clips(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Float clips in [0, 1] and labels, on the device."""
        clips = self.ahead.clips(batch)
        return clips if clips.is_floating_point() else clips.float().div_(255), batch.labels.to(self.device)

    def fitted_once(self, cell: Cell, make: Callable[[], Any]) -> Any:
        """A universal perturbation; one that was made on an undefended model serves all cells that it is handed on to."""
        if cell.threat is None or cell.threat.on_the_defence:
            return make()
        made_on = f"{cell.source or cell.model} {seen(self.model(cell).input)}"
        return self.once(f"fitted {self._fit_key(cell)} {made_on} {cell.attack} {cell.seed}", make)

    def clean_once(self, cell: Cell, batch: Batch, make: Callable[[], Tensor]) -> Tensor:
        """What the attacked pipeline, a deterministic one, says of a batch as it is: asked once for all attacks."""
        behind = cell.threat if cell.threat and cell.threat.on_the_defence else ""
        asked = f"{cell.source or cell.model} {behind and f'{behind.name} {cell.defense_text}'}"
        return self.once(f"clean {self.scene(cell).name} {asked} {digest({'ids': batch.ids})}", make)

    def crafted_once(self, cell: Cell, number: int, batch: Batch, make: Callable[[], Crafted]) -> Crafted:
        """The adversarial batch `number`; one that is handed on is shared: in memory as it allows, and by the `keeper`."""
        if not cell.handed_on:
            return make()
        key = f"{number} {self.crafted_key(cell)} {digest({'ids': batch.ids})}"
        if key not in self._crafted:
            made = self.keeper(cell, number, batch, make)
            most = may_keep(self.device)
            if made.clips.nbytes > most:
                return made
            while sum(entry.clips.nbytes for entry in (made, *self._crafted.values())) > most:
                del self._crafted[next(iter(self._crafted))]  # the oldest: cells that share clips follow each other
            self._crafted[key] = made
        return self._crafted[key]

    def crafted_key(self, cell: Cell) -> str:
        """Names the clips that a cell hands on, by everything that they depend on: 24 hex digits."""
        of = f"{self.scene(cell).name} {cell.source or cell.model} {cell.attack} {cell.seed} {self.batch_of(cell)}"
        return self.once(f"crafted {of}", lambda: crafted_key(cell, self))

    def eight_bit(self, cell: Cell) -> bool:
        """Whether the cell's adversarial clips have 8 bits; data in memory may be finer, and stay as they are."""
        in_memory = hasattr(self.dataset(cell), "load")
        return cell.handed_on and not in_memory and survives(self.attack(cell), self.model(cell).input)

    def check(self, cell: Cell) -> None:
        """Builds what the cell needs, so that bad input shows before anything is computed.

        Raises:
            InputError: A component cannot be built as asked.
        """
        # Each part once: thousands of cells are combinations of a few.
        self.once(f"checked {cell.model} {'+'.join(map(str, cell.defense))}", lambda: check_links(cell, self))
        self.records(cell)
        if cell.corruption:
            check_corruption(cell, self)
        if cell.attack:
            self.once(f"checked {cell.model} {cell.source} {cell.attack}", lambda: check_attack(cell, self))

    def spec(self, cell: Cell) -> dict[str, Any]:
        """Everything that the cell's result depends on: its hash is made of this."""
        return spec(cell, self)

    def hash(self, cell: Cell) -> str:
        """The cell's name in the store."""
        return digest(self.spec(cell))

    def _precise(self, pipeline: Pipeline, exact: bool = False) -> Pipeline:
        return pipeline if exact else in_precision(pipeline, self.precision, self.device)

    def _fitting_batch(self, cell: Cell) -> Batch:
        read = load(self.fit_records(cell), self.model(cell).input, USUAL)
        batches = [batch for batch, _ in read if batch is not None]
        if not batches:
            raise InputError(f"attack {cell.attack}", "no clip that its perturbation is to be made on could be decoded")
        return Batch([record for batch in batches for record in batch.records], torch.cat([batch.clips for batch in batches]))

    def fit_records(self, cell: Cell) -> list[ClipRecord]:
        """The clips that a universal perturbation is made on, none of them judged.

        Raises:
            InputError: There are none.
        """

        def find() -> list[ClipRecord]:
            data, attack = self.dataset(cell), self.attack(cell)
            split, judged = fit_split(data, cell.split, attack.fit_split), data.records(cell.split)
            taken = {record.id for record in judged} | {record.group for record in judged}
            others = [record for record in data.records(split) if not {record.id, record.group} & taken]
            if not others:
                problem = f"every clip or source video of split {split!r} is also one of split {cell.split!r}, which is judged"
                raise InputError(f"attack {cell.attack}: fit_split", problem, "name a split with other clips")
            return balanced(others, attack.fit_clips)

        return self.once(f"fit records {self._fit_key(cell)}", find)

    def _fit_key(self, cell: Cell) -> str:
        return f"{cell.dataset} {cell.split} {self.attack(cell).fit_split} {self.attack(cell).fit_clips}"

    def _model(self, cell: Cell, component: Component) -> Model:
        classes, name = self.dataset(cell).classes, cell.dataset.entry.name
        return self.once(f"model {component} {name}", lambda: build_model(component, name, classes).to(self.device))

    def _records(self, cell: Cell) -> list[ClipRecord]:
        records = balanced(self.dataset(cell).records(cell.split), cell.limit)
        if not records:
            raise InputError("dataset", f"{cell.dataset} has no clips in split {cell.split!r}")
        count = len(self.dataset(cell).classes)
        for record in records:
            if not 0 <= record.label < count:
                raise InputError("dataset", f"clip {record.id} has label {record.label}", f"labels are 0 to {count - 1}")
        return records

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once for the key."""
        if key not in self._live:
            self._live[key] = make()
        return self._live[key]
