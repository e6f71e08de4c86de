"""How long a plan takes, from what its models' cells took before, and how much it stores."""

import csv
import math
import time
from dataclasses import dataclass

import torch

from ...core.interfaces import Model
from ..bench import Bench
from ..cell import Cell
from ..store import Store
from ..target import GRADIENT_COST
from .plan import Plan

TRIED = 4
"""Clips of the pass that is timed where the store knows nothing of a model."""

BYTES_PER_CLIP = 160
"""Of a cell's file."""


@dataclass(frozen=True)
class Summary:
    """What a plan comes to.

    Attributes:
        states: How many cells are open, stored and impossible.
        shared: How many open cells look at clips that another open cell makes.
        seconds: Estimated, per cell; 0 for cells that are not open.
        bytes: Estimated size of the new cells.
        device: For people.
        shared_bytes: Of the largest set of clips that lies in the store while several cells look at it.
    """

    states: dict[str, int]
    shared: int
    seconds: list[float]
    bytes: int
    device: str
    shared_bytes: int

    @classmethod
    def of(cls, plan: Plan, store: Store, bench: Bench) -> "Summary":
        """Sums a plan up; a model that the store knows nothing of is timed for one pass."""
        rates: dict[str, float] = {}
        known = _stored_rates(store, bench)
        seconds, size = [], 0
        for one in plan.cells:
            if one.state != "open":
                seconds.append(0.0)
                continue
            cell = plan.cell(one)
            model = cell.model.text
            if model not in rates:
                rates[model] = known[model] if model in known else _timed(cell, bench)
            seconds.append(rates[model] * one.work)
            size += BYTES_PER_CLIP * len(bench.records(cell))
        states = {state: sum(one.state == state for one in plan.cells) for state in ("open", "stored", "impossible")}
        shared = sum(len(cells) - 1 for cells in plan.bundles())
        return cls(states, shared, seconds, size, _device(bench), _largest(plan, bench))

    def __str__(self) -> str:
        total = sum(self.states.values())
        said = [f"{total} cells: {self.states['stored']} stored, {self.states['open']} to run"]
        said += [f"{self.states['impossible']} impossible"] if self.states["impossible"] else []
        said += [f"{self.shared} of them on clips that another one makes"] if self.shared else []
        needs = duration(sum(self.seconds))
        if self.states["open"]:
            said += [f"about {needs} on one device ({self.device}), {self.bytes / 1e6:.2g} MB"]
        if self.shared_bytes:
            said += [f"{self.shared_bytes / 1e6:.2g} MB for each worker meanwhile"]
        return ", ".join(said)


def duration(seconds: float) -> str:
    """Seconds as people say them: `40 s`, `12 min`, `3.5 h`."""
    if seconds != seconds:
        return "?"
    if seconds < 90:
        return f"{max(1, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _stored_rates(store: Store, bench: Bench) -> dict[str, float]:
    """Seconds per forward pass of a clip, by model, from the attacked cells that the store's table names."""
    try:
        with (store.folder / "cells.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return _rates(rows, bench)
    except (OSError, KeyError, ValueError):  # none yet, or another version's
        return {}


def _rates(rows: list[dict[str, str]], bench: Bench) -> dict[str, float]:
    here = _device(bench)
    totals: dict[str, tuple[float, float]] = {}
    for row in rows:
        # Oblivious and transferred cells may have taken their clips from a neighbour.
        same = (row["device"] == here or not bench.computes) and row.get("dtype", "float32") == bench.precision
        if row["status"] == "ok" and same and row["threat"].startswith(("white-box", "adaptive", "grey-box")):
            work, wall = totals.get(row["model"], (0.0, 0.0))
            more = GRADIENT_COST * float(row["grad_calls"]) + float(row["queries"])
            totals[row["model"]] = work + more, wall + float(row["wall_s"])
    return {model: wall / work for model, (work, wall) in totals.items() if work > 0}


def _device(bench: Bench) -> str:
    if not bench.computes:
        return "the workers'"
    return torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else "cpu"


def _largest(plan: Plan, bench: Bench) -> int:
    """Bytes of the largest set of adversarial clips that several open cells look at; floats that keep their bits cost more."""
    sizes = [0]
    for bundle in plan.bundles():
        cell = plan.cell(bundle[0])
        if len(bundle) > 1 and cell.handed_on:
            spec = bench.model(cell).input
            sizes.append(len(bench.records(cell)) * 3 * spec.frames * spec.size**2)
    return max(sizes)


def _timed(cell: Cell, bench: Bench) -> float:
    """Seconds per forward pass of a clip, from the fastest of three after a first one; NaN where it is not known."""
    if not bench.computes:
        return math.nan
    model = bench.model(cell)
    try:
        clips = torch.zeros(TRIED, 3, model.input.frames, model.input.size, model.input.size, device=bench.device)
        with torch.no_grad():
            return min([_pass(model, clips) for _ in range(4)][1:]) / TRIED
    except torch.OutOfMemoryError:  # the run itself takes fewer clips at a time
        return math.nan


def _pass(model: Model, clips: torch.Tensor) -> float:
    start = time.perf_counter()
    model(clips).cpu()  # waits for a GPU
    return time.perf_counter() - start
