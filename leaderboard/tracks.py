"""Tracks: which cells make a leaderboard, and what a row must have to be ranked."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..benchmark.core.errors import InputError
from ..benchmark.core.params import REQUIRED, SEVERITIES
from ..benchmark.core.registry import did_you_mean, find, matching, resolve
from ..benchmark.core.specs import Spec
from ..benchmark.evaluation.tables import KNOWLEDGE
from .audit_evidence import unsearched
from .board_rows import Draft
from .results import Results, Rows
from .titles import canonical, short

FOLDER = Path(__file__).with_name("tracks")

KEYS: dict[str, type] = {"title": str, "about": str, "dataset": str, "split": str, "limit": int, "seed": int}
KEYS |= {"attacks": list, "threats": list, "corruptions": list, "severities": list}
"""What a track's file may say."""

REQUIRED_KEYS = ("title", "about", "dataset", "split")


@dataclass(frozen=True)
class Track:
    """What a leaderboard is made of.

    Attributes:
        name: Of the file, without ending.
        title: Of the leaderboard.
        about: What it shows, one paragraph.
        dataset: Canonical spec of the data set, without its root.
        split: Its split.
        limit: First clips of the class-balanced order; None for all.
        seed: Seed of the run.
        attacks: Canonical specs.
        threats: How defended models are attacked: `adaptive`, always, and `oblivious`, `transfer` or `transfer:<model>`.
            Undefended ones meet white-box attacks, and the transfers. `grey-box` counts where a defence has such a setting.
        corruptions: Canonical specs.
        severities: Of each corruption.
    """

    name: str
    title: str
    about: str
    dataset: str
    split: str
    limit: int | None = None
    seed: int = 0
    attacks: tuple[str, ...] = ()
    threats: tuple[str, ...] = ("oblivious", "adaptive")
    corruptions: tuple[str, ...] = ()
    severities: tuple[int, ...] = tuple(SEVERITIES)

    @classmethod
    def read(cls, name: str | Path) -> "Track":
        """Reads a track that the package ships, by its name, or any from a `.toml` file.

        Raises:
            InputError: There is no such track, or its file is wrong: a key, a type, or a spec.
        """
        path = _path(str(name))
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError("track", f"cannot read {path}: {error.strerror or error}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError("track", f"{path} is not TOML: {error}") from None
        try:
            return cls(name=path.stem, **_values(told))
        except InputError as error:
            raise InputError(f"track {path.stem}", str(error)) from None

    def counted(self, pipelines: Sequence[Rows]) -> list[Rows]:
        """Of the cells of each pipeline those that the track asks for.

        Raises:
            InputError: There is none in all.
        """
        found = [[cell for cell in cells if self._counts(cell)] for cells in pipelines]
        if not any(found):
            remedy = f"run vbench run --dataset {self.dataset} --split {self.split}"
            remedy += f" --limit {self.limit}" if self.limit is not None else ""
            remedy += f" --seed {self.seed}" if self.seed else ""
            asked = [("attack", one) for one in self.attacks] or [("corruption", one) for one in self.corruptions]
            remedy += "".join(f" --{kind} {short(kind, text)}" for kind, text in asked)
            raise InputError(f"track {self.name}", "no cell of the store belongs to it", remedy)
        return found

    def of(self, results: Results) -> Results:
        """The track's cells alone, for curves and pictures.

        Raises:
            InputError: There is none.
        """
        mine = {cell["cell"] for cells in self.counted(results.pipelines) for cell in cells}
        return Results([cell for cell in results.cells if cell["cell"] in mine], results.folders)

    def judge(self, rows: Sequence[Draft], results: Results) -> None:
        """Flags rows that lack a cell of the track, `incomplete:<what>`, and takes their worst case from them.

        Through a defence that lets no gradient pass no gradient attack can be made; where a search without gradients is measured,
        nothing is missed.
        """
        for row in rows:
            excused = set()
            seen = results.seen(row.cells)
            if not unsearched(seen):
                excused = {one.cell["cell"] for one in seen if not one.ok and one.opaque}
            there = [cell for cell in row.cells if cell["status"] == "ok" or cell["cell"] in excused]
            lacking = [said for said in self._asked(row.place) if not any(said == one for cell in there for one in _said(cell))]
            row.flags |= {f"incomplete:{'-'.join(what.split())}" for what in map(_words, lacking)}
            if lacking:
                row.forget_worst()

    def _counts(self, cell: Mapping[str, Any]) -> bool:
        place = (canonical("dataset", cell["dataset"]), cell["split"], cell["limit"], cell["seed"])
        if place != (self.dataset, self.split, self.limit, self.seed):
            return False
        if cell["kind"] == "corruption":
            return canonical("corruption", cell["corruption"]) in self.corruptions and cell["severity"] in self.severities
        if cell["kind"] == "clean":
            return True
        return canonical("attack", cell["attack"]) in self.attacks and bool({"white-box", *self.threats} & set(_threats(cell)))

    def _asked(self, place: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        """Kind, spec, and threat or severity of what a row must have."""
        appended = place["threat_model"] == "frames appended"
        attacks = [text for text in self.attacks if ("norm=append" in text) == appended]
        if place["defense"] == "none":
            threats = ["white-box", *(one for one in self.threats if one.startswith("transfer"))]
        else:
            threats = [one for one in self.threats if one != "grey-box"]
        asked = [("attack", text, threat) for text in attacks for threat in threats]
        if not appended:
            asked.append(("clean", "", ""))
            asked += [("corruption", text, str(severity)) for text in self.corruptions for severity in self.severities]
        return asked


def _said(cell: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What a cell answers of `_asked`."""
    if cell["kind"] == "clean":
        return [("clean", "", "")]
    if cell["kind"] == "corruption":
        return [("corruption", canonical("corruption", cell["corruption"]), f"{cell['severity']:.0f}")]
    return [("attack", canonical("attack", cell["attack"]), threat) for threat in _threats(cell)]


def _threats(cell: Mapping[str, Any]) -> list[str]:
    """The names by which a track may ask for a cell's threat."""
    kind, _, rest = str(cell["threat"]).partition(":")
    return [kind, f"{kind}:{canonical('model', rest) if kind == 'transfer' else rest}"]


def _words(asked: tuple[str, str, str]) -> str:
    kind, text, how = asked
    if kind == "clean":
        return "clean"
    if kind == "corruption":
        return f"{short('corruption', text)}(severity={how})"
    threat, colon, source = how.partition(":")
    known = short("model", source) if threat == "transfer" else source
    return f"{short('attack', text)}({threat}{colon}{known})"


def shipped() -> list[str]:
    """Names of the tracks of the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def _path(name: str) -> Path:
    if name.endswith(".toml"):
        return Path(name).expanduser()
    if name not in shipped():
        raise InputError("track", f"{name!r} is unknown", did_you_mean(name, shipped()))
    return FOLDER / f"{name}.toml"


def _values(told: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a track, from its file."""
    for key, value in told.items():
        if key not in KEYS:
            raise InputError(key, "there is no such key", did_you_mean(key, KEYS))
        if not isinstance(value, KEYS[key]) or isinstance(value, bool):
            raise InputError(key, f"{value!r} is not {_called(KEYS[key])}")
    for key in REQUIRED_KEYS:
        if not told.get(key, "").strip():
            raise InputError(key, "is missing")
    if not told.get("attacks") and not told.get("corruptions"):
        raise InputError("attacks", "there are neither attacks nor corruptions", "write either")
    if told.get("limit", 1) < 1:
        raise InputError("limit", f"{told['limit']} is less than 1", "leave it out for all clips")
    made = dict(told) | {"dataset": _dataset(told["dataset"])}
    made["attacks"] = tuple(resolve("attack", _text("attacks", one)).text for one in told.get("attacks", []))
    found = [one.text for text in told.get("corruptions", []) for one in matching("corruption", _text("corruptions", text))]
    made["corruptions"] = tuple(dict.fromkeys(found))
    given = [_threat(_text("threats", one)) for one in told.get("threats", ["oblivious"])]
    adaptive = any(one.startswith("adaptive") for one in given)
    made["threats"] = tuple(dict.fromkeys(given if adaptive else [*given, "adaptive"]))  # no defended number without it
    severities = told.get("severities", list(SEVERITIES))
    if not severities or any(one not in SEVERITIES or isinstance(one, bool) for one in severities):
        raise InputError("severities", f"{severities!r} are not severities", f"choose from {list(SEVERITIES)}")
    made["severities"] = tuple(sorted(set(severities)))
    return made


def _called(kind: type) -> str:
    return {str: "a text", int: "a whole number", list: "a list"}[kind]


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(key, f"{value!r} is not a text")
    return value


def _dataset(text: str) -> str:
    """The canonical spec; where the clips lie is no part of it, and need not be given."""
    spec = Spec.parse(text, "dataset")
    entry = find("dataset", spec.name)
    missing = {field.name: "-" for field in entry.fields if field.default is REQUIRED and not field.identity}
    given = {key for key, _ in spec.values}
    values = {} if spec.positional else {key: value for key, value in missing.items() if key not in given}
    return resolve("dataset", text, **values).text


def _threat(text: str) -> str:
    """A threat as `_threats` writes it."""
    kind, colon, rest = text.partition(":")
    if kind not in KNOWLEDGE or kind == "white-box":
        known = [one for one in KNOWLEDGE if one != "white-box"]
        raise InputError("threats", f"{text!r} is unknown", did_you_mean(kind, known))
    if not colon:
        return kind
    if kind == "transfer":
        return f"transfer:{resolve('model', rest).text}"
    if kind != "adaptive":
        raise InputError("threats", f"{text!r}: only adaptive and transfer take parameters")
    Spec.parse(text, "threats")
    return text
