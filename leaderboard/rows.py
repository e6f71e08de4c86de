"""What a leaderboard consists of, before it takes any format."""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Kind = Literal["clean", "attack", "worst", "corruption", "cost"]
"""What a column holds: accuracy without attack, under one attack, per-clip worst case, a corruption metric, or what it took."""


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
        key: Its name in files, such as `pgd:eps=8/255,... (full knowledge)`.
        title: Its name for people: the spec without defaults.
        kind: What it holds.
        about: One sentence that explains it.
        unit: `%` for fractions in [0, 1] that are shown in per cent, or the unit of a cost.
    """

    key: str
    title: str
    kind: Kind
    about: str
    unit: str = "%"


class Value(NamedTuple):
    """One number of the board.

    Attributes:
        mean: In [0, 1] where the column's unit is `%`; NaN where there is none.
        low: Lower end of the 95 % interval, NaN where there is none.
        high: Upper end.
        failed: Why there is no number, where a cell failed; the board shows `!`. Empty and no mean: not measured, `-`.
        cells: Hashes of the cells behind it.
    """

    mean: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    failed: str = ""
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A model with its weights, behind a defence.

    Attributes:
        model: Canonical spec.
        defense: Canonical chain, `none` without.
        model_title: The model's shortest name that tells it from the other rows.
        defense_title: The same of the defence.
        clips: How many clips stand behind it at most.
        values: By column key; a column that is not in it was not measured.
        rank: First and last place that it can have, from 1: see `ranks`. None where the row has no worst case.
        tie: Rows with the same letter cannot be told apart from the best one of them; empty without a rank.
        flags: What is wrong with its numbers.
        hash: Of the cells behind it: rows of the same hash are the same measurement.
        place: dataset, split, limit, manifest_sha256, seed, threat_model, model, weights_sha256, defense, defense_sha256.
        date: When the newest of its cells was started, ISO 8601.
    """

    model: str
    defense: str
    model_title: str
    defense_title: str
    clips: int
    values: dict[str, Value]
    rank: tuple[int, int] | None
    tie: str
    flags: tuple[str, ...]
    hash: str
    place: dict[str, Any]
    date: str


@dataclass(frozen=True)
class Section:
    """Rows on the same clips, that can be compared.

    Attributes:
        title: Which clips.
        columns: In the order of the board: clean, attacks, worst, corruptions, costs.
        rows: Best worst case first.
        place: dataset, split, limit, manifest_sha256, seed, threat_model.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    place: dict[str, Any]


@dataclass(frozen=True)
class Board:
    """A leaderboard.

    Attributes:
        title: Its name.
        about: What it shows, one paragraph.
        sections: One per set of clips and threat model.
        refused: A line for each row that is not listed, and what to run so that it is.
        track: The name of the track; empty where every cell counts.
    """

    title: str
    about: str
    sections: tuple[Section, ...]
    refused: tuple[str, ...] = ()
    track: str = ""


def shown(value: Value | None, unit: str = "%") -> str:
    """A number as every format shows it: per cent with one digit, `-` where it was not measured, `!` where it failed."""
    if value is None or (value.mean != value.mean and not value.failed):
        return "-"
    if value.failed:
        return "!"
    if unit != "%":
        return f"{value.mean:,.3g}" if abs(value.mean) < 100 else f"{value.mean:,.0f}"
    return f"{100 * value.mean:.1f}"


def between(value: Value | None) -> str:
    """The 95 % interval of a fraction in per cent, `[92.1, 98.3]`; empty where there is none."""
    if value is None or value.low != value.low:
        return ""
    return f"[{100 * value.low:.1f}, {100 * value.high:.1f}]"


@dataclass(frozen=True)
class Picture:
    """A plot of a board.

    Attributes:
        name: Of its files, without ending.
        title: What it shows.
        alt: The same in words, for those who cannot see it.
        png: The file.
        svg: The file, without scripts, so that a page can hold it.
    """

    name: str
    title: str
    alt: str
    png: bytes = field(repr=False)
    svg: str = field(repr=False)
