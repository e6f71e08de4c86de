"""Crafting adversarial clips under a cell's threat: the harness, not the attack, keeps the budget and measures."""

from typing import Any

import torch
from torch import Tensor

from ..core.attack import Attack
from ..core.budget import (
    Ball,
    changed_area,
    changed_frames,
    l2_norm,
    linf_norm,
    norm_of,
    per_clip,
    roughness,
    thickness,
)
from ..core.interfaces import Batch
from ..core.losses import margin
from ..core.rng import ClipRandom
from .bench import Bench
from .cell import Cell
from .crafted import Crafted
from .eight_bit import rounded
from .journal import Journal
from .memory import Room, rows_of
from .target import CountedTarget, Once
from .threat import Pipeline

TOLERANCE = 1e-6
"""How far outside its budget an attack may be by rounding before that is flagged."""


def craft(
    cell: Cell,
    bench: Bench,
    attack: Attack,
    batch: Batch,
    clips: Tensor,
    labels: Tensor,
    full: bool,
    first: Once | None = None,
    journal: Journal | None = None,
) -> Crafted:
    """Runs an attack under the cell's threat and brings the result inside the budget, whatever the attack returned.

    Where the attacked pipeline is deterministic, a clip that is wrong without any change stays (or becomes) unchanged when the
    attack found nothing: the zero perturbation lies in every ball.

    Args:
        cell: Gives threat, seed and defence.
        bench: The live objects.
        attack: The attack to run, fitted where it is universal.
        batch: Names the clips.
        clips: Clean clips (N, C, T, H, W) in [0, 1].
        labels: True classes (N,).
        full: Full strength on every clip; otherwise a clip is done when it is fooled.
        first: May know the first draw of the first gradient already; None: nobody does.
        journal: Knows what the target has answered to an attack that was killed; None: there was none.
    """
    assert cell.attack is not None and cell.threat is not None
    pipeline = bench.attacked(cell)
    target = CountedTarget(pipeline, labels, cell.threat, not full, bench.room(cell), bench.tick, first, journal)
    rng = ClipRandom.for_clips(batch.ids, cell.seed, purpose(cell), bench.device)
    wrong = torch.zeros(len(clips), dtype=torch.bool, device=clips.device)
    if not pipeline.stochastic:
        known = target.logits(clips, rng, lambda make: bench.clean_once(cell, batch, make))
        wrong = margin(known, labels) <= 0
    todo = ~wrong if target.until_fooled else torch.ones_like(wrong)
    made = clips.clone()
    if todo.any():
        made[todo] = attack.run(target, clips[todo], labels[todo], rng[todo]).detach()
    made, outside = keep_budget(attack, clips, made)
    if wrong.any():
        harmless = margin(target.logits(made[wrong], rng[wrong]), labels[wrong]) > 0
        made[wrong] = torch.where(per_clip(harmless), clips[wrong], made[wrong])
    unrounded = torch.zeros_like(wrong)
    if bench.eight_bit(cell):
        made, unrounded = _eight_bit(attack, pipeline, bench.room(cell), clips, made, labels, rng)
    return Crafted(
        clips=made,
        **_sizes(made - clips),
        gradients=target.gradients,
        queries=target.queries,
        solved=target.solved,
        zero=target.zero,
        nonfinite=target.nonfinite,
        outside=outside.cpu(),
        unrounded=unrounded.cpu(),
        notes=target.notes,
    )


def _eight_bit(
    attack: Attack, pipeline: Pipeline, room: Room, clips: Tensor, made: Tensor, labels: Tensor, rng: ClipRandom
) -> tuple[Tensor, Tensor]:
    """Candidates of 8 bits, and which of them are left as they were because rounding would have undone the attack, (N,).

    The thinnest perturbations lie right behind the decision boundary; the passes are the harness's own and not counted.
    """

    @torch.no_grad()
    def fooled(some: Tensor, truth: Tensor, random: ClipRandom) -> Tensor:
        logits = room.passes(len(some), lambda rows: pipeline.decide(some[rows], rows_of(random, rows)))
        return margin(torch.cat(logits), truth) <= 0

    coarse = rounded(attack, clips, made)
    undone = ~fooled(coarse, labels, rng)
    if undone.any():
        undone[undone.clone()] = fooled(made[undone], labels[undone], rng[undone])
    return torch.where(per_clip(undone), made, coarse), undone


def _sizes(delta: Tensor) -> dict[str, Any]:
    """The measures of perturbations by their columns' names, each (N,)."""
    sizes = dict(linf=linf_norm, l2=l2_norm, frames=changed_frames, area=changed_area, thickness=thickness, roughness=roughness)
    return {name: measure(delta).cpu() for name, measure in sizes.items()}


def keep_budget(attack: Attack, clips: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates inside the budget, and which of them were not, (N,).

    A candidate outside its norm ball or the pixel range is projected; one that touches more frames or pixels than the attack's
    limits allow counts as no change at all.
    """
    finite = torch.isfinite(made).flatten(1).all(1)
    made = torch.where(torch.isfinite(made), made, clips)
    low, high = made.flatten(1).amin(1), made.flatten(1).amax(1)
    delta = made - clips
    inside = (norm_of(attack.norm, delta) <= attack.eps + TOLERANCE * max(1.0, attack.eps)) & (low >= 0) & (high <= 1) & finite
    fine = changed_area(delta) <= attack.limits.area + TOLERANCE
    if attack.limits.frames is not None:
        fine &= changed_frames(delta) <= attack.limits.frames
    made = Ball(clips, attack.norm, attack.eps).project(made)
    return torch.where(per_clip(fine), made, clips), ~(inside & fine)


def purpose(cell: Cell) -> str:
    """Names the streams of the cell's attack."""
    assert cell.attack is not None and cell.threat is not None
    return f"craft {cell.attack.text} {cell.defense_text if cell.threat.name == 'adaptive' else 'none'}"
