"""Auto-PGD."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..benchmark.core.ascent import true_class
from ..benchmark.core.attack import Attack, Target
from ..benchmark.core.best import Best
from ..benchmark.core.budget import Ball, check_eps, norm_of, per_clip
from ..benchmark.core.losses import LOSSES, check_classes, targeted_dlr
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.stepsize import AutoStep
from .pgd import PGD


@register("attack", "apgd")
@dataclass(frozen=True)
class APGD(Attack):
    """Auto-PGD over the whole clip: momentum, and a step size that each clip halves by itself.

    Formula: z = P(x + step d), x <- P(x + 0.75 (z - x) + 0.25 (x - x_before)), with d = sign(grad loss) for L-inf and
    grad / |grad|_2 for L2, P onto the eps-ball, then [0, 1]; step = 2 eps at first. At checkpoints, after 22 % of the steps and
    then in windows that shrink by 3 % of the steps down to 6 %, the step is halved and the clip goes on from its highest loss,
    if no more than a share rho of the window's steps raised the loss, or if neither step nor highest loss changed in the window.
    The start lies on the ball's surface: a uniform draw scaled to touch it for L-inf, a random direction for L2.

    targeted-dlr makes one run towards each of the classes that score highest on the clean clip, the true one left out;
    where fooled clips may leave, each run gets the survivors of the one before. A clip's result is the adversarial iterate
    of the highest loss, or the iterate of the highest loss where none is adversarial.

    Of a random target a run's iterate of the highest mean loss over the draws (EOT) counts, and no clip leaves. Where there are
    several runs, the deployed, averaged form judges between them. With few draws noise halves the steps too soon: against
    `shuffle` it was weaker than `pgd` of as many steps with 1 or 5 draws, and as strong with 20 (`adaptive:eot=20`).

    Source: Croce and Hein 2020, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free
    Attacks, algorithm 1, sections 3 and 4 (DLR, Eq. 6 and 7); what the text leaves open is as in the authors' code.
    """

    version: ClassVar[int] = 1

    norm: str = param("linf", help="norm of the budget", choices=("linf", "l2"))
    eps: float = param(4 / 255, help="budget; absolute in [0, 1] pixel units for l2", unit=PIXEL)
    steps: int = param(100, help="steps of a run; it takes one gradient more, at the start", low=1)
    restarts: int = param(1, help="independent runs, for each target class; the best iterate over all is kept", low=1)
    loss: str = param("ce", help="loss that is maximised", choices=("ce", "dlr", "targeted-dlr"))
    targets: int = param(9, help="target classes of targeted-dlr; at most all other classes", low=1)
    rho: float = param(0.75, help="share of rising steps up to which the step is halved", low=0, high=1)

    def __post_init__(self) -> None:
        check_eps("attack apgd", self.norm, self.eps)

    @property
    def _targeted(self) -> bool:
        return self.loss == "targeted-dlr"

    @property
    def calls(self) -> tuple[int, int]:
        """Gradient calls and queries per clip at most."""
        runs = self.restarts * (self.targets if self._targeted else 1)
        return runs * (self.steps + 1), self._targeted + (runs if runs > 1 else 0)

    def single_step(self) -> PGD:
        """The one-step attack that a sound run must not be weaker than."""
        return PGD(norm=self.norm, eps=self.eps).single_step()

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Adversarial candidates (N, C, T, H, W) of clips (N, C, T, H, W) with labels (N,).

        Raises:
            InputError: The model has too few classes for the loss.
        """
        best, ball = Best(clips), Ball(clips, self.norm, self.eps)
        goals = self._goals(target, clips, labels, rng) if self._targeted else [labels]
        runs = [goal for goal in goals for _ in range(self.restarts)]
        for goal in runs:
            self._climb(target, ball, goal, rng, best, alone=len(runs) == 1)
        return best.clips

    def _goals(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> list[Tensor]:
        """True and target classes (N, 2), run by run: the best-scored other classes first."""
        logits = target.logits(clips, rng)
        classes = logits.shape[1]
        check_classes(self.loss, classes)
        others = logits.scatter(1, labels[:, None], -torch.inf).argsort(dim=1, descending=True)
        return [torch.stack([labels, others[:, rank]], dim=1) for rank in range(min(self.targets, classes - 1))]

    def _climb(self, target: Target, ball: Ball, goal: Tensor, rng: ClipRandom, best: Best, alone: bool) -> None:
        """One run on the clips that `best` has not fooled yet, or on all where fooled clips may not leave."""
        loss = targeted_dlr if self._targeted else LOSSES[self.loss]
        rows = (~best.fooled).nonzero().flatten() if target.until_fooled else torch.arange(len(goal), device=goal.device)
        ball, goal, rng = ball[rows], goal[rows], rng[rows]
        state = None
        for _ in range(self.steps + 1):
            if not len(rows):
                return
            x = self._start(ball, rng) if state is None else state.advance(ball)
            found = target.gradient(x, goal, loss, rng)
            if state is None:
                state = AutoStep(x, found, self.norm, self.eps, self.steps, self.rho)
            else:
                state.learn(found)
            if not target.stochastic:
                best.offer(rows, x, found.loss, found.logits, true_class(goal))
            if target.until_fooled and best.fooled[rows].any():
                left = ~best.fooled[rows]
                rows, ball, goal, rng, state = rows[left], ball[left], goal[left], rng[left], state[left]
        if target.stochastic and state is not None:
            if alone:
                best.replace(rows, state.top)
            else:
                logits = target.logits(state.top, rng)
                best.offer(rows, state.top, loss(logits, goal), logits, true_class(goal))

    def _start(self, ball: Ball, rng: ClipRandom) -> Tensor:
        shape = ball.clean.shape[1:]
        draw = rng.uniform(shape, -1, 1) if self.norm == "linf" else rng.normal(shape)
        return ball.project(ball.clean + self.eps * draw / per_clip(norm_of(self.norm, draw)))
