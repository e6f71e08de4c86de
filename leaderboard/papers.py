"""What the four papers print, and what they claim."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from ..benchmark.core.errors import InputError
from ..benchmark.core.registry import did_you_mean

FOLDER = Path(__file__).parent / "published"

COLUMNS = ["row", "column", "value", "unit", "source", "note"]
"""Of a published table: labels of the cell, the number as it is printed, its unit, paper and place, what is doubtful about it."""

Kind = Literal["more", "within", "level", "line"]
"""more: left - right > margin. within: |left - right| < margin. level: left > margin. line: see `line_fit`."""

Need = Literal["all", "most"]


@dataclass(frozen=True)
class Rule:
    """Comparisons of cells that decide a claim; a cell is written `row @ column`.

    Attributes:
        left: Pattern of cells: `{name}` matches any text and gives it a name.
        right: Patterns of what each is compared with: `{name}` is what the left one matched, `*` any text.
        only: Values that a name may have; any where it is not listed.
        kind: What is compared.
        margin: In [0, 1]; of a level the share that must be exceeded.
        unaware: Whether the right cell's attacker is the one who does not know the defence, whatever the left one's knows.
    """

    left: str
    right: tuple[str, ...]
    only: Mapping[str, tuple[str, ...]]
    kind: Kind
    margin: float
    unaware: bool = False


@dataclass(frozen=True)
class Claim:
    """One claim of a paper, and what decides it.

    Attributes:
        id: Short name.
        paper: Key of the paper.
        where: Place in the paper.
        says: The claim in our own words, with the margin where it has one.
        table: The table that tests it, as `vbench paper` names it.
        need: Whether all comparisons must come out, or more than half of them.
        rules: The comparisons.
        note: What a reader must know to judge the verdict; may be empty.
    """

    id: str
    paper: str
    where: str
    says: str
    table: str
    need: Need
    rules: tuple[Rule, ...]
    note: str


@dataclass(frozen=True)
class Paper:
    """One of the papers.

    Attributes:
        title: Authors, title, venue.
        differs: What is different here from what the paper did.
    """

    title: str
    differs: str


def tables() -> list[str]:
    """Names of the published tables."""
    return sorted(path.stem for path in FOLDER.glob("*.csv"))


def published(name: str) -> pd.DataFrame:
    """What a paper prints in one of its tables, columns COLUMNS; value is NaN where no number is printed.

    Raises:
        InputError: There is no such table; close names are suggested.
    """
    if name not in tables():
        raise InputError("table", f"{name!r} is unknown", did_you_mean(name, tables()))
    table = pd.read_csv(FOLDER / f"{name}.csv", dtype=str, keep_default_na=False)
    return table.assign(value=pd.to_numeric(table["value"].mask(table["value"] == "")))


@cache
def claims() -> tuple[Claim, ...]:
    """The claims, in the order of the report.

    Raises:
        InputError: The shipped file is broken.
    """
    return tuple(_claim(entry) for entry in _file()["claim"])


@cache
def papers() -> dict[str, Paper]:
    """The papers by their keys."""
    return {key: Paper(**entry) for key, entry in _file()["paper"].items()}


def pattern(text: str, known: Mapping[str, str] | None = None) -> re.Pattern[str]:
    """`{name}` as a named group, or as the value that is known of it; `*` as any text, all else as it stands."""
    values, seen, made = known or {}, set[str](), ""
    for part in re.split(r"(\{\w+\}|\*)", text):
        name = part[1:-1] if part.startswith("{") else ""
        if part == "*":
            made += ".*"
        elif not name or name in values:
            made += re.escape(values[name] if name else part)
        else:
            made += f"(?P={name})" if name in seen else f"(?P<{name}>.+?)"
            seen.add(name)
    return re.compile(made, re.DOTALL)


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads((FOLDER / "claims.toml").read_text(encoding="utf-8"))


def _claim(entry: dict[str, Any]) -> Claim:
    rules = tuple(_rule(one) for one in entry["rule"])
    need = entry.get("need", "all")
    if need not in get_args(Need) or entry["paper"] not in papers() or not rules:
        raise InputError("claims.toml", f"{entry['id']} has an unknown need or paper, or no rule")
    texts = {name: entry[name] for name in ("id", "paper", "where", "says", "table")}
    return Claim(**texts, need=need, rules=rules, note=entry.get("note", ""))


def _rule(entry: dict[str, Any]) -> Rule:
    only = {name: tuple(values) for name, values in entry.get("only", {}).items()}
    kind = entry.get("kind", "more")
    if kind not in get_args(Kind):
        raise InputError("claims.toml", f"{kind!r} is no kind of comparison", f"use one of {', '.join(get_args(Kind))}")
    margin, unaware = float(entry.get("margin", 0.0)), entry.get("unaware", False)
    return Rule(entry["left"], tuple(entry.get("right", ())), only, kind, margin, unaware)
