"""What a run has to do, before anything is computed: its cells, those that are stored, and how they are shared out."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ...core.errors import InputError
from ...core.files import write_atomically
from ...core.interfaces import InputSpec
from ...core.specs import split_list
from ...data.selection import default_split
from ..bench import Bench
from ..cell import Cell
from ..components import check_threat
from ..cost import estimate
from ..grid import Grid, resolve_chain, resolve_threats
from ..request import Request
from ..scene import seen
from ..store import Store
from .rates import Rates

State = Literal["open", "stored", "impossible"]

SCHEMA = 1


@dataclass(frozen=True)
class Planned:
    """One cell of a plan.

    Attributes:
        index: Its place in `Grid.cells()`.
        name: For people.
        hash: Its name in the store; empty where it cannot even be named, as a part of it cannot be built.
        bundle: Cells of one bundle look at the same adversarial or corrupted clips, so one worker does them in turn.
        work: Estimated forward passes of one clip; 0 where nothing is to be computed.
        state: `open`, `stored`, or `impossible`.
        why: Why it is impossible, in one line.
        seconds: Estimated by what the store knows of the model; None where it knows nothing.
    """

    index: int
    name: str
    hash: str
    bundle: int
    work: int
    state: State
    why: str = ""
    seconds: float | None = None

    @property
    def to_run(self) -> bool:
        """Whether a worker takes it: what no attacker can do becomes a row that says so, without being tried."""
        return self.state == "open" or self.state == "impossible" and bool(self.hash)


@dataclass(frozen=True)
class Plan:
    """The cells of a request.

    Attributes:
        request: What was asked for.
        cells: In the order of the grid.
        inputs: How the models see videos, by their canonical text.
    """

    request: Request
    cells: tuple[Planned, ...]
    inputs: dict[str, InputSpec] = field(default_factory=dict)
    _cells: list[Cell] = field(default_factory=list, compare=False, repr=False)

    @property
    def id(self) -> str:
        """Names the plan: the same request has the same plan."""
        text = json.dumps(asdict(self.request), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def bundles(self) -> list[list[Planned]]:
        """The cells to run by bundle: the longest first, its cells in the order of the grid; the same for all who read the plan.

        A model that the store knows nothing of counts as fast as those that it knows are on average.
        """
        found: dict[int, list[Planned]] = {}
        for one in self.cells:
            if one.to_run:
                found.setdefault(one.bundle, []).append(one)
        known = [(one.seconds, one.work) for one in self.cells if one.seconds is not None]
        rate = sum(seconds for seconds, _ in known) / sum(work for _, work in known) if known else 1.0
        needs = {one.index: one.work * rate if one.seconds is None else one.seconds for one in self.cells}
        return sorted(found.values(), key=lambda cells: -sum(needs[one.index] for one in cells))

    def cell(self, planned: Planned) -> Cell:
        """The cell behind an entry."""
        if not self._cells:
            self._cells.extend(grid_of(self.request).cells())
        return self._cells[planned.index]

    def path(self, store: Store) -> Path:
        """Where it lies in a store for workers to find."""
        return store.folder / "queue" / f"{self.id}.json"

    def write(self, store: Store, stays: bool = False) -> Path:
        """Puts it into the store's queue.

        Args:
            store: The store.
            stays: Whether it stays there when it is done, for workers that are started later.

        Raises:
            InputError: The store cannot be written.
        """
        path = self.path(store)
        content = {
            "schema": SCHEMA,
            "stays": stays,
            "request": asdict(self.request),
            "inputs": {name: seen(spec) for name, spec in self.inputs.items()},
            "cells": [asdict(one) for one in self.cells],
        }
        try:
            write_atomically(path, json.dumps(content, indent=1))
        except OSError as error:
            raise InputError("store", f"cannot write {path}: {error.strerror or error}") from None
        return path

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """Reads a plan of the queue.

        Raises:
            InputError: It cannot be read, or was written by another version.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["schema"] != SCHEMA:
                raise ValueError(f"its schema is {content['schema']}, not {SCHEMA}")
            inputs = {name: InputSpec(**spec) for name, spec in content.get("inputs", {}).items()}
            found = cls(Request(**content["request"]), tuple(Planned(**one) for one in content["cells"]), inputs)
            if found.id != path.stem:
                raise ValueError(f"its request has the id {found.id} here")
            return found
        except OSError as error:
            raise InputError("store", f"cannot read {path}: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError("store", f"{path} is no plan of this version: {error}", "plan it again") from None


def grid_of(request: Request) -> Grid:
    """The grid that a request asks for.

    Raises:
        InputError: A name or a value is unknown, or the combination is not allowed.
    """
    data = request.data()
    return Grid(
        dataset=data,
        split=request.split or default_split(data.create()),
        models=request.models(),
        attacks=request.attacks(),
        defenses=tuple(resolve_chain(text) for text in split_list(request.defense or [])),
        threats=resolve_threats(split_list(request.threat or [])),
        limit=request.limit,
        seed=request.seed,
        corruptions=request.corruptions(),
        severities=request.severities(),
        shifts=request.shifts,
    )


def plan(request: Request, bench: Bench, store: Store, strict: bool = False) -> Plan:
    """Looks at models, data and store, and computes nothing.

    Args:
        request: What is asked for.
        bench: The live objects.
        store: Where cells may be stored already.
        strict: Whether a part that cannot be built is an error; otherwise the plan says why its cells are impossible.

    Raises:
        InputError: Bad input that concerns the whole run.
    """
    cells = grid_of(request).cells()
    if not cells:
        raise InputError("grid", "has no cells", "name a model")
    groups: dict[str, int] = {}
    looked = [_look(number, cell, bench, store, request.reuse, groups, strict) for number, cell in enumerate(cells)]
    models = {cell.model.text: cell for one, cell in zip(looked, cells, strict=True) if one.state == "open"}
    inputs = {name: InputSpec(**seen(bench.model(cell).input)) for name, cell in models.items()}
    return Plan(request, tuple(_estimated(looked, cells, bench, store)), inputs, list(cells))


def _estimated(looked: list[Planned], cells: list[Cell], bench: Bench, store: Store) -> Iterator[Planned]:
    """The open cells with what they need, in turn: the first one that looks at certain adversarial clips makes them."""
    if not any(one.state == "open" for one in looked):
        yield from looked
        return
    rates = Rates(store, bench, cells)
    made = store.crafted(-(-len(bench.records(cells[0])) // bench.batch_of(cells[0])))
    for one, cell in zip(looked, cells, strict=True):
        if one.state == "open":
            work = estimate(cell, bench, made)
            yield replace(one, work=work, seconds=rates.seconds(cell, work))
        else:
            yield one


def _look(index: int, cell: Cell, bench: Bench, store: Store, reuse: str, groups: dict[str, int], strict: bool) -> Planned:
    bundle = groups.setdefault(_shared(cell), len(groups))
    try:
        bench.check(cell)
        name = bench.hash(cell)
    except InputError as error:
        if strict:
            raise
        return Planned(index, str(cell), "", bundle, 0, "impossible", str(error))
    state = store.state(name) if reuse != "never" else None
    if state == "ok" or (state and reuse != "missing"):
        return Planned(index, str(cell), name, bundle, 0, "stored")
    try:
        check_threat(cell, bench)
    except InputError as error:  # shares no clips, for it makes and sees none
        return Planned(index, str(cell), name, groups.setdefault(f"impossible {index}", len(groups)), 0, "impossible", str(error))
    return Planned(index, str(cell), name, bundle, 0, "open")


def _shared(cell: Cell) -> str:
    """What cells of one bundle have in common."""
    if cell.corruption:
        return f"corrupted {cell.corruption} {cell.severity}"
    on_the_defence = cell.threat is not None and cell.threat.on_the_defence
    if cell.attack and cell.full and not on_the_defence:
        return f"adversarial {cell.source or cell.model} {cell.attack}"
    return f"alone {cell.model} {cell.attack} {cell.defense_text} {cell.threat} {cell.source}"


def stays(path: Path) -> bool | None:
    """Whether a plan of the queue stays there when it is done; None where there is no such plan."""
    try:
        return bool(json.loads(path.read_text(encoding="utf-8"))["stays"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def in_queue(store: Store) -> Sequence[Path]:
    """The plans that lie in a store, oldest first."""
    found = []
    for path in (store.folder / "queue").glob("*.json"):
        with contextlib.suppress(FileNotFoundError):  # finished, and taken away, between the look and this one
            found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found)]


def described(one: Planned) -> dict[str, Any]:
    """The row of a table."""
    return asdict(one)
