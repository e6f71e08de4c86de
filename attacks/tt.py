"""Temporal translation attack."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from ..benchmark.core.ascent import Momentum, Sign, ascend
from ..benchmark.core.attack import Attack, Gradient, Target
from ..benchmark.core.best import Best
from ..benchmark.core.budget import Ball, check_eps
from ..benchmark.core.errors import InputError
from ..benchmark.core.losses import LOSSES, Loss
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom


@register("attack", "tt")
@dataclass(frozen=True)
class TemporalTranslation(Attack):
    """Temporal translation: MI-FGSM on the gradient averaged over cyclic shifts in time, meant for `--threat transfer:<model>`.

    Formula: g = sum over s = -k..k of w_s * shift_-s(grad loss at shift_s(x)), w_s ~ exp(-s^2 / (2 sigma^2)), sigma = k/3,
    sum w_s = 1; each frame of g is scaled to mean absolute value 1; m <- momentum * m + g; x <- P(x + step * sign(m)), from the
    clean clip. shift_s moves frames by s, the last ones to the front; k = (kernel - 1) / 2. A kernel longer than the clip is cut
    to the longest odd length that fits. The last iterate counts.

    `kernel` gradients make one step. Shifts are the paper's adjacent ones, not its remote or random ones.

    Source: Wei et al. 2022, Boosting the Transferability of Video Adversarial Examples via Temporal Translation, AAAI,
    arXiv 2110.09075; momentum: Dong et al. 2018, Boosting Adversarial Attacks with Momentum, Eq. 6.
    """

    version: ClassVar[int] = 1

    norm: str = param("linf", help="norm of the budget", choices=("linf",))
    eps: float = param(16 / 255, help="budget", unit=PIXEL)
    steps: int = param(10, help="gradient steps", low=1)
    step: float | None = param(None, help="step size; none: eps/steps", unit=PIXEL, low=0)
    kernel: int = param(15, help="shifts that are averaged, an odd number, in frames", low=1)
    momentum: float = param(1.0, help="what is left of the older gradients at each step", low=0.0)
    loss: str = param("ce", help="loss that is maximised", choices=("ce", "cw", "dlr"))

    def __post_init__(self) -> None:
        check_eps("attack tt", self.norm, self.eps)
        if self.kernel % 2 == 0:
            raise InputError("attack tt: kernel", f"{self.kernel} shifts have no middle", "give an odd number, such as 15")

    @property
    def calls(self) -> tuple[int, int]:
        """Gradient calls and queries per clip at most: every shift is a gradient call."""
        return self.steps * self.kernel, 0

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Adversarial candidates (N, C, T, H, W) of clips (N, C, T, H, W) with labels (N,)."""
        best = Best(clips)
        step = self.eps / self.steps if self.step is None else self.step
        ascend(
            target,
            Ball(clips, self.norm, self.eps),
            labels,
            rng,
            best,
            loss=LOSSES[self.loss],
            steps=self.steps,
            move=Momentum(Sign(step), self.momentum),
            keep="last",
            gradient=partial(translated, reach=min(self.kernel - 1, clips.shape[2] - 1) // 2),
        )
        return best.clips


def weights(reach: int) -> Tensor:
    """Gaussian weights of the shifts -reach to reach frames, of sum 1, (2 reach + 1,)."""
    if not reach:
        return torch.ones(1)
    return torch.softmax(-0.5 * (3 * torch.arange(-reach, reach + 1) / reach) ** 2, dim=0)


def translated(target: Target, x: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom, *, reach: int) -> Gradient:
    """Gradient averaged over shifts of at most `reach` frames, frames of equal weight; loss and logits of the clip as it is."""
    grad, middle = torch.zeros_like(x), None
    for shift, weight in zip(range(-reach, reach + 1), weights(reach).tolist(), strict=True):
        found = target.gradient(x.roll(shift, dims=2), labels, loss, rng)
        grad += weight * found.grad.roll(-shift, dims=2)
        middle = found if shift == 0 else middle
    assert middle is not None
    return Gradient(grad / grad.abs().mean(dim=(1, 3, 4), keepdim=True).clamp_min(1e-30), middle.loss, middle.logits)
