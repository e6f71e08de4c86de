"""The thinnest flicker that fools."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..benchmark.core.attack import Attack, Target
from ..benchmark.core.best import Best
from ..benchmark.core.budget import check_eps, thickness
from ..benchmark.core.losses import margin
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.pattern import Adam, Search, as_it_is, ascend_pattern, carried, carrying, fit_pattern, put
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom

MARGIN = 0.05
"""By how much another class must be more probable before the loss is content."""

BATCH = 8
"""Clips per step of a universal pattern."""


def smoothed_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the published loss, max(0, min(v^2/m, v)) with v = p_y - max_{j != y} p_j + m and m = 0.05, to be maximised."""
    short = margin(logits.softmax(dim=1), labels) + MARGIN
    return -torch.minimum(short.square() / MARGIN, short).clamp_min(0)


def mean_square(values: Tensor) -> Tensor:
    """Per pattern, (N,)."""
    return values.square().flatten(1).mean(dim=1)


def flickering(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means of squares per pattern (N, C, T, 1, 1): of the offsets, and of their first and second differences, cyclic in time."""
    before, after = theta.roll(1, dims=2), theta.roll(-1, dims=2)
    first, second = theta - before, after - 2 * theta + before
    return mean_square(theta), mean_square(first), mean_square(second)


def rolled(theta: Tensor, rng: ClipRandom) -> Tensor:
    """Patterns (N, C, T, 1, 1), or one for all clips, each from a phase drawn for its clip onwards."""
    frames = theta.shape[2]
    phase = rng.integers(0, frames)[:, None] + torch.arange(frames, device=theta.device)
    index = (phase % frames)[:, None, :, None, None].expand(-1, theta.shape[1], -1, -1, -1)
    return theta.expand(len(rng), -1, -1, -1, -1).gather(2, index)


@register("attack", "flicker")
@dataclass(frozen=True)
class Flicker(Attack):
    """Flickering as published: the thinnest colour offsets per frame that fool, by Adam from no change.

    Formula: x = clip(clean + p, 0, 1) with p (3, T, 1, 1); Adam goes down max(0, min(v^2/m, v)) + beta0 * (beta1 * D1 +
    beta2 * (D2 + D3)), where v = prob_y - max_{j != y} prob_j + m, m = 0.05, beta2 = (1 - beta1)/2, and D1, D2, D3 are the mean
    squares of 2p and of its first and second differences in time, cyclic (2p: the paper's pixels range from -1 to 1). Of the
    iterates that fool, the thinnest counts, so no clip leaves before the last step. The paper's single-clip search has no budget;
    `eps` is the cap of its universal one, 0.15 of a range of 2. Rows compare only together with their thickness and roughness;
    `flicker-fixed` is the attack at a fixed one.

    With `universal` one pattern, made on batches of 8 other clips, serves all. With `cyclic` a random roll in time comes before
    each step, and the last pattern is applied at a random phase: it is to work without knowing where the clip begins.

    Source: Pony et al. 2021, Over-the-Air Adversarial Flickering Attacks against Video Recognition Networks, sections 3.1 to 3.4.
    """

    version: ClassVar[int] = 1
    reports: ClassVar[tuple[str, ...]] = ("thickness", "roughness")
    pattern: ClassVar[Tensor | None] = None

    norm: str = param("linf", help="norm of the cap", choices=("linf",))
    eps: float = param(0.075, help="largest offset", unit=PIXEL)
    steps: int = param(1000, help="Adam steps", low=1)
    step: float = param(0.0005, help="Adam's step size", unit=PIXEL, low=0)
    beta0: float = param(1.0, help="weight of thickness and roughness against fooling", low=0)
    beta1: float = param(0.5, help="share of thickness in that weight", low=0, high=1)
    cyclic: bool = param(False, help="roll the pattern in time at random")
    universal: bool = param(False, help="one pattern for all clips, made on other clips")
    fit_split: str | None = param(None, help="split that a universal pattern is made on; none: validation, else training clips")
    fit_clips: int = param(64, help="clips that a universal pattern is made on", low=1)

    def __post_init__(self) -> None:
        check_eps("attack flicker", self.norm, self.eps)

    @property
    def calls(self) -> tuple[int, int]:
        """Gradients per clip; a universal pattern is there already."""
        return 0 if self.universal else self.steps, 0

    @property
    def fit_calls(self) -> int:
        """Gradients of a universal pattern: a batch per step."""
        return self.steps * min(BATCH, self.fit_clips)

    def fit(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Attack:
        """The attack with one pattern (1, 3, T, 1, 1), made on clips (M, C, T, H, W) with labels (M,)."""
        if not self.universal:
            return self
        zero = clips.new_zeros(1, *clips.shape[1:3], 1, 1)
        return carrying(self, fit_pattern(target, clips, labels, rng, zero, self.search(), BATCH))

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Adversarial candidates (N, C, T, H, W) of clips (N, C, T, H, W) with labels (N,)."""
        search = self.search()
        if self.universal:
            return put(clips, search.place(carried("flicker", self.pattern), rng))
        best, zero = Best(clips), clips.new_zeros(*clips.shape[:3], 1, 1)
        keep = "last" if self.cyclic else "best"
        ascend_pattern(target, clips, labels, rng, best, zero, search, size=thickness, keep=keep)
        return best.clips

    def search(self) -> Search:
        """The published search, from its start: Adam remembers."""
        return Search(
            smoothed_margin,
            self.steps,
            Adam(self.step),
            bound=lambda theta: theta.clamp(-self.eps, self.eps),
            place=rolled if self.cyclic else as_it_is,
            pull=self.pull,
        )

    def penalty(self, theta: Tensor) -> Tensor:
        """The published price of patterns (N, 3, T, 1, 1) in [0, 1] pixel units, (N,)."""
        thick, first, second = flickering(2 * theta)
        return self.beta0 * (self.beta1 * thick + (1 - self.beta1) / 2 * (first + second))

    def pull(self, theta: Tensor) -> Tensor:
        """The gradient of that price, in the patterns' shape."""
        leaf = theta.detach().requires_grad_()
        return torch.autograd.grad(self.penalty(leaf).sum(), leaf)[0]
