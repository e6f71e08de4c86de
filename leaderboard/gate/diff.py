"""Two stores side by side, for people: nothing is decided here."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..results import Results
from . import baseline as baselines
from .baseline import Clips, Measured
from .identity import changed, names, nickname, one_checkpoint
from .paired import Block, interval
from .text import unbroken
from .words import percent, plain

NAN = float("nan")
Nickname = tuple[Any, ...]


@dataclass(frozen=True)
class Change:
    """A cell that both have, on the same clips.

    Attributes:
        name: Of the cell.
        a: Accuracy in A, in [0, 1].
        b: In B.
        difference: b - a.
        low: Lower end of the paired 95 % interval of the difference, by source video; NaN where there is one video.
        high: Upper end.
        lost: Clips that fewer passes get right in B.
        gained: The other way round.
        clips: How many.
        seconds_a: What the cell took in A; NaN in a baseline file.
        seconds_b: In B.
    """

    name: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    lost: int
    gained: int
    clips: int
    seconds_a: float
    seconds_b: float


@dataclass(frozen=True)
class Diff:
    """What two stores have.

    Attributes:
        a: Name of A, as it was given.
        b: Name of B.
        changes: Cells that can be compared, the largest difference first.
        apart: Cells of both that cannot, and why: other clips, another version, a failure.
        only_a: Names of cells that B lacks.
        only_b: Names of cells that A lacks.
    """

    a: str
    b: str
    changes: tuple[Change, ...]
    apart: tuple[tuple[str, str], ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


@dataclass(frozen=True)
class _Cell:
    measured: Measured | None
    name: str
    error: str
    seconds: float


def compare(a: Path, b: Path) -> Diff:
    """Compares the cells of two stores, or baseline files.

    Raises:
        InputError: One is neither, is damaged, or holds two checkpoints of one model.
    """
    left, right = _side(a), _side(b)
    changes, apart = [], []
    matched = [(key, key) for key in left.keys() & right.keys()]
    matched += _elsewhere(left.keys() - right.keys(), right.keys() - left.keys())
    for one, other in matched:
        pair = _pair(left.pop(one), right.pop(other))
        (changes if isinstance(pair, Change) else apart).append(pair)
    return Diff(
        str(a),
        str(b),
        tuple(sorted(changes, key=lambda one: (-abs(one.difference), -one.lost - one.gained, one.name))),
        tuple(sorted(apart)),
        tuple(sorted(cells[-1].name for cells in left.values())),
        tuple(sorted(cells[-1].name for cells in right.values())),
    )


def view(diff: Diff) -> Group:
    """A table and lines, for a console of rich that does not crop."""
    table = Table(title=Text(f"A: {plain(diff.a)}\nB: {plain(diff.b)}"), title_justify="left")
    table.add_column("cell", overflow="fold")
    for name in ("A %", "B %", "B - A", "95 % interval", "lost/gained", "clips", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in diff.changes:
        between = "-" if one.low != one.low else f"[{_points(one.low)}, {_points(one.high)}]"
        numbers = percent(one.a), percent(one.b), _points(one.difference), between, f"{one.lost}/{one.gained}", str(one.clips)
        took = f"{_seconds(one.seconds_a)} -> {_seconds(one.seconds_b)}"
        style = "red" if one.high < 0 else "green" if one.low > 0 else ""
        table.add_row(Text(plain(one.name)), *(Text(text) for text in (*numbers, took)), style=style)
    lines = [f"not comparable: {plain(name)}: {plain(why)}" for name, why in diff.apart]
    lines += [f"only in A: {plain(name)}" for name in diff.only_a] + [f"only in B: {plain(name)}" for name in diff.only_b]
    moved = sum(one.lost + one.gained > 0 for one in diff.changes)
    if diff.changes:
        lines.append(f"{moved} of {len(diff.changes)} cells differ; B - A in points, paired by clip")
    return Group(*[table] * bool(diff.changes), *(unbroken(one) for one in lines))


def as_json(diff: Diff) -> str:
    """The same for programs: fractions in [0, 1], `null` where there is no number."""
    whole = dataclasses.asdict(diff)
    whole["apart"] = [{"name": name, "reason": why} for name, why in diff.apart]
    whole["changes"] = [{key: None if value != value else value for key, value in one.items()} for one in whole["changes"]]
    return json.dumps({"schema": 1} | whole, indent=1, allow_nan=False) + "\n"


def _elsewhere(left: Iterable[Nickname], right: Iterable[Nickname]) -> list[tuple[Nickname, Nickname]]:
    """Of cells that are in one each, those of one name, the most alike first: the same work on other clips, or another seed."""
    there: dict[str, list[Nickname]] = {}
    for key in right:
        there.setdefault(key[-1], []).append(key)
    unlike = [
        (sum(a != b for a, b in zip(one, other, strict=True)), str(one), str(other), one, other)
        for one in left
        for other in there.get(one[-1], [])
    ]
    pairs: list[tuple[Nickname, Nickname]] = []
    taken: set[tuple[str, Nickname]] = set()
    for _, _, _, one, other in sorted(unlike, key=lambda found: found[:3]):
        sides = {("A", one), ("B", other)}
        if not sides & taken:
            taken |= sides
            pairs.append((one, other))
    return pairs


def _side(path: Path) -> dict[Nickname, list[_Cell]]:
    """The cells by what makes them the same for people; the newest last."""
    found: dict[Nickname, list[_Cell]] = {}
    if path.is_file():
        for cell in baselines.read(path).cells:
            found.setdefault(nickname(cell.spec), []).append(_Cell(cell, cell.name, "", NAN))
        return found
    stored = sorted(Results.read([path]).cells, key=lambda cell: (cell["status"] == "ok", cell["provenance"]["started"]))
    specs, clips = [cell["spec"] for cell in stored], Clips()
    one_checkpoint([cell["spec"] for cell in stored if cell["status"] == "ok"], str(path))
    for cell, name in zip(stored, names(specs), strict=True):
        good = cell["status"] == "ok"
        measured = Measured(name, cell["cell"], cell["spec"], *clips.sort(cell)) if good else None
        one = _Cell(measured, name, str(cell["error"]), cell["provenance"]["wall_s"])
        found.setdefault(nickname(cell["spec"]), []).append(one)
    return found


def _pair(left: Sequence[_Cell], right: Sequence[_Cell]) -> Change | tuple[str, str]:
    """The newest two that can be compared, else why the newest two cannot."""
    both = [(a, b) for a in reversed(left) for b in reversed(right)]
    a, b = next((pair for pair in both if not _apart(*pair)), both[0])
    why = _apart(a, b)
    if why or a.measured is None or b.measured is None:
        return a.name, why
    before, after = a.measured.correct, b.measured.correct
    low, high = interval(Block.of(np.array([after - before]), a.measured.groups))
    return Change(
        name=a.name,
        a=float(before.mean()),
        b=float(after.mean()),
        difference=float((after - before).mean()),
        low=float(low[0]),
        high=float(high[0]),
        lost=int((after < before).sum()),
        gained=int((after > before).sum()),
        clips=len(before),
        seconds_a=a.seconds,
        seconds_b=b.seconds,
    )


def _apart(a: _Cell, b: _Cell) -> str:
    """Why two cells cannot be compared; empty where they can."""
    if a.measured is None or b.measured is None:
        return "; ".join(f"failed in {side}: {cell.error}" for side, cell in (("A", a), ("B", b)) if cell.measured is None)
    # What another precision changes is what a diff is asked for; a gate does not compare two.
    if why := changed(a.measured.spec, {**b.measured.spec, "dtype": a.measured.spec.get("dtype")}):
        return why
    alone = [len(set(one.ids) - set(other.ids)) for one, other in ((a.measured, b.measured), (b.measured, a.measured))]
    if any(alone):
        return f"{alone[0]} clips only in A, {alone[1]} only in B"
    return "" if a.measured.groups == b.measured.groups else "the clips are the same and their source videos are not"


def _points(value: float) -> str:
    return "-" if value != value else f"{100 * value + 0.0:+.1f}"


def _seconds(value: float) -> str:
    return "-" if value != value else f"{value:.0f}" if value >= 10 else f"{value:.1f}"
