"""Is the attack's number to be trusted? Checks that run with a cell; what follows from them is read in `flags`."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch

from ..core.attack import Attack
from ..core.interfaces import Batch
from .bench import Bench
from .cell import Cell
from .crafting import craft
from .journal import Journal
from .measure import Judgement, judge
from .probes import PROBED, climb, probe

SAMPLE = 16
"""Clips that the attack is run on again with twice the steps."""


def doubled(attack: Attack) -> Attack | None:
    """The attack with twice its steps, or None where it has none or where one perturbation serves all clips."""
    if attack.universal or not is_dataclass(attack) or "steps" not in {one.name for one in fields(attack)}:
        return None
    return replace(attack, steps=2 * attack.steps)  # type: ignore[type-var, attr-defined]


class Sample:
    """The first SAMPLE clips of a cell, whatever its batches, with what the pipeline decided after the attack proper."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self._correct: list[float] = []
        self._margins: list[list[float]] = []

    @property
    def full(self) -> bool:
        """Whether it wants no more clips."""
        return len(self._correct) >= SAMPLE

    def add(self, batch: Batch, judged: Judgement, margins: Sequence[list[float]] = ()) -> None:
        """Takes in what is still wanted of a batch, and the margins that its attack saw."""
        room = SAMPLE - len(self._correct)
        if room > 0:
            self._batches.append(Batch(batch.records[:room], batch.clips[:room]))
            right = judged.correct[:room].tolist()
            self._correct += right
            self._margins += [one for one, share in zip(margins, right, strict=False) if one and share > 0.5]

    def state(self) -> dict[str, Any]:
        """What was decided of the clips so far, for a file; the clips are read again."""
        return {"correct": self._correct, "margins": self._margins}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state; its clips come by `see`."""
        self._correct, self._margins = list(state["correct"]), list(state["margins"])

    def see(self, batch: Batch) -> None:
        """Takes in the clips of a batch whose decisions were restored."""
        room = len(self._correct) - sum(len(one.records) for one in self._batches)
        if room > 0:
            self._batches.append(Batch(batch.records[:room], batch.clips[:room]))

    @property
    def batch(self) -> Batch:
        """The clips as one batch."""
        records = [record for batch in self._batches for record in batch.records]
        return Batch(records, torch.cat([batch.clips for batch in self._batches]))

    @property
    def accuracy(self) -> float:
        """The accuracy that the attack left them."""
        return sum(self._correct) / len(self._correct)

    @property
    def few(self) -> Batch:
        """The clips that the pipeline is probed with."""
        batch = self.batch
        return Batch(batch.records[:PROBED], batch.clips[:PROBED])

    @property
    def climb(self) -> dict[str, Any]:
        """How far the attack came on those that it did not fool."""
        return climb(self._margins)


def attack_evidence(cell: Cell, bench: Bench, sample: Sample, journal: Journal) -> dict[str, Any]:
    """What is stored of an attack on the very pipeline that is judged: `check`, `probe` and, where it climbed, `climb`."""
    found = {"check": check_attack(cell, bench, sample, journal), "probe": probe(cell, bench, sample.few)}
    return found | ({"climb": sample.climb} if sample.climb else {})


def check_attack(cell: Cell, bench: Bench, sample: Sample, journal: Journal) -> dict[str, Any]:
    """Runs the attack with twice the steps, and its single-step form, on a sample of a cell's clips.

    Args:
        cell: A white-box or adaptive cell, whose pipeline is both attacked and judged.
        bench: The live objects.
        sample: The clips; not empty.
        journal: Knows what the target has answered to the longer attack, if that was killed.

    Returns:
        `n` and the accuracies `attack`, `doubled`, `single_step` (None where the attack has no such form) on the same clips.

    Raises:
        KeyboardInterrupt: Somebody asked to stop.
    """
    attack, pipeline, batch = bench.attack(cell), bench.pipeline(cell), sample.batch
    clips, labels = bench.clips(batch)

    def accuracy(other: Attack | None, known: Journal | None = None) -> float | None:
        if bench.stopped():
            raise KeyboardInterrupt
        if other is None:
            return None
        made = craft(cell, bench, other, batch, clips, labels, full=pipeline.stochastic, journal=known)
        return float(judge(cell, bench, pipeline, batch, made.clips, labels).correct.mean())

    journal.turn(f"doubled {batch.ids}")
    return {
        "n": len(batch.records),
        "attack": sample.accuracy,
        "doubled": accuracy(doubled(attack), journal),
        "single_step": accuracy(attack.single_step()),
    }
