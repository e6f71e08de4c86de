"""How long a plan takes, from what its models' cells took before, and how much it stores."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from ...core.interfaces import Model
from ..bench import Bench
from ..cell import Cell
from ..memory import lack_of_memory
from ..scene import to_come
from ..sharing import Sharing
from ..shelf import Shelf
from .plan import Plan
from .rates import device_of

TRIED = 4
"""Clips of the pass that is timed where the store knows nothing of a model."""

BYTES, BYTES_PER_CLIP, BYTES_OF_AN_ATTACK = 1800, 60, 60
"""Of a cell's file: of itself, for each clip, and as much again where the clip was attacked."""


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
        clips_bytes: Of the decoded and corrupted clips that lie there, where they are needed again and memory does not hold them.
    """

    states: dict[str, int]
    shared: int
    seconds: list[float]
    bytes: int
    device: str
    shared_bytes: int
    clips_bytes: int

    @classmethod
    def of(cls, plan: Plan, bench: Bench, several: bool = False) -> "Summary":
        """Sums a plan up; a model that the store knows nothing of is timed for one pass.

        Args:
            plan: The plan.
            bench: The live objects.
            several: Whether several workers take part, whatever its executor.
        """
        timed: dict[str, float] = {}
        seconds, size = [], 0
        for one in plan.cells:
            if one.state != "open":
                seconds.append(0.0)
                continue
            cell = plan.cell(one)
            crafted_on = (cell.source or cell.model).text
            if one.seconds is None and crafted_on not in timed:
                timed[crafted_on] = _timed(cell, bench)
            seconds.append(timed[crafted_on] * one.work if one.seconds is None else one.seconds)
            size += BYTES + (BYTES_PER_CLIP + BYTES_OF_AN_ATTACK * bool(cell.attack)) * len(bench.records(cell))
        states = {state: sum(one.state == state for one in plan.cells) for state in ("open", "stored", "impossible")}
        shared = sum(len(cells) - 1 for cells in plan.bundles())
        return cls(states, shared, seconds, size, _device(bench), _largest(plan, bench), _clips(plan, bench, several))

    def __str__(self) -> str:
        total = sum(self.states.values())
        said = [f"{total} cells: {self.states['stored']} stored, {self.states['open']} to run"]
        said += [f"{self.states['impossible']} impossible"] if self.states["impossible"] else []
        said += [f"{self.shared} of them on clips that another one makes"] if self.shared else []
        needs = sum(self.seconds)
        if self.states["open"]:
            takes = f"about {duration(needs)} on one device ({self.device})"
            said += [f"{'time unknown, as no such cell is stored' if math.isnan(needs) else takes}, {self.bytes / 1e6:.2g} MB"]
        if self.shared_bytes:
            said += [f"{self.shared_bytes / 1e6:.2g} MB for each worker meanwhile"]
        if self.clips_bytes:
            said += [f"{self.clips_bytes / 1e6:.2g} MB of clips for all of them"]
        return ", ".join(said)


def duration(seconds: float) -> str:
    """Seconds as people say them: `40 s`, `12 min`, `3.5 h`."""
    if math.isnan(seconds):
        return "?"
    if seconds < 90:
        return f"{max(1, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _device(bench: Bench) -> str:
    return device_of(bench) if bench.computes else "the workers'"


def _largest(plan: Plan, bench: Bench) -> int:
    """Bytes of the largest set of adversarial clips that several open cells look at; floats that keep their bits cost more."""
    sizes = [0]
    for bundle in plan.bundles():
        cell = plan.cell(bundle[0])
        if len(bundle) > 1 and cell.handed_on:
            sizes.append(bench.scene(cell).nbytes)
    return max(sizes)


def _clips(plan: Plan, bench: Bench, several: bool) -> int:
    sharing = Sharing(bench.device)
    cells = [plan.cell(one) for one in plan.cells if one.state == "open"]
    sharing.expect(to_come(cells, bench, plan.inputs), Shelf(Path(), several or plan.request.executor != "inline"))
    return sharing.size()


def _timed(cell: Cell, bench: Bench) -> float:
    """Seconds per forward pass of a clip, from the fastest of three after a first one; NaN where it is not known."""
    if not bench.computes:
        return math.nan
    model = bench.model(cell)
    try:
        clips = torch.zeros(TRIED, 3, model.input.frames, model.input.size, model.input.size, device=bench.device)
        with torch.no_grad(), lack_of_memory():
            return min([_pass(model, clips) for _ in range(4)][1:]) / TRIED
    except torch.OutOfMemoryError:  # the run itself takes fewer clips at a time
        return math.nan


def _pass(model: Model, clips: torch.Tensor) -> float:
    start = time.perf_counter()
    model(clips).cpu()  # waits for a GPU
    return time.perf_counter() - start
