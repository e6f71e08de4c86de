"""Tables of papers as grids: the TOML files of `tables`, resolved to cells. Nothing here imports torch."""

import tomllib
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.registry import Component, did_you_mean, resolve
from ...core.specs import split_chain
from ...models.armoury import is_trained, plain_name
from ...models.published import resolve_model
from .places import Grid, Place, Setting, Want, as_trained

FOLDER = Path(__file__).with_name("tables")
INDEX = "papers"
"""Stem of the file that lists every table and figure, also those that have no grid."""

EMBEDDED = ("shapes", "shapes-object", "shapes-motion")
PARTS = {"label", "model", "defense", "attack", "corruption", "severity", "threat", "adaptive", "measure", "skip", "differs"}
PARTS |= {"values", "full", "against", "dataset"}
MEASURES = ("top1", "top5")


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

    On the paper's data set each row and column is overlaid by its own `full`, the published values that are too large for 8
    frames of 64 pixels or too small to hurt there, and its model by the one of `models`; `real` names the data sets with the
    files of their numbers, and the text in `full` says what differs there, that in `scaled` what differs on the embedded world.
    """

    def __init__(self, name: str, found: dict[str, Any], setting: Setting) -> None:
        self.name, self.found, self.setting = name, found, setting
        self.dataset = resolve("dataset", setting.dataset or found["dataset"])
        self.home = self.dataset.entry.name
        self.full = self.home not in EMBEDDED
        self.split, self.limit = found["split"], setting.limit or found.get("limit")
        self.real: dict[str, str] = found.get("real", {})
        self.known: dict[str, str] = {}  # what may be given weights, and how what was given differs
        if self.full:
            from ...data.selection import default_split

            if self.home not in self.real:
                remedy = f"choose {' or '.join(self.real)}, or leave it out for the embedded world"
                raise InputError("dataset", f"the paper has no numbers of {name} on {self.home}", remedy)
            self.split, self.limit = default_split(self.dataset.create()), setting.limit

    def grid(self) -> Grid:
        found = self.found
        rows, columns = [[self._part(part) for part in found[kind]] for kind in ("rows", "columns")]
        pairs = {(pair["row"], pair["column"]): pair["skip"] for pair in found.get("skips", [])}
        places = []
        for row, column in product(rows, columns):
            merged = column | row | {"values": column.get("values", {}) | row.get("values", {})}
            merged |= {"row": row["label"], "column": column["label"]}
            merged["differs"] = " ".join(part["differs"] for part in (row, column) if part.get("differs"))
            merged["skip"] = pairs.get((row["label"], column["label"])) or merged.get("skip", "")
            places += self._places(merged)
        unused = self.setting.checkpoints.keys() - self.known.keys()
        if unused:
            problem = f"{self.name} has no model {min(unused)!r} on {self.home}"
            raise InputError("checkpoint", problem, did_you_mean(min(unused), sorted(self.known)))
        numbers = self.real[self.home] if self.full else found["published"]
        return Grid(
            self.name,
            found["title"],
            found["source"],
            numbers,
            self._differs(),
            found.get("derive", ""),
            tuple(places),
            tuple(self.known),
        )

    def _differs(self) -> tuple[str, ...]:
        """Of the whole table; a model that was exchanged and a part of the clips are differences too."""
        lines = [*self.found.get("differs", ()), *self.found.get("full" if self.full else "scaled", ())]
        if self.full and self.limit:
            lines.append(f"{self.limit} clips of split {self.split}, the classes by turns, instead of all.")
        return (*lines, *filter(None, self.known.values()))

    def _part(self, part: dict[str, Any]) -> dict[str, Any]:
        unknown = part.keys() - PARTS
        if unknown:
            raise ValueError(f"{self.name}: {sorted(unknown)} are no parts of a row or column")
        part = part | (part.get("full", {}) if self.full else {})
        return part | {"skip": self._elsewhere(part.get("dataset", self.home)) or part.get("skip", "")}

    def _elsewhere(self, dataset: str) -> str:
        """Why a row of another data set is left out; empty for one that is not."""
        if self.full:
            return "" if dataset == self.home else f"of {dataset}: run the table with --dataset {dataset}:root=DIR"
        return "" if dataset in (self.home, next(iter(self.real), "")) else self.found["alone"]

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

        key, model = self._model(part["model"])
        chains = [tuple(self._link(link, key) for link in split_chain(text)) if text else () for text in texts("defense")]
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

    def _model(self, text: str) -> tuple[str, Component]:
        """The model, and what `--checkpoint` calls it: a row's `tsm-16` is a tsm with other frames, so with other weights."""
        spec = self.found["models"][text] if self.full else text
        own, name = _resolved("model", spec), spec.partition(":")[0]
        key = text if text.startswith(name) else name
        given = self.setting.checkpoints.get(key)
        self.known.setdefault(key, "")
        if given is None:
            return key, own
        if not given.startswith(f"{name}:"):
            return key, resolve_model(spec, weights=given)
        model = resolve_model(given)
        self.known[key] = f"{key} is {model.short}; this table's is {own.short}." if model.text != own.text else ""
        return key, model

    def _link(self, text: str, model: str) -> Component:
        """A link of a chain, with the checkpoint that the user gives a trained one."""
        link = _resolved("defense", text)
        if not is_trained(link.entry):
            return link
        key = f"{model}+{plain_name(as_trained(link))}"
        self.known.setdefault(key, "")
        given = self.setting.checkpoints.get(key)
        return resolve("defense", text, weights=given) if given else link


@cache
def _resolved(kind: str, text: str) -> Component:
    """Specs of our own files, each looked up once: that looks through all installed packages for plug-ins."""
    return resolve_model(text) if kind == "model" else resolve(kind, text)
