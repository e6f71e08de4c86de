"""The target that an attack sees: a pipeline that is counted."""

import math
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor

from ..core.attack import Gradient, State
from ..core.cam import WithFeatures
from ..core.errors import InputError
from ..core.losses import Loss, margin
from ..core.rng import ClipRandom
from ..core.whitebox import gradient_of
from .journal import Journal
from .memory import Room, again, rows_of
from .threat import Pipeline, Threat

T = TypeVar("T")
Once = Callable[[ClipRandom, Callable[[], Gradient]], Gradient]
"""Gives what a job gives that draws from streams, which are moved on as if it had been done."""

GRADIENT_COST = 3
"""A forward and backward pass costs about three forward ones: the unit of progress, not of results."""


class CountedTarget:
    """Gradients and scores of a pipeline, counted per clip, with evidence of masked gradients.

    Args:
        pipeline: What the attacker holds.
        labels: True classes of the clips that the harness counts, (N,).
        threat: Gives the draws of a gradient and how they are averaged.
        until_fooled: Whether clips may leave once they are fooled.
        room: How many clips fit into a pass.
        tick: Told the work that was done, in forward passes.
        first: May know the first draw of a random pipeline's first gradient already; None: nobody does.
        journal: Knows what was answered before the process was killed; None: nothing was.

    Attributes:
        gradients: Forward-backward passes per clip, (N,) on the CPU.
        queries: Answers of the deployed pipeline per clip, each the average of all its draws, (N,) on the CPU.
        zero: Gradients per clip that were zero everywhere.
        nonfinite: Gradients per clip with a NaN or an infinity; such entries reach the attack as 0.
        solved: Queries and gradients at which a clip was first seen to be misclassified, -1: never, (N,).
        notes: What the attack found out about the clips, by name, (N, ...).
    """

    def __init__(
        self,
        pipeline: Pipeline,
        labels: Tensor,
        threat: Threat | None = None,
        until_fooled: bool = False,
        room: Room | None = None,
        tick: Callable[[int], None] = lambda work: None,
        first: Once | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._pipeline, self._labels, self._tick = pipeline, labels.cpu(), tick
        self._room, self._journal = room or Room(len(labels)), journal or Journal(None)
        threat = threat or Threat("adaptive")
        self._draws = threat.eot if pipeline.stochastic else 1
        self._of_mean = threat.average == "score" and self._draws > 1
        self._first: Once | None = first if pipeline.stochastic else None
        self.stochastic = pipeline.stochastic
        # A random target may be right again at the next draw, so a clip is never done.
        self.until_fooled = until_fooled and not pipeline.stochastic
        self.gradients, self.queries, self.zero, self.nonfinite = (torch.zeros(len(labels), dtype=torch.long) for _ in range(4))
        self.solved = torch.full((len(labels),), -1)
        self.notes: dict[str, Tensor] = {}

    def gradient(self, clips: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom) -> Gradient:
        """The gradient of the loss, averaged over EOT draws, each through the whole pipeline.

        Raises:
            InputError: The pipeline lets no gradient pass.
        """
        if not self._pipeline.gradient:
            raise InputError("defense", "lets no gradient pass", "use a transfer or black-box attack")
        first, self._first = self._first, None
        found = Gradient(
            *self._journal.once("gradient", clips, self._drawn(rng), lambda: self._gradient(clips, labels, loss, rng, first))
        )
        self.gradients[rng.positions] += self._draws
        self._tick(GRADIENT_COST * len(clips) * self._draws)
        if not self.stochastic:
            self._see(found.logits, rng)
        return Gradient(self._sound(found, rng), found.loss, found.logits)

    def logits(
        self, clips: Tensor, rng: ClipRandom, once: Callable[[Callable[[], Tensor]], Tensor] = lambda make: make()
    ) -> Tensor:
        """The deployed pipeline's scores; `once` may know them already, which costs the attacker the same query."""
        self.queries[rng.positions] += 1
        self._tick(len(clips) * self._pipeline.draws)
        (logits,) = self._journal.once("scores", clips, self._drawn(rng), lambda: (once(lambda: self._scores(clips, rng)),))
        self._see(logits, rng)
        return logits

    def rounds(self, count: int, save: Callable[[], State], load: Callable[[State], None]) -> Iterable[int]:
        """All of them: nothing is kept."""
        return range(count)

    def note(self, name: str, values: Tensor, rng: ClipRandom) -> None:
        """Keeps numbers (M, ...) about the clips of `rng`."""
        if name not in self.notes:
            self.notes[name] = torch.full((len(self._labels), *values.shape[1:]), torch.nan)
        self.notes[name][rng.positions] = values.cpu().float()

    def _drawn(self, rng: ClipRandom) -> ClipRandom | None:
        """The streams that an answer draws from."""
        return rng if self.stochastic else None

    def _scores(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        return torch.cat(self._room.passes(len(clips), lambda rows: self._decide(clips[rows], rows_of(rng, rows))))

    def _decide(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        return self._again(rng, lambda: self._pipeline.decide(clips, rng))

    def _gradient(self, clips: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom, first: Once | None) -> Gradient:
        if self._of_mean and not isinstance(loss, WithFeatures):  # maps belong to a draw, not to a mean score
            return self._loss_of_mean_score(clips, labels, loss, rng)
        found = self._one_draw(clips, labels, loss, rng, first)
        return self._mean_of_losses(found, clips, labels, loss, rng) if self._draws > 1 else found

    def _one_draw(self, clips: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom, first: Once | None) -> Gradient:
        """By the clips' own streams."""

        def make() -> Gradient:
            parts = self._room.passes(len(clips), lambda rows: self._draw(clips[rows], labels[rows], loss, rows_of(rng, rows)))
            return Gradient(*(torch.cat(part) for part in zip(*parts, strict=True))) if len(parts) > 1 else parts[0]

        return first(rng, make) if first else make()

    def _draw(self, clips: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom) -> Gradient:
        return self._again(rng, lambda: self._one_pass(clips, labels, loss, rng))

    def _again(self, rng: ClipRandom, job: Callable[[], T]) -> T:
        """A pass that ran out of memory is made again, with the same draws."""
        return again(rng, self.stochastic, job)

    def _mean_of_losses(self, first: Gradient, clips: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom) -> Gradient:
        """The mean of a first draw and of others of all clips, one draw after the other, side by side in passes that fit."""
        count, more = len(clips), self._draws - 1
        total, draws = Gradient(*(part / self._draws for part in first)), rng.spawn(more)

        def job(rows: slice) -> None:
            item = torch.arange(rows.start, rows.stop)
            clip, random = (item % count).to(clips.device), draws[item % count * more + item // count]
            found = self._draw(clips[clip], labels[clip], loss, random)
            # In place, clip by clip in order, and without memory of its own: it can neither fail halfway nor change its order.
            for draw in range(rows.start // count, (rows.stop - 1) // count + 1):
                low, high = max(rows.start, draw * count), min(rows.stop, (draw + 1) * count)
                for kept, part in zip(total, found, strict=True):
                    mine = part[low - rows.start : high - rows.start]
                    kept[low - draw * count : high - draw * count].add_(mine, alpha=1 / self._draws)

        self._room.passes(count * more, job)
        return total

    def _loss_of_mean_score(self, clips: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom) -> Gradient:
        """The loss of log mean softmax over the draws, which lie in one graph."""
        draws = rng.spawn(self._draws)

        def one_pass(rows: slice, random: ClipRandom) -> Gradient:
            leaf = clips[rows].detach().requires_grad_()
            logits = self._pipeline.scorer(leaf.repeat_interleave(self._draws, dim=0), random)
            scores = logits.log_softmax(dim=1).view(len(leaf), self._draws, -1).logsumexp(dim=1) - math.log(self._draws)
            value = loss(scores, labels[rows])
            (grad,) = torch.autograd.grad(value.sum(), leaf)
            return Gradient(grad, value.detach(), scores.detach())

        def job(rows: slice) -> Gradient:
            random = draws[torch.arange(rows.start * self._draws, rows.stop * self._draws)]
            return self._again(random, lambda: one_pass(rows, random))

        parts = self._room.passes(len(clips), job, width=self._draws)
        return Gradient(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _one_pass(self, clips: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom) -> Gradient:
        return gradient_of(self._pipeline.scorer, self._pipeline.model, clips, labels, loss, rng)

    def _sound(self, found: Gradient, rng: ClipRandom) -> Tensor:
        """The gradient without NaN and infinities, which are counted, as are gradients of 0 of clips that are still right."""
        grad = found.grad
        # One cheap pass tells that all is well; only a sum that is 0, infinite or NaN is looked into.
        total = grad.flatten(1).sum(dim=1)
        if not bool(((total == 0) | ~torch.isfinite(total)).any()):
            return grad
        right = margin(found.logits.cpu(), self._labels[rng.positions]) > 0  # some losses are content with a fooled clip
        self.zero[rng.positions] += (grad == 0).flatten(1).all(dim=1).cpu() & right
        self.nonfinite[rng.positions] += (~torch.isfinite(grad)).flatten(1).any(dim=1).cpu()
        return grad.nan_to_num(0.0, 0.0, 0.0)

    def _see(self, logits: Tensor, rng: ClipRandom) -> None:
        rows = rng.positions
        fooled = margin(logits.cpu(), self._labels[rows]) <= 0
        new = rows[fooled & (self.solved[rows] < 0)]
        self.solved[new] = self.gradients[new] + self.queries[new]
