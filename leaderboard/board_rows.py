"""A row of a leaderboard, from the cells of one model behind one defence."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..benchmark.evaluation.stats import interval
from ..benchmark.evaluation.tables import FULL_KNOWLEDGE
from .results import PLACE, Results, Rows
from .rows import Column, Row, Value
from .titles import attack_title

CLEAN = Column("clean", "clean", "clean", "Accuracy on unchanged clips.")
WORST = Column(
    "worst",
    "worst",
    "worst",
    "Accuracy where each clip counts under the attack and threat that hurt it most; a defended row without adaptive ones "
    "has none.",
)
CALLS = Column("calls", "cost per clip", "cost", "Gradients and queries that all attacks of the row took, per clip.", "calls")
WALL = Column("wall_s", "time per clip", "cost", "Wall time of all attacks of the row, per clip, whatever the device.", "s")


@dataclass
class Draft:
    """A row that is being made.

    Attributes:
        place: The values of PLACE.
        cells: Rows of the table of cells, corrupted ones among them.
        columns: Of the attacks, by key.
        values: By column key.
        flags: What is wrong with its numbers.
        worst: Clips that every attack was run on, their source videos, and the smallest share of right passes of each; None where
            there is no worst case.
    """

    place: dict[str, Any]
    cells: Rows
    columns: dict[str, Column]
    values: dict[str, Value]
    flags: set[str]
    worst: tuple[list[str], list[str], NDArray[Any]] | None = None

    def forget_worst(self) -> None:
        """A row whose attacks are not all there has no worst case."""
        self.worst = None
        self.values.pop("worst", None)

    def has(self, key: str) -> bool:
        """Whether the column was measured."""
        value = self.values.get(key)
        return value is not None and value.mean == value.mean

    def finished(self, titles: tuple[str, str], rank: tuple[int, int] | None, tie: str) -> Row:
        """The row, with the titles of its model and defence."""
        hashes = sorted(cell["cell"] for cell in self.cells)
        attacked = [cell["n"] for cell in self.cells if cell["kind"] != "corruption"]
        return Row(
            self.place["model"],
            self.place["defense"],
            *titles,
            clips=max(attacked or [cell["n"] for cell in self.cells]),
            values=self.values,
            rank=rank,
            tie=tie,
            flags=tuple(sorted(self.flags)),
            hash=hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:12],
            place=self.place,
            date=max(cell["started"] for cell in self.cells),
        )


def draft(cells: Rows, results: Results) -> Draft:
    """A row, but for its corruptions, its rank, and what other rows have and it has not.

    Args:
        cells: Rows of the table of cells, of one PLACE.
        results: Where they are from.
    """
    cells = [cell | {"started": results.by_hash[cell["cell"]]["provenance"]["started"]} for cell in cells]
    made = Draft({name: cells[0][name] for name in PLACE}, cells, {}, {}, set())
    judged = [cell for cell in cells if cell["kind"] != "corruption"]
    for cell in judged:
        made.flags |= {*cell["flags"].split(), *results.audited.get(cell["cell"], ())}
        _measure(made, cell)
    attacked = [cell for cell in judged if cell["status"] == "ok" and cell["kind"] == "attack"]
    _costs(made, attacked)
    if made.place["defense"] != "none" and not any(one.opaque for one in results.seen(judged)):
        adaptive = {cell["attack"] for cell in attacked if cell["threat"].startswith("adaptive")}
        without = {cell["attack"] for cell in judged} - {"none", *adaptive}
        made.flags |= {f"no-adaptive:{attack.partition(':')[0]}" for attack in without}
        attacked = [] if without else attacked
    if attacked:
        made.worst = _worst([results.by_hash[cell["cell"]]["clips"] for cell in attacked])
        low, high = interval(made.worst[2].tolist(), made.worst[1])
        mean = float(made.worst[2].mean()) if len(made.worst[2]) else float("nan")
        made.values["worst"] = Value(mean, low, high, cells=tuple(cell["cell"] for cell in attacked))
    return made


def _measure(made: Draft, cell: Mapping[str, Any]) -> None:
    """One number: of several with the same column the lowest counts, and any before a failure."""
    column = _column(cell)
    if cell["kind"] == "attack":
        made.columns[column.key] = column
    if cell["status"] != "ok":
        made.flags.add(f"failed:{column.key.replace(' ', '-')}")
        if column.key not in made.values:
            reason = cell["error"] or "it failed, and does not say why"
            made.values[column.key] = Value(failed=reason, cells=(cell["cell"],))
    elif cell["kind"] == "clean" or not made.has(column.key) or made.values[column.key].mean > cell["top1"]:
        made.values[column.key] = Value(cell["top1"], cell["top1_low"], cell["top1_high"], cells=(cell["cell"],))


def _column(cell: Mapping[str, Any]) -> Column:
    if cell["kind"] == "clean":
        return CLEAN
    threat = str(cell["threat"])
    knowledge = "full knowledge" if threat.partition(":")[0] in FULL_KNOWLEDGE else threat
    about = f"Accuracy under {cell['attack']}; what the attacker knows: {knowledge}."
    return Column(f"{cell['attack']} ({knowledge})", attack_title(cell["attack"], knowledge), "attack", about)


def _costs(made: Draft, attacked: Sequence[Mapping[str, Any]]) -> None:
    counted = [cell for cell in attacked if cell["n"]]
    if counted:
        hashes = tuple(cell["cell"] for cell in counted)
        calls = sum((cell["grad_calls"] + cell["queries"]) / cell["n"] for cell in counted)
        seconds = sum(cell["wall_s"] / cell["n"] for cell in counted)
        made.values[CALLS.key] = Value(calls, cells=hashes)
        made.values[WALL.key] = Value(seconds, cells=hashes)


def _worst(attacked: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str], NDArray[Any]]:
    """The per-clip worst case over the clips that every attack was run on, in the order of the first."""
    ids, groups = attacked[0]["id"], attacked[0]["group"]
    if all(clips["id"] == ids for clips in attacked):
        return ids, groups, np.min([clips["correct"] for clips in attacked], axis=0)
    shared = set.intersection(*(set(clips["id"]) for clips in attacked))
    order = [(name, group) for name, group in zip(ids, groups, strict=True) if name in shared]
    shares = [dict(zip(clips["id"], clips["correct"], strict=True)) for clips in attacked]
    worst = np.array([min(share[name] for share in shares) for name, _ in order], dtype=float)
    return [name for name, _ in order], [group for _, group in order], worst


def column_order(column: Column, cells: Rows) -> tuple[Any, ...]:
    """Attacks by name, budget and what the attacker knows."""
    budgets = {f"{cell['attack']} (": cell["eps"] for cell in cells}
    eps = next((eps for start, eps in budgets.items() if column.key.startswith(start)), None)
    return column.key.partition(":")[0], -1.0 if eps is None or math.isnan(eps) else eps, column.key
