"""The one training loop: every recipe, plain or adversarial, runs through it."""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.interfaces import Model
from ..core.rng import ClipRandom
from ..core.trained import Learner, Trial
from ..models.build import state_sha256
from .checkpoint import Best, State
from .clips import Split, as_float
from .entries import Recipe
from .trial import BATCH, corruption_of, tried


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave.

    Attributes:
        number: 1 for the first.
        loss: Mean training loss.
        accuracy: Accuracy on the validation clips, in [0, 1].
        robust: Accuracy on them under the defence's trial, in [0, 1]; None where it has none.
    """

    number: int
    loss: float
    accuracy: float
    robust: float | None = None

    def described(self) -> dict[str, Any]:
        """What a card says of it."""
        return {key: value for key, value in asdict(self).items() if value is not None}


History = list[Epoch]


@dataclass
class Plan:
    """A training: what learns, from what, how, and what it is tried by.

    Attributes:
        learner: What learns; it comes back frozen, in eval mode, with the weights of its last or best epoch.
        train: Training clips.
        val: Validation clips.
        recipe: How.
        trial: What every epoch is tried by, besides clean clips.
        on_epoch: Called after every epoch.
        on_step: Called after every step.
        on_resume: Called with the epochs that an earlier, killed run had finished.
        tell: Called with a line that whoever waits should read.
        keep: File that a killed training goes on from; None for none. Whoever writes the result deletes it then.
        key: What the training is, so that a file of another one is not gone on from.
        history: Its epochs so far.
        kept: Number of the epoch whose weights were kept.
        seconds: What the epochs took, those before a kill among them.
    """

    learner: Learner
    train: Split
    val: Split
    recipe: Recipe
    trial: Trial | None = None
    on_epoch: Callable[[Epoch], None] = lambda epoch: None
    on_step: Callable[[], None] = lambda: None
    on_resume: Callable[[History], None] = lambda history: None
    tell: Callable[[str], None] = lambda text: None
    keep: Path | None = None
    key: str = ""
    history: History = field(default_factory=list)
    kept: int = 0
    seconds: float = 0.0

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return math.ceil(len(self.train) / self.recipe.batch_size)


def train(
    model: Model,
    clips: Tensor,
    labels: Tensor,
    val_clips: Tensor,
    val_labels: Tensor,
    recipe: Recipe,
    ids: Sequence[str] = (),
    **options: Any,
) -> History:
    """Trains a model in place to classify; the same seed gives the same weights, on a CPU bit for bit.

    Args:
        model: The model; it comes back frozen, in eval mode, with its hash renewed.
        clips: Training clips, uint8 (M, 3, T, H, W).
        labels: int64 (M,).
        val_clips: Validation clips, uint8 (V, 3, T, H, W).
        val_labels: int64 (V,).
        recipe: How.
        ids: Names of the training clips, which a corruption's draws belong to; default: their positions.
        **options: More attributes of `Plan`.

    Returns:
        One entry per epoch.

    Raises:
        InputError: As `run`.
    """
    plan = Plan(Learner(model), Split(clips, labels, ids), Split(val_clips, val_labels), recipe, **options)
    run(plan)
    model.weights_sha256 = state_sha256(model)
    return plan.history


def run(plan: Plan) -> None:
    """Trains a plan's learner in place, on the device where it lies; a killed training goes on after its last whole epoch.

    Raises:
        InputError: There are no clips, the recipe's corruption is unknown or cannot take them, the loss stops being finite, or
            the file of an earlier run cannot be read.
    """
    learner, recipe = plan.learner, plan.recipe
    if not len(plan.train) or not len(plan.val):
        raise InputError("train", f"{len(plan.train)} training and {len(plan.val)} validation clips", "both must be there")
    device = next(iter(learner.parameters())).device
    seen = _corrupter(recipe, plan.train, device)
    with _reproducible(recipe.seed, device):
        order, best = torch.Generator().manual_seed(recipe.seed), Best(recipe.keep)
        step = _Stepper(learner, recipe, recipe.epochs * plan.steps)
        parts = {"learner": learner, "optimizer": step.optimizer, "schedule": step.schedule}
        state = State(plan.keep, plan.key, parts, order, best, device)
        try:
            _go_on(plan, state)
            for number in range(len(plan.history) + 1, recipe.epochs + 1):
                started = time.monotonic()
                done = _epoch(plan, number, step, seen, order, device)
                plan.history.append(done)
                plan.seconds += time.monotonic() - started
                best.see(number, done.accuracy if done.robust is None else done.robust, done.accuracy, learner.network)
                state.save([epoch.described() for epoch in plan.history], plan.seconds)
                plan.on_epoch(done)
        finally:
            learner.switch(False)
        best.restore(learner.network)
        plan.kept = best.epoch


def _go_on(plan: Plan, state: State) -> None:
    """Takes a killed training up."""
    found = state.load()
    if found is not None:
        plan.history, plan.seconds = [Epoch(**values) for values in found[0]], found[1]
        plan.tell(f"going on after epoch {len(plan.history)} of {plan.recipe.epochs}, from {plan.keep}")
        plan.on_resume(plan.history)
    elif plan.keep is not None and plan.keep.exists():
        plan.tell(
            f"{plan.keep} is of another training (recipe, seed, weights, data or version differ), so this one starts afresh"
        )


def _epoch(plan: Plan, number: int, step: "_Stepper", seen: "Seen", order: torch.Generator, device: torch.device) -> Epoch:
    learner, recipe, loss = plan.learner, plan.recipe, 0.0
    learner.switch(True)
    learner.begin(number, recipe.epochs)
    for rows in torch.randperm(len(plan.train), generator=order).split(recipe.batch_size):
        rng = plan.train.streams(rows, recipe.seed, f"learn in epoch {number}", device)
        batch = as_float(seen(plan.train.clips[rows], rows, number), device)
        loss += step(batch, plan.train.labels[rows].to(device), rng) * len(rows)
        plan.on_step()
    if not math.isfinite(loss):
        raise InputError("recipe", f"the loss is {loss} in epoch {number}", "lower the learning rate")
    learner.switch(False)
    clean, robust = tried(learner, plan.val, recipe, plan.trial, device)

    def batches() -> Iterator[tuple[Tensor, Tensor, ClipRandom]]:
        for clips, labels, rng in plan.val.batches(BATCH, recipe.seed, f"end of epoch {number}", device):
            yield as_float(clips, device), labels, rng

    learner.end(number, recipe.epochs, batches)
    return Epoch(number, loss / len(plan.train), clean, robust)


def accuracy(model: Model, clips: Tensor, labels: Tensor, batch_size: int = BATCH) -> float:
    """Share of right answers on uint8 clips (N, 3, T, H, W), in eval mode and float32."""
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        parts = zip(clips.split(batch_size), labels.split(batch_size), strict=True)
        right = sum(int((model(as_float(part, device)).argmax(dim=1).cpu() == truth).sum()) for part, truth in parts)
    return right / len(clips)


Seen = Callable[[Tensor, Tensor, int], Tensor]
"""A batch of uint8 clips, their rows and the epoch's number to the clips that are trained on."""


