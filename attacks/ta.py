"""Temporal adversarial augmentation, as an attack on a network's attention."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..benchmark.core.ascent import Sign, ascend
from ..benchmark.core.attack import Attack, Target
from ..benchmark.core.best import Best
from ..benchmark.core.budget import Ball, check_eps
from ..benchmark.core.cam import WithFeatures, asked_classes, attention
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom


@register("attack", "ta")
@dataclass(frozen=True)
class TA(Attack):
    """Temporal adversarial augmentation: pushes the network's attention to the frames that it looks at least.

    Formula: x <- P(x + step * sign(grad L)), L the mean of the activation maps A over the N frames with the smallest sums;
    A = (M - min M) / max M per clip, M_i = sum over channels of the mean over space of grad_F CE(f(x), c), times F_i, with F_i
    the last convolutional feature maps of frame i. The class c is a random wrong one where the clean clip is classified right,
    and the true one where it is wrong. All frames of x change; the last iterate counts. It needs a convolutional network. Its
    aim is attention and not accuracy: a clip that is wrong may be made right.

    Where a network has fewer time steps than the clip has frames, N counts the time steps of its last maps. Eq. 2 is read as
    gradient-weighted class activation mapping, which the text names. The published augmentation is
    `eps=64/255,step=32/255,steps=1`; as an attack beside others it has the usual budget and more steps: our parameters.
    Re-implemented from the paper, whose code is not to be had.

    Source: Duan et al. 2023, Improve Video Representation with Temporal Adversarial Augmentation (TAF), section 3.2, Eq. 2 to 6.
    """

    version: ClassVar[int] = 1

    norm: str = param("linf", help="norm of the budget", choices=("linf",))
    eps: float = param(4 / 255, help="budget", unit=PIXEL)
    steps: int = param(10, help="gradient steps K", low=1)
    step: float | None = param(None, help="step size; none: eps/2, the published ratio", unit=PIXEL, low=0)
    frames: int | None = param(None, help="least attended time steps N that are raised; none: all, as published", low=1)

    def __post_init__(self) -> None:
        check_eps("attack ta", self.norm, self.eps)

    @property
    def calls(self) -> tuple[int, int]:
        """Gradient calls, and the query that tells which clips are right."""
        return self.steps, 1

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Candidates (N, C, T, H, W) of clips (N, C, T, H, W) with labels (N,)."""
        best, ball = Best(clips), Ball(clips, self.norm, self.eps)
        move = Sign(self.eps / 2 if self.step is None else self.step)
        pair = torch.stack((labels, asked_classes(target.logits(clips, rng), labels, rng)), dim=1)
        ascend(target, ball, pair, rng, best, loss=WithFeatures(self._loss), steps=self.steps, move=move, keep="last")
        return best.clips

    def _loss(self, logits: Tensor, labels: Tensor, maps: Tensor) -> Tensor:
        """Eq. 5 of true and chosen classes (N, 2) and feature maps (N, t, C, h, w), (N,)."""
        return attention(logits, labels, maps, self.frames, "attack ta")
