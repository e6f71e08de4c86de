"""Judging what a pipeline makes of clips, and keeping what was measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from ..core.interfaces import Batch, ClipRecord
from ..core.losses import margin
from ..core.rng import ClipRandom
from .bench import Bench
from .cell import Cell
from .crafted import Crafted
from .memory import again, rows_of
from .threat import Pipeline

PASSES = 10
"""Fresh passes over which a random pipeline's decisions on adversarial clips are averaged: one pass misjudges it."""

CLEAN_PASSES = 3
"""The same for clean clips, where draws hardly differ and nobody gains from a lucky one."""


@dataclass
class Judgement:
    """What a pipeline decides of N clips.

    Attributes:
        correct: Share of passes that were right, (N,).
        pred: The class that most passes chose, (N,).
        top5: Share of passes with the label among the five best, (N,).
        margin: Mean margin of the true class over the best other one, in logits (log-scores for averaged defences), (N,).
    """

    correct: Tensor
    pred: Tensor
    top5: Tensor
    margin: Tensor


def passes(attacked: bool, stochastic: bool) -> int:
    """How many times a cell's clips are judged."""
    return (PASSES if attacked else CLEAN_PASSES) if stochastic else 1


def judging(cell: Cell, bench: Bench, ids: Sequence[str]) -> ClipRandom:
    """The draws of a random pipeline when it is judged."""
    return ClipRandom.for_clips(ids, cell.seed, f"judge {cell.defense_text}", bench.device)


def judge(cell: Cell, bench: Bench, pipeline: Pipeline, batch: Batch, clips: Tensor, labels: Tensor) -> Judgement:
    """Asks the deployed pipeline afresh: once where it is deterministic, several times with fresh draws where it is random."""
    rng, room = judging(cell, bench, batch.ids), bench.room(cell)

    def decide(rows: slice) -> Tensor:
        random = rows_of(rng, rows)
        return again(random, pipeline.stochastic, lambda: pipeline.decide(clips[rows], random))

    def ask() -> Tensor:
        return torch.cat(room.passes(len(clips), decide))

    scores = []
    for _ in range(passes(cell.attack is not None, pipeline.stochastic)):
        # What attacks on the bare model ask of the clips as they are, the harness need not ask again.
        known = cell.kind == "clean" and not cell.defense and not cell.shifts
        scores.append(bench.clean_once(cell, batch, ask) if known else ask())
        bench.tick(len(clips) * pipeline.draws)
    logits = torch.stack(scores)  # (passes, N, K)
    preds = logits.argmax(dim=2)
    finite = torch.isfinite(logits).all(dim=2)  # a NaN decides nothing, so it is no right answer
    margins = torch.stack([margin(one, labels) for one in logits])
    best = logits.topk(min(5, logits.shape[2]), dim=2).indices
    return Judgement(
        # By the margin, as attacks count it: a tie is no decision for the true class.
        correct=((margins > 0) & finite).float().mean(dim=0),
        pred=preds.mode(dim=0).values,
        top5=((best == labels[None, :, None]).any(dim=2) & finite).float().mean(dim=0),
        margin=margins.mean(dim=0),
    )


def flips(
    cell: Cell, bench: Bench, measured: "Measured", later: list[dict[str, int]], save: Callable[[], None]
) -> list[float | None]:
    """How often the decision on a clip changes from one frame to the next (ImageNet-P's flip probability, over time).

    The clip is judged as it is and `cell.shifts` times again, every time one frame later; a random pipeline by most passes.

    Args:
        cell: The cell.
        bench: The live objects.
        measured: What was decided of the clips as they are.
        later: What was decided at later moments before the cell was interrupted, moment after moment; takes in the rest.
        save: Called after every batch.

    Returns:
        Share of the changes in [0, 1] per clip, in the order of `measured`; None where a later clip could not be read.

    Raises:
        KeyboardInterrupt: Somebody asked to stop.
    """
    pipeline = bench.pipeline(cell)
    for moment in range(max(1, len(later)), cell.shifts + 1):
        if moment > len(later):
            later.append({})
        seen = later[moment - 1]
        for batch in bench.ahead.batches(bench.footage.batches(bench.scene(cell, moment))):
            if bench.stopped():
                raise KeyboardInterrupt
            if not seen.keys() >= set(batch.ids):
                clips, labels = bench.clips(batch)
                seen |= dict(zip(batch.ids, judge(cell, bench, pipeline, batch, clips, labels).pred.tolist(), strict=True))
                save()
    said = [dict(zip((record.id for record in measured.records), measured.vectors.get("pred", []), strict=True)), *later]
    return [
        None
        if any(name not in seen for seen in said)
        else sum(before[name] != after[name] for before, after in pairwise(said)) / cell.shifts
        for name in said[0]
    ]


@dataclass
class Measured:
    """The per-clip vectors of a cell, batch by batch."""

    records: list[ClipRecord] = field(default_factory=list)
    vectors: dict[str, list[Any]] = field(default_factory=dict)
    notes: dict[str, list[Any]] = field(default_factory=dict)
    evidence: dict[str, int] = field(default_factory=lambda: dict(zero=0, nonfinite=0, outside=0))

    def add(self, batch: Batch, judged: Judgement, made: Crafted | None) -> None:
        """Takes in one batch."""
        self.records += batch.records
        self._extend("correct", judged.correct, 3)
        self._extend("pred", judged.pred)
        self._extend("top5", judged.top5, 3)
        self._extend("margin", judged.margin, 5)
        if made is None:
            return
        self._extend("linf", made.linf, 10)
        self._extend("l2", made.l2, 6)
        self._extend("frames", made.frames)
        self._extend("area", made.area, 6)
        self._extend("thickness", made.thickness, 8)
        self._extend("roughness", made.roughness, 8)
        self._extend("gradients", made.gradients)
        self._extend("queries", made.queries)
        self._extend("solved", made.solved)
        for name, values in made.notes.items():
            self._note(name, values, len(batch.records))
        self.evidence["zero"] += int((made.zero > 0).sum())
        self.evidence["nonfinite"] += int((made.nonfinite > 0).sum())
        self.evidence["outside"] += int(made.outside.sum())
        if made.unrounded.any():  # only where there is one, as most attacks have none
            self.evidence["unrounded"] = self.evidence.get("unrounded", 0) + int(made.unrounded.sum())

    def clips(self) -> dict[str, list[Any]]:
        """The vectors of the cell's file."""
        return {
            "id": [record.id for record in self.records],
            "label": [record.label for record in self.records],
            "group": [record.group for record in self.records],
            **self.vectors,
        }

    def _note(self, name: str, values: Tensor, count: int) -> None:
        kept = self.notes.setdefault(name, [])
        kept += [None] * (len(self.records) - count - len(kept))  # batches in which the attack noted nothing
        kept += [None if one.isnan().all() else one.nan_to_num().tolist() for one in values]

    def _extend(self, name: str, values: Tensor, digits: int | None = None) -> None:
        numbers = values.tolist()
        if digits is not None:
            numbers = [round(value, digits) if isfinite(value) else None for value in numbers]
        self.vectors.setdefault(name, []).extend(numbers)