def _corrupter(recipe: Recipe, split: Split, device: torch.device) -> Seen:
    if not recipe.corruption:
        return lambda clips, rows, epoch: clips
    corruption, text = corruption_of(recipe, recipe.corruption)  # an unknown one is refused before the first step

    def corrupted(clips: Tensor, rows: Tensor, epoch: int) -> Tensor:
        rng = split.streams(rows, recipe.seed, f"train {text} {recipe.severity} epoch {epoch}", device)
        return corruption.apply(clips.to(device), recipe.severity, rng)

    return corrupted


@contextmanager
def _reproducible(seed: int, device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    flags = torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False, allow_tf32=False)
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=devices), flags:
        torch.manual_seed(seed)
        if devices:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
            # Some layers have no such kernel: torch then says which, and the weights repeat but for rounding.
            torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict, warn_only=warns)


class _Stepper:
    """One step of the optimiser."""

    def __init__(self, learner: Learner, recipe: Recipe, steps: int) -> None:
        self._learner, self._clip_norm, weights = learner, recipe.clip_norm, list(learner.learning())
        if recipe.optimizer == "adamw":
            self.optimizer = torch.optim.AdamW(weights, lr=recipe.lr, weight_decay=recipe.weight_decay)
        else:
            self.optimizer = torch.optim.SGD(weights, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=0.9, nesterov=True)
        self.schedule, self._weights = _schedule(self.optimizer, recipe.warmup, steps), weights

    def __call__(self, clips: Tensor, labels: Tensor, rng: ClipRandom) -> float:
        # bfloat16 has the range of float32, so no loss scaling is needed; CPUs gain nothing from it.
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=clips.is_cuda):
            loss = self._learner.loss(clips, labels, rng)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self._clip_norm:
            torch.nn.utils.clip_grad_norm_(self._weights, self._clip_norm)
        self.optimizer.step()
        self.schedule.step()
        return float(loss.detach())


def _schedule(optimizer: torch.optim.Optimizer, warmup: int, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps - warmup))
    if not warmup:
        return cosine
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, cosine], [warmup])
