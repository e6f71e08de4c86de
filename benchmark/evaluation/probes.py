"""What a pipeline does on a few clips, and how an attack on it climbed: evidence that an accuracy does not hold.

It is stored with attacked cells whose attacker held the judged pipeline, costs about as much as three steps of the attack on four
clips, and changes no result. What is too much of it is decided by `checks.own_flags`. Sources: AutoAttack's own checks (Croce and
Hein 2020); Pintor et al. 2022, Indicators of Attack Failure (2106.09947).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ..core.attack import Attack, Gradient, State, Target
from ..core.budget import Limits
from ..core.interfaces import Batch
from ..core.losses import Loss, margin
from ..core.rng import ClipRandom
from .bench import Bench
from .cell import Cell
from .precision import full_float32

PROBED = 4
"""Clips that a pipeline is probed with."""

STEP = 1e-4
"""Finite differences move every pixel by this: a fortieth of a grey level, far above the rounding of float32."""

LATE = 10
"""The last tenth of an attack's gradients is what a climb should be over by."""


class Watched(Attack):
    """An attack that notes the margin of the true class at every gradient that it asks for.

    Args:
        attack: The attack.
        labels: True classes of the batch that the harness counts, (N,).
    """

    def __init__(self, attack: Attack, labels: Tensor) -> None:
        self._attack, self._labels, self._seen = attack, labels, []
        self.norm, self.eps = attack.norm, attack.eps

    @property
    def limits(self) -> Limits:
        """The attack's."""
        return self._attack.limits

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Runs it."""
        return self._attack.run(_Noting(target, self._note), clips, labels, rng)

    @property
    def margins(self) -> list[list[float]]:
        """Per clip of the batch, at every gradient in turn."""
        found: list[list[float]] = [[] for _ in self._labels]
        for positions, values in self._seen:
            for position, value in zip(positions.tolist(), values.tolist(), strict=True):
                found[position].append(value)
        return found

    def _note(self, logits: Tensor, rng: ClipRandom) -> None:
        self._seen.append((rng.positions, margin(logits, self._labels[rng.positions.to(self._labels.device)])))


class _Noting:
    """A target that tells what it answered."""

    def __init__(self, target: Target, tell: Callable[[Tensor, ClipRandom], None]) -> None:
        self._target, self._tell = target, tell
        self.stochastic, self.until_fooled = target.stochastic, target.until_fooled

    def gradient(self, clips: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom) -> Gradient:
        found = self._target.gradient(clips, labels, loss, rng)
        self._tell(found.logits, rng)
        return found

    def logits(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        return self._target.logits(clips, rng)

    def rounds(self, count: int, save: Callable[[], State], load: Callable[[State], None]) -> Iterable[int]:
        return self._target.rounds(count, save, load)

    def note(self, name: str, values: Tensor, rng: ClipRandom) -> None:
        self._target.note(name, values, rng)


def climb(margins: list[list[float]]) -> dict[str, Any]:
    """How far an attack had come when it stopped.

    Args:
        margins: Of clips that it did not fool, at every gradient.

    Returns:
        `n` clips, `calls` per clip, `rise` of the mean loss (minus the margin; the best so far counts) and `late`, the share
        of it that came with the last tenth of the calls; empty where there are fewer than two calls.
    """
    calls = max(map(len, margins), default=0)
    full = [one for one in margins if len(one) == calls]
    if calls < 2:
        return {}
    loss = -torch.tensor(full, dtype=torch.float64).mean(dim=0)
    best = loss.cummax(dim=0).values
    rise, late = float(best[-1] - loss[0]), float(best[-1] - best[-1 - max(1, calls // LATE)])
    return {"n": len(full), "calls": calls, "rise": round(rise, 5), "late": round(late / rise, 3) if rise > 0 else 0.0}


@torch.no_grad()
@full_float32()
def probe(cell: Cell, bench: Bench, batch: Batch) -> dict[str, Any]:
    """Asks the judged pipeline, one draw at a time, about clean clips.

    Returns:
        n: Clips.
        range: Largest score less the smallest.
        sums: Largest distance of a clip's scores from adding up to 1; negative scores count in full.
        grid: Step of the grid that all scores lie on; 0 where they lie on none.
        again: Largest difference of a score when the same draws are asked for again.
        other: Largest difference of a score under other draws.
        backward: Gradients that the pipeline computed for its own decision.
        predicted, measured: Change of each clip's margin over 2 STEP along the sign of its gradient, by that gradient and by two
            passes; only where gradients pass the pipeline itself.
    """
    pipeline = bench.pipeline(cell, exact=True)  # what it looks for is smaller than the rounding of half precision
    clips, labels = bench.clips(batch)
    room = bench.room(cell)

    def ask(given: Tensor, purpose: str = "probe") -> Tensor:
        def job(rows: slice) -> Tensor:
            return pipeline.scorer(given[rows], ClipRandom.for_clips(batch.ids[rows], cell.seed, purpose, bench.device))

        return torch.cat(room.passes(len(given), job))

    def slope(rows: slice) -> Tensor:
        leaf = inner[rows].clone().requires_grad_()
        with torch.enable_grad():
            rng = ClipRandom.for_clips(batch.ids[rows], cell.seed, "probe", bench.device)
            value = margin(pipeline.scorer(leaf, rng), labels[rows]).sum()
        found = torch.autograd.grad(value, leaf, allow_unused=True)[0] if value.requires_grad else None
        return torch.zeros_like(leaf) if found is None else found

    backward, scores = count_backward(lambda: ask(clips))
    found = {
        "n": len(clips),
        "range": float(scores.max() - scores.min()),
        "sums": float(torch.maximum((scores.sum(dim=1) - 1).abs(), -scores.amin(dim=1)).max()),
        "grid": grid(scores),
        "again": float((scores - ask(clips)).abs().max()),
        "other": float((scores - ask(clips, "probe again")).abs().max()),
        "backward": backward,
    }
    if pipeline.gradient and not pipeline.surrogate:
        inner = clips.clamp(2 * STEP, 1 - 2 * STEP)  # both ends of the difference are clips
        grad = torch.cat(room.passes(len(inner), slope))
        move = STEP * torch.where(grad < 0, -1.0, 1.0)
        change = margin(ask(inner + move), labels) - margin(ask(inner - move), labels)
        found |= {"predicted": (2 * STEP * grad.abs().flatten(1).sum(dim=1)).tolist(), "measured": change.tolist()}
    return {name: _brief(value) for name, value in found.items()}


def count_backward(job: Callable[[], Tensor]) -> tuple[int, Tensor]:
    """Gradients that are computed while a job runs, at least one where there are any, and what the job gives.

    A gradient reads what its forward pass saved, and whoever reads is counted; so no import of `grad` goes by unseen.
    """
    read: list[None] = []

    def unpack(saved: Any) -> Any:
        read.append(None)
        return saved

    try:
        with torch.autograd.graph.saved_tensors_hooks(lambda saved: saved, unpack):
            scores = job()
    except RuntimeError as error:
        if "saved tensor hooks" not in str(error):  # what torch.func says, whose gradients cannot be watched
            raise
        return 1, job()
    return len(read), scores


def grid(scores: Tensor) -> float:
    """Step of the grid that all scores lie on, as far as rounding lets one see; 0 where they lie on none."""
    scores = scores.double().unique(dim=0)  # clips that are the same say nothing
    values = scores.flatten().unique()
    gaps = values.diff()
    if not len(gaps) or not torch.isfinite(values).all():
        return 0.0
    step = gaps.min()
    places = (values - values[0]) / step
    few = 4 * len(values) <= scores.numel()
    return float(step) if few or len(values) >= 6 and bool((places - places.round()).abs().max() < 0.05) else 0.0


def _brief(value: Any) -> Any:
    """Six digits; no NaN and no infinity, which JSON lacks: None."""
    if isinstance(value, list):
        return [_brief(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if value - value == 0 else None
    return value
