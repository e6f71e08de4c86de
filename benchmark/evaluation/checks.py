"""Is the attack's number to be trusted? Checks that run with a cell, and flags that compare cells.

The evidence is stored with the cell; flags are read from evidence and from neighbouring cells whenever a table is made, so that
they are shown and never decided by hand. Sources: Carlini et al. 2019, On Evaluating Adversarial Robustness; Athalye et al. 2018,
Obfuscated Gradients Give a False Sense of Security.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch

from ..core.attack import Attack
from ..core.interfaces import Batch
from .bench import Bench
from .cell import Cell
from .crafting import craft
from .measure import Judgement, judge

SAMPLE = 16
"""Clips that the attack is run on again with twice the steps."""

POINT = 0.01
"""A change of accuracy that counts, in the sense of the checks: one point."""


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

    def add(self, batch: Batch, judged: Judgement) -> None:
        """Takes in what is still wanted of a batch."""
        room = SAMPLE - len(self._correct)
        if room > 0:
            self._batches.append(Batch(batch.records[:room], batch.clips[:room]))
            self._correct += judged.correct[:room].tolist()

    @property
    def batch(self) -> Batch:
        """The clips as one batch."""
        records = [record for batch in self._batches for record in batch.records]
        return Batch(records, torch.cat([batch.clips for batch in self._batches]))

    @property
    def accuracy(self) -> float:
        """The accuracy that the attack left them."""
        return sum(self._correct) / len(self._correct)


def check_attack(cell: Cell, bench: Bench, sample: Sample) -> dict[str, Any]:
    """Runs the attack with twice the steps, and its single-step form, on a sample of a cell's clips.

    Args:
        cell: A white-box or adaptive cell, whose pipeline is both attacked and judged.
        bench: The live objects.
        sample: The clips; not empty.

    Returns:
        `n` and the accuracies `attack`, `doubled`, `single_step` (None where the attack has no such form) on the same clips.
    """
    attack, pipeline, batch = bench.attack(cell), bench.pipeline(cell), sample.batch
    clips, labels = bench.clips(batch)

    def accuracy(other: Attack | None) -> float | None:
        if other is None:
            return None
        made = craft(cell, bench, other, batch, clips, labels, full=pipeline.stochastic)
        return float(judge(cell, bench, pipeline, batch, made.clips, labels).correct.mean())

    return {
        "n": len(batch.records),
        "attack": sample.accuracy,
        "doubled": accuracy(doubled(attack)),
        "single_step": accuracy(attack.single_step()),
    }


def own_flags(cell: Mapping[str, Any]) -> list[str]:
    """Flags that a stored cell raises by itself."""
    evidence, flags = cell["evidence"], []
    if cell.get("failed"):
        flags.append(f"failed-clips:{len(cell['failed'])}")
    if cell.get("corruption", {}).get("broken"):
        flags.append(f"published-severities:{cell['corruption']['broken']}")
    if evidence.get("zero"):
        flags.append("zero-gradient")
    if evidence.get("nonfinite"):
        flags.append("nonfinite-gradient")
    if evidence.get("surrogate"):
        flags.append("surrogate-gradient")
    if evidence.get("outside"):
        flags.append("budget-projected")
    check = evidence.get("check", {})
    if check.get("doubled") is not None and abs(check["doubled"] - check["attack"]) >= POINT:
        flags.append("not-converged")
    if check.get("single_step") is not None and check["attack"] > check["single_step"] + POINT:
        flags.append("weaker-than-single-step")
    return flags


def cross_flags(top1: float, clean: float | None, oblivious: float | None, threat: str) -> list[str]:
    """Flags from neighbours: the same model and defence without attack, and the oblivious row of the same attack.

    Args:
        top1: Accuracy of the attacked row.
        clean: Accuracy of the same defended model on clean clips, where it was measured.
        oblivious: Accuracy of the same attack made without knowledge of the defence, where it was measured.
        threat: The row's threat.
    """
    flags = []
    if clean is not None and top1 > clean + POINT:
        flags.append("attacked-above-clean")
    if threat.startswith("adaptive") and oblivious is not None and top1 > oblivious + POINT:
        flags.append("adaptive-weaker-than-oblivious")
    return flags
