"""Tables of papers as grids: the TOML files of `tables`, resolved to cells. Nothing here imports torch."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.registry import Component, did_you_mean, resolve
from ...core.specs import split_chain
from ...models.published import resolve_model

FOLDER = Path(__file__).with_name("tables")
INDEX = "papers"
"""Stem of the file that lists every table and figure, also those that have no grid."""

EMBEDDED = ("shapes", "shapes-object", "shapes-motion")
PARTS = {"label", "model", "defense", "attack", "corruption", "severity", "threat", "adaptive", "measure", "skip", "differs"}
PARTS |= {"values", "full", "against"}
MEASURES = ("top1", "top5")

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Setting:
    """What a user may change of a table.

    Attributes:
        dataset: Spec of another data set; None for the table's own.
        limit: Number of clips; None for the table's own, or all of another data set.
        checkpoints: By the name of a model: a file, URL or published name of its weights, or a whole model spec.
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
    """

    name: str
    title: str
    source: str
    published: str
    differs: tuple[str, ...]
    derive: str
    places: tuple[Place, ...]

    @property
    def wants(self) -> list[Want]:
        """The cells behind it, each once; corrupted ones last, those of the same corrupted clips together."""
        found = {want.key: want for place in self.places for want in place.wants}
        return sorted(found.values(), key=lambda want: want.key[-2:])


def names() -> list[str]:
    """The tables and figures that have a grid."""
    return sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem != INDEX)


def index() -> list[dict[str, Any]]:
    """Every table and figure of the papers, in their order: name, shows, and `why` or `study` where it has no grid."""
    return tomllib.loads((FOLDER / f"{INDEX}.toml").read_text(encoding="utf-8"))["entries"]


def find_grid(name: str, setting: Setting | None = None) -> Grid:
    """A table by its name, with what the user changes.

    Raises:
        InputError: There is none (close names are suggested), or the setting names something that does not exist.
    """
    if name not in names():
        why = next((entry.get("why", "") for entry in index() if entry["name"] == name), "")
        if why:
            raise InputError("paper", f"{name} cannot be measured: {why}", "see vbench paper list")
        raise InputError("paper", f"{name!r} is unknown", did_you_mean(name, names()))
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    return _Reader(name, tomllib.loads(text), setting or Setting()).grid()


class _Reader:
    """One file, under one setting.

    Elsewhere than in the embedded world each row and column is overlaid by its own `full`, the published values that are
    too large for 8 frames of 64 pixels or too small to hurt there; and what `scaled` says no longer holds.
    """

    def __init__(self, name: str, found: dict[str, Any], setting: Setting) -> None:
        self.name, self.found, self.setting = name, found, setting
        self.dataset = resolve("dataset", setting.dataset or found["dataset"])
        self.full = self.dataset.entry.name not in EMBEDDED
        self.split, self.limit = found["split"], setting.limit or found.get("limit")
        if self.full:
            from ...data.selection import default_split

            self.split, self.limit = default_split(self.dataset.create()), setting.limit

    def grid(self) -> Grid:
        found = self.found
        rows, columns = [[self._part(part) for part in found[kind]] for kind in ("rows", "columns")]
        unused = self.setting.checkpoints.keys() - {_name(part["model"]) for part in rows + columns if "model" in part}
        if unused:
            known = sorted({_name(part["model"]) for part in rows + columns if "model" in part})
            raise InputError("checkpoint", f"{self.name} has no model {min(unused)!r}", did_you_mean(min(unused), known))
        pairs = {(pair["row"], pair["column"]): pair["skip"] for pair in found.get("skips", [])}
        places = []
        for row, column in product(rows, columns):
            merged = column | row | {"values": column.get("values", {}) | row.get("values", {})}
            merged |= {"row": row["label"], "column": column["label"]}
            merged["differs"] = " ".join(part["differs"] for part in (row, column) if part.get("differs"))
            merged["skip"] = pairs.get((row["label"], column["label"])) or merged.get("skip", "")
            places += self._places(merged)
        differs = (*found.get("differs", ()), *(() if self.full else found.get("scaled", ())))
        texts = (self.name, found["title"], found["source"], found["published"])
        return Grid(*texts, differs, found.get("derive", ""), tuple(places))

    def _part(self, part: dict[str, Any]) -> dict[str, Any]:
        unknown = part.keys() - PARTS
        if unknown:
            raise ValueError(f"{self.name}: {sorted(unknown)} are no parts of a row or column")
        return part | (part.get("full", {}) if self.full else {})

    def _places(self, part: dict[str, Any]) -> list[Place]:
        """The place of a row and a column, and its adaptive counterpart where the paper's threat is a weaker one."""
        threat = self._threat(part)
        place = self._place(part, threat)
        if place.skip or threat in ("none", "white-box") or threat.startswith("adaptive"):
            return [place]
        other = self._place(part | {"column": f"{part['column']}, adaptive"}, part.get("adaptive", "adaptive:eot=1"))
        return [place, Place(**vars(other) | {"counterpart": True, "differs": ""})]

    def _threat(self, part: dict[str, Any]) -> str:
        if "attack" not in part:
            return "none"
        return part.get("threat", "oblivious") if part.get("defense") else "white-box"

    def _place(self, part: dict[str, Any], threat: str) -> Place:
        wants = () if part["skip"] else self._wants(part, threat)
        shown = {name: part.get(name, "") for name in ("skip", "differs", "against")}
        return Place(part["row"], part["column"], wants, threat, part.get("measure", "top1"), values=part["values"], **shown)

    def _wants(self, part: dict[str, Any], threat: str) -> tuple[Want, ...]:
        def texts(name: str) -> list[str | None]:
            given = part.get(name)
            listed = given if isinstance(given, list) else [given]
            return [None if text is None else text.format(**part["values"]) for text in listed]

        model = self._model(part["model"])
        chains = [tuple(_resolved("defense", link) for link in split_chain(text)) if text else () for text in texts("defense")]
        severities = part.get("severity", 0)
        return tuple(
            Want(
                self.dataset,
                self.split,
                self.limit,
                self.found.get("seed", 0),
                model,
                chain,
                _resolved("attack", attack) if attack else None,
                _resolved("corruption", corruption) if corruption else None,
                severity if corruption else 0,
                threat,
            )
            for chain in chains
            for attack in texts("attack")
            for corruption in texts("corruption")
            for severity in (severities if isinstance(severities, list) else [severities])
        )

    def _model(self, text: str) -> Component:
        given = self.setting.checkpoints.get(_name(text))
        if given is None:
            return _resolved("model", text)
        return resolve_model(given) if given.startswith(f"{_name(text)}:") else resolve_model(text, weights=given)


@cache
def _resolved(kind: str, text: str) -> Component:
    """Specs of our own files, each looked up once: that looks through all installed packages for plug-ins."""
    return resolve_model(text) if kind == "model" else resolve(kind, text)


def _name(model: str) -> str:
    return model.partition(":")[0]
