"""The live objects of a run: each model, data set, batch of clips and set of adversarials is made once."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..core.attack import Attack
from ..core.corruption import Corruption, Pixels, Stream, Timeline
from ..core.errors import InputError
from ..core.files import sha256
from ..core.interfaces import Batch, ClipRecord, Dataset, Defense, Model
from ..core.registry import Component
from ..core.trained import Armed
from ..data.corrupted import Corrupted
from ..data.loader import load
from ..data.selection import balanced, fit_split, manifest_sha256
from ..models.armed import arm
from ..models.armoury import Owner
from ..models.build import build_model
from .cell import Cell
from .crafted import Crafted
from .footage import KEPT_BYTES, Footage, Scene
from .memory import Room
from .threat import Pipeline, inside

PROTOCOL = 2
"""Goes up when the way of measuring changes in a way that moves numbers."""


@dataclass
class Bench:
    """Resolves cells to live objects and keeps those that several cells share.

    Attributes:
        device: Where models run.
        batch_size: Clips per batch; results do not depend on it.
        tick: Called with the number of forward passes' worth of work that was just done, for progress.
        stopped: Asked after every batch: whether to keep what was measured and end.
        footage: Gives the clips.
    """

    device: torch.device = torch.device("cpu")
    batch_size: int = 32
    tick: Callable[[int], None] = lambda work: None
    stopped: Callable[[], bool] = lambda: False
    footage: Footage = field(init=False)
    _live: dict[str, Any] = field(default_factory=dict)
    _crafted: dict[str, Crafted] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.footage = Footage(self.device, self.batch_size)

    def room(self, cell: Cell) -> Room:
        """How many clips fit into a pass of what the cell attacks: learnt once."""
        # On a GPU the draws of EOT lie side by side until memory says no; on a CPU a wider batch gains nothing.
        rows = self.batch_size * (8 if self.device.type == "cuda" else 1)
        return self._once(f"room {cell.model} {cell.source} {cell.defense_text} {cell.threat}", lambda: Room(rows))

    def dataset(self, cell: Cell) -> Dataset:
        """The cell's data set."""
        return self._once(f"dataset {cell.dataset}", cell.dataset.create)

    def records(self, cell: Cell) -> list[ClipRecord]:
        """The clips of the cell, in the class-balanced order.

        Raises:
            InputError: There are none, or a label is not one of the data set's classes.
        """
        return self._once(f"records {cell.dataset} {cell.split} {cell.limit}", lambda: self._records(cell))

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

    def pipeline(self, cell: Cell) -> Pipeline:
        """The model behind the cell's defences: what is judged."""
        return Pipeline.build(self.model(cell), self.links(cell))

    def links(self, cell: Cell) -> list[Defense | Armed]:
        """The cell's defences, trained ones with their weights."""
        owner = Owner(cell.model, cell.dataset)
        return [
            self._once(f"link {link} {owner.model} {owner.dataset}", lambda link=link: arm(link, owner, self.model(cell)))
            for link in cell.defense
        ]

    def attacked(self, cell: Cell) -> Pipeline:
        """What the attacker holds, by the cell's threat.

        Raises:
            InputError: The threat needs a gradient that the defence does not give, or a source model of another input.
        """
        assert cell.threat is not None
        if cell.threat.name == "adaptive":
            pipeline = self.pipeline(cell)
            if not pipeline.gradient and not self.attack(cell).black_box:
                raise InputError(f"defense {cell.defense_text}", "lets no gradient pass", "use a transfer or black-box attack")
            return pipeline
        if cell.threat.name == "grey-box":
            return Pipeline.build(inside(self.links(cell)) or self.model(cell), [])
        source, model = self.source(cell) or self.model(cell), self.model(cell)
        if (source.input.frames, source.input.size) != (model.input.frames, model.input.size):
            raise InputError(
                f"threat {cell.threat}",
                f"the source takes {source.input.frames} frames of {source.input.size} px, "
                f"the model {model.input.frames} of {model.input.size}",
                "use a source model of the same input",
            )
        return Pipeline.build(source, [])

    def scene(self, cell: Cell, moment: int = 0) -> Scene:
        """The clips of a cell as its model sees them, `moment` frames later."""
        key = f"{cell.dataset} {cell.split} {cell.limit}"
        corrupted = cell.corruption and Corrupted(self.corruption(cell), cell.severity, cell.corruption.text, cell.seed, moment)
        return Scene(key, self.dataset(cell), self.records(cell), self.model(cell).input, corrupted, moment)

    def fitting_batch(self, cell: Cell) -> Batch:
        """The clips that a universal perturbation is made on: decoded once, as one batch.

        Raises:
            InputError: The data set has no other split, or none of its clips can be decoded.
        """
        return self._once(f"fitting {self._fit_key(cell)} {self.model(cell).input}", lambda: self._fitting_batch(cell))

    def clips(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Float clips in [0, 1] and labels, on the device."""
        clips = batch.clips.to(self.device)
        return clips if clips.is_floating_point() else clips.float().div_(255), batch.labels.to(self.device)

    def fitted_once(self, cell: Cell, make: Callable[[], Any]) -> Any:
        """A universal perturbation; one that was made on an undefended model serves all cells that it is handed on to."""
        if cell.threat is None or cell.threat.on_the_defence:
            return make()
        made_on = f"{cell.source or cell.model} {self.model(cell).input}"
        return self._once(f"fitted {self._fit_key(cell)} {made_on} {cell.attack} {cell.seed}", make)

    def crafted_once(self, cell: Cell, number: int, make: Callable[[], Crafted]) -> Crafted:
        """The adversarial batch `number`; one made on an undefended model is shared where it is handed on, as memory allows."""
        threat = cell.threat
        if threat is None or threat.on_the_defence or not cell.full:
            return make()
        key = f"{number} {self.scene(cell).name} {cell.source or cell.model} {cell.attack} {cell.seed}"
        if key not in self._crafted:
            made = make()
            if sum(entry.clips.nbytes for entry in (made, *self._crafted.values())) > KEPT_BYTES:
                return made
            self._crafted[key] = made
        return self._crafted[key]

    def check(self, cell: Cell) -> None:
        """Builds what the cell needs, so that bad input shows before anything is computed.

        Raises:
            InputError: A component cannot be built as asked.
        """
        for component, link in zip(cell.defense, self.links(cell), strict=True):
            _promised(component, link, ("stochastic", "gradient", "draws", "protect"))
            check = getattr(component.create(), "check", None)  # optional: what this model's clips do not allow
            if check:
                check(self.model(cell).input)
        if cell.attack:
            _promised(cell.attack, self.attack(cell), ("norm", "eps", "run", "limits"))
        if cell.corruption:
            made = self.corruption(cell)
            if not isinstance(made, (Pixels, Timeline, Stream)):
                problem, remedy = "is no Pixels, Timeline or Stream", "see CONTRIBUTING.md for these base classes"
                raise InputError(f"corruption {cell.corruption.entry.name}", problem, remedy)
            made.setting(cell.severity)
        self.records(cell)
        for model in filter(None, (self.model(cell), self.source(cell))):
            if cell.attack:
                self.attack(cell).check(model.input, model.classes)

    def spec(self, cell: Cell) -> dict[str, Any]:
        """Everything that the cell's result depends on, and nothing else: its hash is made of this."""
        model, source = self.model(cell), self.source(cell)
        parts = {
            "dataset": cell.dataset,
            "model": cell.model,
            "attack": cell.attack,
            "source": cell.source,
            "corruption": cell.corruption,
        }
        parts |= {f"defense {number}": link for number, link in enumerate(cell.defense)}
        manifest = self._once(f"manifest {cell.dataset} {cell.split} {cell.limit}", lambda: manifest_sha256(self.records(cell)))
        # Only where there is one, so that a cell of an earlier version keeps its hash.
        extra: dict[str, Any] = {"shifts": cell.shifts} if cell.shifts else {}
        extra |= {"corruption": cell.corruption.text, "severity": cell.severity} if cell.corruption else {}
        weights = [link.sha256 for link in self.links(cell) if isinstance(link, Armed)]
        extra |= {"defense_sha256": weights} if weights else {}
        return extra | {
            "protocol": PROTOCOL,
            "kind": cell.kind,
            "dataset": cell.dataset.text,
            "split": cell.split,
            "limit": cell.limit,
            "manifest_sha256": manifest,
            "model": cell.model.text,
            "weights_sha256": model.weights_sha256,
            "input": asdict(model.input),
            "attack": cell.attack.text if cell.attack else "none",
            "norm": self.attack(cell).norm if cell.attack else "none",
            "eps": self.attack(cell).eps if cell.attack else 0.0,
            "attack_files": [sha256(path) for path in self.attack(cell).files] if cell.attack else [],
            "fit_manifest_sha256": self._fit_manifest(cell),
            "defense": cell.defense_text,
            "threat": f"transfer:{cell.source.text}" if cell.source else str(cell.threat or "none"),
            "source_sha256": source.weights_sha256 if source else "",
            "strength": ("full" if cell.full else "first-success") if cell.attack else "none",
            "seed": cell.seed,
            "dtype": "float32",
            "versions": {name: part.entry.version for name, part in parts.items() if part},
        }

    def hash(self, cell: Cell) -> str:
        """The cell's name in the store: 24 hex digits of the sha256 of its spec."""
        text = json.dumps(self.spec(cell), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def _fitting_batch(self, cell: Cell) -> Batch:
        read = load(self._fit_records(cell), self.model(cell).input, self.batch_size)
        batches = [batch for batch, _ in read if batch is not None]
        if not batches:
            raise InputError(f"attack {cell.attack}", "no clip that its perturbation is to be made on could be decoded")
        return Batch([record for batch in batches for record in batch.records], torch.cat([batch.clips for batch in batches]))

    def _fit_records(self, cell: Cell) -> list[ClipRecord]:
        def find() -> list[ClipRecord]:
            data, attack = self.dataset(cell), self.attack(cell)
            split, judged = fit_split(data, cell.split, attack.fit_split), data.records(cell.split)
            taken = {record.id for record in judged} | {record.group for record in judged}
            others = [record for record in data.records(split) if not {record.id, record.group} & taken]
            if not others:
                problem = f"every clip or source video of split {split!r} is also one of split {cell.split!r}, which is judged"
                raise InputError(f"attack {cell.attack}: fit_split", problem, "name a split with other clips")
            return balanced(others, attack.fit_clips)

        return self._once(f"fit records {self._fit_key(cell)}", find)

    def _fit_key(self, cell: Cell) -> str:
        return f"{cell.dataset} {cell.split} {self.attack(cell).fit_split} {self.attack(cell).fit_clips}"

    def _fit_manifest(self, cell: Cell) -> str:
        return manifest_sha256(self._fit_records(cell)) if cell.attack and self.attack(cell).universal else ""

    def _model(self, cell: Cell, component: Component) -> Model:
        classes, name = self.dataset(cell).classes, cell.dataset.entry.name
        return self._once(f"model {component} {name}", lambda: build_model(component, name, classes).to(self.device))

    def _records(self, cell: Cell) -> list[ClipRecord]:
        records = balanced(self.dataset(cell).records(cell.split), cell.limit)
        if not records:
            raise InputError("dataset", f"{cell.dataset} has no clips in split {cell.split!r}")
        count = len(self.dataset(cell).classes)
        for record in records:
            if not 0 <= record.label < count:
                raise InputError("dataset", f"clip {record.id} has label {record.label}", f"labels are 0 to {count - 1}")
        return records

    def _once(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self._live:
            self._live[key] = make()
        return self._live[key]


def _promised(component: Component, made: Any, names: tuple[str, ...]) -> None:
    missing = [name for name in names if not hasattr(made, name)]
    if missing:
        raise InputError(
            f"{component.entry.kind} {component.entry.name}",
            f"has no {', '.join(missing)}",
            "see CONTRIBUTING.md for its base class",
        )
