"""Perturbations of single frames, merged."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..benchmark.core.attack import Target
from ..benchmark.core.best import Best
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from .one_frame import Framed


@register("attack", "framewise")
@dataclass(frozen=True)
class Framewise(Framed):
    """A perturbation of every frame made by itself, and all of them merged: no temporal pattern was optimised.

    Formula: P = {p(1), ..., p(T)}, where p(i) is what I-FGSM adds to frame i while the other frames stay clean: x_i <- Proj(x_i +
    (eps / steps) * sign(grad_i loss)), Proj into the L-inf eps-ball and [0, 1], last iterate. It takes T times the gradients of
    I-FGSM on the whole clip. No clip leaves early: whether a part fools says nothing of the whole.

    Re-implemented from the paper, which published no code; steps and step are our parameters for its one-frame attack.

    Source: Hwang et al. 2024, Temporal shuffling for defending deep action recognition models against adversarial attacks,
    section 4.2, case 2.
    """

    version: ClassVar[int] = 1

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Adversarial candidates (N, C, T, H, W) of clips (N, C, T, H, W) with labels (N,)."""
        made = clips.clone()
        for frame in range(clips.shape[2]):
            best = Best(clips)
            self.attack_frames(target, clips, torch.full_like(labels, frame), labels, rng, best, keep="last")
            made[:, :, frame] = best.clips[:, :, frame]
        return made
