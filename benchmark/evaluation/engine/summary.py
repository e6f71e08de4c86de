"""How long a plan takes, from what its models' cells took before, and how much it stores."""

import csv
import time
from dataclasses import dataclass

import torch

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
    """

    states: dict[str, int]
    shared: int
    seconds: list[float]
    bytes: int
    device: str

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
        name = torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else "cpu"
        return cls(states, shared, seconds, size, name)

    def __str__(self) -> str:
        total = sum(self.states.values())
        said = [f"{total} cells: {self.states['stored']} stored, {self.states['open']} to run"]
        said += [f"{self.states['impossible']} impossible"] if self.states["impossible"] else []
        said += [f"{self.shared} of them on clips that another one makes"] if self.shared else []
        needs = duration(sum(self.seconds))
        said += [f"about {needs} on one device ({self.device}), {self.bytes / 1e6:.2g} MB"] if self.states["open"] else []
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
    except OSError:
        return {}
    here = torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else "cpu"
    totals: dict[str, tuple[float, float]] = {}
    for row in rows:
        # Oblivious and transferred cells may have taken their clips from a neighbour.
        same = row["device"] == here and row.get("dtype", "float32") == bench.precision
        if row["status"] == "ok" and same and row["threat"].startswith(("white-box", "adaptive", "grey-box")):
            work, wall = totals.get(row["model"], (0.0, 0.0))
            more = GRADIENT_COST * float(row["grad_calls"]) + float(row["queries"])
            totals[row["model"]] = work + more, wall + float(row["wall_s"])
    return {model: wall / work for model, (work, wall) in totals.items() if work > 0}


def _timed(cell: Cell, bench: Bench) -> float:
    """Seconds per forward pass of a clip, from one pass after a first one."""
    model = bench.model(cell)
    clips = torch.zeros(TRIED, 3, model.input.frames, model.input.size, model.input.size, device=bench.device)
    with torch.no_grad():
        model(clips)
        start = time.perf_counter()
        model(clips)
        if bench.device.type == "cuda":
            torch.cuda.synchronize()
    return (time.perf_counter() - start) / TRIED
