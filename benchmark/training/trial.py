"""What a learner is tried by after every epoch."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..core.attack import Attack
from ..core.corruption import Corruption
from ..core.errors import InputError
from ..core.registry import resolve
from ..core.rng import ClipRandom
from ..core.trained import Learner, Trial
from ..core.whitebox import WhiteBox
from .clips import Split, as_float
from .entries import Recipe

BATCH = 64

Change = Callable[[Tensor, Tensor, ClipRandom], Tensor]
"""Clips uint8 (N, 3, T, H, W), labels (N,) and streams to float clips in [0, 1]."""


def tried(learner: Learner, val: Split, recipe: Recipe, trial: Trial | None, device: torch.device) -> tuple[float, float | None]:
    """Accuracy of the deployed defence on clean validation clips, and under its trial, both in [0, 1].

    An attack is crafted through the whole defence, as it stands after this epoch; clips, draws and starts are the same in every
    epoch, so that epochs can be compared.
    """
    clean = _accuracy(learner, val, recipe, device, lambda clips, labels, rng: as_float(clips, device))
    if trial is None:
        return clean, None
    return clean, _accuracy(learner, val, recipe, device, _change(learner, trial, recipe, device))


def corruption_of(recipe: Recipe, spec: str) -> tuple[Corruption, str]:
    """A corruption of frames at the recipe's severity, and its canonical text.

    Raises:
        InputError: It is unknown, does not know the severity, or acts on files.
    """
    component = resolve("corruption", spec)
    corruption: Corruption = component.create()
    corruption.setting(recipe.severity)
    if corruption.stage == "file":
        raise InputError("recipe: corruption", f"{component.entry.name} acts on files", "add stage=frames")
    return corruption, component.text


def _accuracy(learner: Learner, val: Split, recipe: Recipe, device: torch.device, change: Change) -> float:
    right = 0
    for clips, labels, rng in val.batches(BATCH, recipe.seed, "try", device):
        seen = change(clips, labels, rng)
        with torch.no_grad():
            right += int((learner.score(seen, rng).argmax(dim=1) == labels).sum())
    return right / len(val)


def _change(learner: Learner, trial: Trial, recipe: Recipe, device: torch.device) -> Change:
    if trial.kind == "corruption":
        corruption, _ = corruption_of(recipe, trial.spec)
        return lambda clips, labels, rng: as_float(corruption.apply(clips, recipe.severity, rng), device)
    attack: Attack = resolve("attack", trial.spec).create()

    def attacked(clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        return attack.run(WhiteBox(learner.score, learner.network), as_float(clips, device), labels, rng).detach()

    return attacked
