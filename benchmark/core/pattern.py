"""Perturbations of fewer numbers than a clip has pixels: one for all frames, one colour per frame, one for all clips."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from .ascent import Move
from .attack import Attack, State, Target
from .best import Best
from .errors import InputError
from .losses import Loss, margin
from .rng import ClipRandom

Fitted = TypeVar("Fitted", bound=Attack)

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Kingma and Ba 2015, algorithm 1."""

INSIDE = (-torch.finfo(torch.float32).tiny, 1 + torch.finfo(torch.float32).eps)
"""The first numbers beyond [0, 1]."""


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1), upwards; its memory belongs to the patterns."""

    def __init__(self, step: float) -> None:
        self._step, self._count = step, 0
        self._moments: tuple[Tensor, Tensor] | None = None

    def __getitem__(self, rows: Tensor) -> Self:
        """The same for some of the patterns."""
        part = type(self)(self._step)
        part._count = self._count
        if self._moments is not None:
            part._moments = self._moments[0][rows], self._moments[1][rows]
        return part

    def memory(self) -> list[Tensor]:
        """The number of steps, and both moments."""
        return [] if self._moments is None else [torch.tensor(self._count), *self._moments]

    def recall(self, memory: list[Tensor]) -> None:
        """Goes on with that."""
        if memory:
            self._count, self._moments = int(memory[0]), (memory[1], memory[2])

    def __call__(self, x: Tensor, grad: Tensor) -> Tensor:
        """New iterates, of any shape (N, ...)."""
        self._moments = first, second = self._moments or (torch.zeros_like(grad), torch.zeros_like(grad))
        first.lerp_(grad, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(grad, grad, value=1 - BETAS[1])
        self._count += 1
        # The corrections for the start go into numbers instead of passes over the moments (section 2, last remark).
        root = math.sqrt(1 - BETAS[1] ** self._count)
        scale = second.sqrt().add_(EPSILON * root)
        return torch.addcdiv(x, first, scale, value=self._step * root / (1 - BETAS[0] ** self._count))


def as_it_is(theta: Tensor, rng: ClipRandom) -> Tensor:
    """A pattern whose numbers are the change itself, repeated along dimensions of size 1."""
    return theta


@dataclass(frozen=True)
class Search:
    """How a pattern is looked for.

    Attributes:
        loss: Is maximised.
        steps: Gradient steps.
        move: One step of the numbers.
        bound: Brings numbers into the budget.
        place: Numbers (N, ...) to the change of each clip, differentiable; broadcasts to the clips.
        pull: Gradient of a penalty on the numbers, in their shape; the penalty is subtracted from the loss of each clip.
    """

    loss: Loss
    steps: int
    move: Move
    bound: Callable[[Tensor], Tensor]
    place: Callable[[Tensor, ClipRandom], Tensor] = as_it_is
    pull: Callable[[Tensor], Tensor] | None = None


class PatternGradient(NamedTuple):
    """What one pass says of a pattern.

    Attributes:
        clips: The perturbed clips (N, C, T, H, W).
        grad: Gradient of the summed loss, less the penalties, in the shape of the pattern.
        loss: (N,).
        logits: (N, K).
    """

    clips: Tensor
    grad: Tensor
    loss: Tensor
    logits: Tensor


def put(clips: Tensor, change: Tensor) -> Tensor:
    """The change added to clips, cut to [0, 1]; `change` broadcasts to them."""
    return (clips + change).clamp(0, 1)


def pattern_gradient(
    target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom, theta: Tensor, search: Search
) -> PatternGradient:
    """The gradient to a pattern: that of the clips, zero where [0, 1] cuts the pattern off, summed where it is repeated.

    Args:
        target: What is attacked.
        clips: Clean clips (N, C, T, H, W).
        labels: What the loss takes, (N, ...).
        rng: The clips' streams.
        theta: The pattern's numbers, (N, ...), or (1, ...) for one pattern on all clips.
        search: Gives loss, place and pull.
    """
    leaf = theta.detach().requires_grad_()
    change = search.place(leaf, rng)
    moved = clips + change.detach()
    perturbed = moved.clamp(0, 1)
    grad, value, logits = target.gradient(perturbed, labels, search.loss, rng)
    # What autograd does for the clamp, in one pass over the clips instead of five.
    grad = torch.ops.aten.hardtanh_backward(grad, moved, *INSIDE).sum_to_size(change.shape)
    if change is not leaf:
        (grad,) = torch.autograd.grad(change, leaf, grad)
    if search.pull is not None:
        grad = grad.sub(search.pull(theta), alpha=len(clips) / len(theta))
    return PatternGradient(perturbed, grad, value, logits)


def ascend_pattern(
    target: Target,
    clips: Tensor,
    labels: Tensor,
    rng: ClipRandom,
    best: Best,
    theta: Tensor,
    search: Search,
    *,
    size: Callable[[Tensor], Tensor] | None = None,
    keep: Literal["best", "last"] = "best",
) -> None:
    """`ascent.ascend` for the numbers of a pattern, one pattern per clip.

    Args:
        target: What is attacked.
        clips: Clean clips (N, C, T, H, W).
        labels: True classes (N,).
        rng: The clips' streams.
        best: Takes in the perturbed clips that are found.
        theta: Where the numbers start, (N, ...), inside the budget.
        search: How they are looked for.
        size: Of the applied change (N, C, T, H, W), (N,). Where it is given no clip leaves, and of the iterates that fool the
            smallest counts.
        keep: `best`: the strongest iterate counts, of a random target only the last one, judged afresh; `last`: the last iterate,
            whatever came before, and no clip leaves.
    """
    leaves = target.until_fooled and keep == "best" and size is None
    rows = (~best.fooled).nonzero().flatten() if leaves else torch.arange(len(labels), device=labels.device)
    clean, label, random, theta, move = clips[rows], labels[rows], rng[rows], theta[rows], search.move[rows]

    def offer(x: Tensor, value: Tensor, logits: Tensor) -> None:
        if size is not None:
            value = torch.where(margin(logits, label) <= 0, -size(x - clean), value)
        best.offer(rows, x, value, logits, label)

    for _ in range(search.steps):
        if not len(rows):
            return
        x, grad, value, logits = pattern_gradient(target, clean, label, random, theta, search)
        if keep == "best" and not target.stochastic:
            offer(x, value, logits)
        if leaves and best.fooled[rows].any():
            left = ~best.fooled[rows]
            rows, clean, label, random = rows[left], clean[left], label[left], random[left]
            theta, grad, move = theta[left], grad[left], move[left]
        theta = search.bound(move(theta, grad))
    x = put(clean, search.place(theta, random))
    if keep == "last":
        best.replace(rows, x)
    elif len(rows):
        logits = target.logits(x, random)
        offer(x, search.loss(logits, label), logits)


def fit_pattern(
    target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom, theta: Tensor, search: Search, batch: int
) -> Tensor:
    """One pattern (1, ...) for all clips, by ascent on batches of them, each clip once before any comes again.

    Args:
        target: What is attacked.
        clips: Clean clips (M, C, T, H, W).
        labels: True classes (M,).
        rng: The clips' streams.
        theta: Where the numbers start, (1, ...), inside the budget.
        search: How they are looked for; a step takes one batch.
        batch: Clips per step.
    """
    waiting = torch.arange(0, device=clips.device)

    def save() -> State:
        return {"theta": theta, "waiting": waiting, "move": search.move.memory(), "random": rng.state()}

    def load(state: State) -> None:
        nonlocal theta, waiting
        theta, waiting = state["theta"].to(clips.device), state["waiting"].to(clips.device)
        search.move.recall([part.to(clips.device) for part in state["move"]])
        rng.restore(state["random"])

    for _ in target.rounds(search.steps, save, load):
        if not len(waiting):
            waiting = rng.uniform(()).argsort()
        rows, waiting = waiting[:batch], waiting[batch:]
        found = pattern_gradient(target, clips[rows], labels[rows], rng[rows], theta, search)
        theta = search.bound(search.move(theta, found.grad / len(rows)))
    return theta


def carrying(attack: Fitted, pattern: Tensor) -> Fitted:
    """A copy of a universal attack, a frozen dataclass with the attribute `pattern`, that carries its fitted pattern."""
    fitted = copy.copy(attack)
    object.__setattr__(fitted, "pattern", pattern)
    return fitted


def carried(name: str, pattern: Tensor | None) -> Tensor:
    """The pattern of a fitted attack.

    Raises:
        InputError: It has not been fitted.
    """
    if pattern is None:
        raise InputError(f"attack {name}", "its universal pattern has not been made", "call fit(...) with other clips first")
    return pattern
