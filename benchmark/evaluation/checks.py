"""Is the attack's number to be trusted? Checks that run with a cell, and flags that compare cells.

The evidence is stored with the cell; flags are read from evidence and from neighbouring cells whenever a table is made, so that
they are shown and never decided by hand. Sources: Carlini et al. 2019, On Evaluating Adversarial Robustness; Athalye et al. 2018,
Obfuscated Gradients Give a False Sense of Security.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch

from ..core.attack import Attack
from ..core.interfaces import Batch
from .bench import Bench
from .cell import Cell
from .crafting import craft
from .measure import Judgement, judge
from .probes import PROBED, climb, probe

SAMPLE = 16
"""Clips that the attack is run on again with twice the steps."""

POINT = 0.01
"""A change of accuracy that counts, in the sense of the checks: one point."""

STILL_RISING = 0.05
"""Share of an attack's climb that its last tenth may bring."""

CLIMB_CALLS, CLIMB_CLIPS = 20, 2
"""A climb of fewer gradients is straight where it is sound, too, and that of a single clip is no trend."""

SUMS = 1e-5
"""How far from 1 probabilities may add up by rounding (AutoAttack's checks)."""

GRID = 1e-3
"""Step of quantised scores, as a share of their range; that of half precision is below it."""

SAME = 1e-4
"""Scores that differ by less, as a share of their range, are the same (AutoAttack's checks)."""

SLOPE = 5.0
"""Factor by which finite differences may differ from the gradient, for networks have kinks."""


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


def attack_evidence(cell: Cell, bench: Bench, sample: Sample) -> dict[str, Any]:
    """What is stored of an attack on the very pipeline that is judged: `check`, `probe` and, where it climbed, `climb`."""
    found = {"check": check_attack(cell, bench, sample), "probe": probe(cell, bench, sample.few)}
    return found | ({"climb": sample.climb} if sample.climb else {})


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
    climb = evidence.get("climb", {})
    if climb.get("late", 0.0) > STILL_RISING and climb["calls"] >= CLIMB_CALLS and climb["n"] >= CLIMB_CLIPS:
        flags.append("loss-still-rising")
    return flags + probe_flags(evidence.get("probe", {}), cell.get("declared", {}).get("stochastic", False))


def probe_flags(probe: Mapping[str, Any], stochastic: bool) -> list[str]:
    """Flags that a probe raises.

    Args:
        probe: As `probes.probe` gave it; empty where there was none.
        stochastic: Whether the defence declares that two passes may differ.
    """
    if not probe or any(probe[name] is None for name in ("range", "sums", "again", "other")):
        return []
    span, pairs = probe["range"], list(zip(probe.get("predicted", []), probe.get("measured", []), strict=True))
    found = {
        "probabilities": probe["sums"] <= SUMS,
        "quantised-scores": probe["grid"] >= GRID * span > 0,
        "undeclared-randomness": probe["again"] > SAME * span or not stochastic and probe["other"] > SAME * span,
        "fixed-draws": stochastic and probe["other"] == 0,
        "optimises-at-test-time": probe["backward"] > 0,
        "gradient-disagrees": 2 * sum(_disagree(*pair, SAME * span) for pair in pairs) > len(pairs),
    }
    return [name for name, fired in found.items() if fired]


def _disagree(predicted: float | None, measured: float | None, least: float) -> bool:
    """Whether a gradient says something else than two passes; changes below `least` say nothing."""
    if predicted is None or measured is None:
        return False  # not finite: that has a flag of its own
    return max(predicted, abs(measured)) > least and not predicted / SLOPE <= measured <= predicted * SLOPE


def cross_flags(
    top1: float, clean: float | None, oblivious: float | None, threat: str, grey_box: float | None = None
) -> list[str]:
    """Flags from neighbours: the same model and defence without attack, and the rows of the same attack that knew less.

    Args:
        top1: Accuracy of the attacked row.
        clean: Accuracy of the same defended model on clean clips, where it was measured.
        oblivious: Accuracy of the same attack made without knowledge of the defence, where it was measured.
        threat: The row's threat.
        grey_box: Accuracy of the same attack made on the retrained classifier alone, where it was measured.
    """
    flags = []
    if clean is not None and top1 > clean + POINT:
        flags.append("attacked-above-clean")
    if threat.startswith("adaptive") and oblivious is not None and top1 > oblivious + POINT:
        flags.append("adaptive-weaker-than-oblivious")
    if threat.startswith("adaptive") and grey_box is not None and top1 > grey_box + POINT:
        flags.append("adaptive-weaker-than-grey-box")
    return flags
