"""The one training loop: every recipe, plain or adversarial, runs through it."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.corruption import Corruption
from ..core.errors import InputError
from ..core.interfaces import Model
from ..core.registry import resolve
from ..core.rng import ClipRandom
from ..models.build import state_sha256
from .entries import Recipe


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave.

    Attributes:
        number: 1 for the first.
        loss: Mean training loss.
        accuracy: Accuracy on the validation clips, in [0, 1].
    """

    number: int
    loss: float
    accuracy: float


History = list[Epoch]
Objective = Callable[[Model, Tensor, Tensor], Tensor]
"""Model, float clips (N, 3, T, H, W) in [0, 1] and labels (N,) to a scalar loss: where adversarial training differs."""


def classification(model: Model, clips: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy."""
    return F.cross_entropy(model(clips), labels)


def train(
    model: Model,
    clips: Tensor,
    labels: Tensor,
    val_clips: Tensor,
    val_labels: Tensor,
    recipe: Recipe,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_step: Callable[[], None] = lambda: None,
    objective: Objective = classification,
    ids: Sequence[str] = (),
) -> History:
    """Trains a model in place, on the device where it lies; the same seed gives the same weights, bit for bit, on a machine.

    Args:
        model: The model; it comes back frozen, in eval mode, with its hash renewed.
        clips: Training clips, uint8 (M, 3, T, H, W).
        labels: int64 (M,).
        val_clips: Validation clips, uint8 (V, 3, T, H, W).
        val_labels: int64 (V,).
        recipe: How.
        on_epoch: Called after every epoch.
        on_step: Called after every step.
        objective: What is minimised.
        ids: Of the training clips, which a corruption's draws belong to; default: their positions.

    Returns:
        One entry per epoch.

    Raises:
        InputError: There are no clips, the recipe's corruption is unknown or cannot take them, or the loss stops being finite.
    """
    if not len(clips) or not len(val_clips):
        raise InputError("train", f"{len(clips)} training and {len(val_clips)} validation clips", "both must be there")
    device = next(model.parameters()).device
    order = torch.Generator().manual_seed(recipe.seed)
    seen = _corrupter(recipe, ids or [str(row) for row in range(len(clips))], device)
    history: History = []
    with _reproducible(recipe.seed, device):
        step = _stepper(model, recipe, recipe.epochs * math.ceil(len(clips) / recipe.batch_size), objective)
        try:
            for number in range(1, recipe.epochs + 1):
                model.train().requires_grad_(True)
                loss = 0.0
                for rows in torch.randperm(len(clips), generator=order).split(recipe.batch_size):
                    batch = seen(clips[rows], rows, number)
                    loss += step(as_float(batch, device), labels[rows].to(device)) * len(rows)
                    on_step()
                if not math.isfinite(loss):
                    raise InputError("recipe", f"the loss is {loss} in epoch {number}", "lower the learning rate")
                history.append(Epoch(number, loss / len(clips), accuracy(model, val_clips, val_labels)))
                on_epoch(history[-1])
        finally:
            model.eval().requires_grad_(False)
    model.weights_sha256 = state_sha256(model)
    return history


def accuracy(model: Model, clips: Tensor, labels: Tensor, batch_size: int = 64) -> float:
    """Share of right answers on uint8 clips (N, 3, T, H, W), in eval mode and float32."""
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        parts = zip(clips.split(batch_size), labels.split(batch_size), strict=True)
        right = sum(int((model(as_float(part, device)).argmax(dim=1).cpu() == truth).sum()) for part, truth in parts)
    return right / len(clips)


def as_float(clips: Tensor, device: torch.device) -> Tensor:
    """Stored uint8 clips as the float32 clips in [0, 1] that models take."""
    return clips.to(device).float().div_(255)


def _corrupter(recipe: Recipe, ids: Sequence[str], device: torch.device) -> Callable[[Tensor, Tensor, int], Tensor]:
    """What makes of a batch of clips, their rows and the epoch's number the clips that are trained on."""
    if not recipe.corruption:
        return lambda clips, rows, epoch: clips
    component = resolve("corruption", recipe.corruption)
    corruption: Corruption = component.create()
    corruption.setting(recipe.severity)  # an unknown one is refused before the first step
    if corruption.stage == "file":
        raise InputError("recipe: corruption", f"{component.entry.name} acts on files", "add stage=frames")

    def corrupted(clips: Tensor, rows: Tensor, epoch: int) -> Tensor:
        purpose = f"train {component.text} {recipe.severity} epoch {epoch}"
        rng = ClipRandom.for_clips([ids[int(row)] for row in rows], recipe.seed, purpose, device)
        return corruption.apply(clips.to(device), recipe.severity, rng)

    return corrupted


@contextmanager
def _reproducible(seed: int, device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    flags = torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False)
    with torch.random.fork_rng(devices=devices), flags:
        torch.manual_seed(seed)
        yield


def _stepper(model: Model, recipe: Recipe, steps: int, objective: Objective) -> Callable[[Tensor, Tensor], float]:
    if recipe.optimizer == "adamw":
        optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=0.9, nesterov=True
        )
    schedule = _schedule(optimizer, recipe.warmup, steps)

    def step(clips: Tensor, labels: Tensor) -> float:
        # bfloat16 has the range of float32, so no loss scaling is needed; CPUs gain nothing from it.
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=clips.is_cuda):
            loss = objective(model, clips, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        schedule.step()
        return float(loss.detach())

    return step


def _schedule(optimizer: torch.optim.Optimizer, warmup: int, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps - warmup))
    if not warmup:
        return cosine
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, cosine], [warmup])
