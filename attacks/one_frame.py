"""Perturbation of a single frame."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..benchmark.core.ascent import Sign, ascend
from ..benchmark.core.attack import Attack, Target
from ..benchmark.core.best import Best
from ..benchmark.core.budget import Ball, Limits, check_eps
from ..benchmark.core.errors import InputError
from ..benchmark.core.interfaces import InputSpec
from ..benchmark.core.losses import LOSSES, margin
from ..benchmark.core.masks import USUAL_FRAMES, frame_mask
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom


@dataclass(frozen=True)
class Framed(Attack):
    """Base of attacks that are I-FGSM on one frame at a time, from the clean clip."""

    norm: str = param("linf", help="norm of the budget", choices=("linf",))
    eps: float = param(4 / 255, help="budget on a frame", unit=PIXEL)
    steps: int = param(30, help="gradient steps per frame", low=1)
    step: float | None = param(None, help="step size; none: eps/steps", unit=PIXEL, low=0)
    loss: str = param("ce", help="loss that is maximised", choices=("ce", "cw", "dlr"))

    def __post_init__(self) -> None:
        check_eps(f"attack {self.registered[1]}", self.norm, self.eps)  # type: ignore[attr-defined]

    @property
    def calls(self) -> tuple[int, int]:
        """Gradients of a sweep over the frames of a clip of the usual length."""
        return self.steps * USUAL_FRAMES, 0

    def attack_frames(
        self,
        target: Target,
        clips: Tensor,
        frames: Tensor,
        labels: Tensor,
        rng: ClipRandom,
        best: Best,
        keep: Literal["best", "last"] = "best",
    ) -> None:
        """I-FGSM on frame `frames` (N,) of clips (N, C, T, H, W), found by `best`."""
        ball = Ball(clips, self.norm, self.eps, frame_mask(clips, frames[:, None]))
        move = Sign(self.eps / self.steps if self.step is None else self.step)
        ascend(target, ball, labels, rng, best, loss=LOSSES[self.loss], steps=self.steps, move=move, keep=keep)


@register("attack", "one-frame")
@dataclass(frozen=True)
class OneFrame(Framed):
    """One-frame attack: I-FGSM that changes a single frame of the clip.

    Formula: x_i <- P(x_i + (eps / steps) * sign(grad_i loss)) for the one frame i, from the clean clip, where P brings the frame
    into the L-inf eps-ball and [0, 1]; the other frames stay. The strongest iterate is kept per clip.

    The frame is `index`, from 0; `random`, drawn for each clip; `worst`, the one that does most harm, where a clip is done with
    the first that fools; or `all`: every frame is tried on every clip, the most harmful counts, and which of them fooled is
    kept as `fooled_by_frame` (clips x frames, 1 for yes) for a curve over the frames.

    Re-implemented from the description: the authors published no code, and eps, steps and step are our parameters.

    Source: Hwang et al. 2021, Just One Moment: Structural Vulnerability of Deep Action Recognition against One Frame Attack.
    """

    version: ClassVar[int] = 1

    index: str = param("worst", help="the frame, from 0, or worst, all, random")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.index not in ("all", "worst", "random") and not self.index.isdecimal():
            raise InputError(
                "attack one-frame: index", f"{self.index!r} is no frame", "give a number from 0, worst, all or random"
            )

    def check(self, input: InputSpec, classes: int) -> None:
        """Refuses a frame beyond the clip."""
        super().check(input, classes)
        self._fits(input.frames)

    @property
    def limits(self) -> Limits:
        """One frame."""
        return Limits(frames=1)

    @property
    def calls(self) -> tuple[int, int]:
        """A sweep, or one frame."""
        sweep, _ = super().calls
        return (sweep if self.index in ("all", "worst") else self.steps), USUAL_FRAMES if self.index == "all" else 0

    def single_step(self) -> "OneFrame | None":
        """FGSM on the same frame."""
        return None if self.index in ("all", "worst") else OneFrame(eps=self.eps, steps=1, loss=self.loss, index=self.index)

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Adversarial candidates (N, C, T, H, W) of clips (N, C, T, H, W) with labels (N,)."""
        best, count = Best(clips), clips.shape[2]
        self._fits(count)
        if self.index == "all":
            self._sweep(target, clips, labels, rng, best)
        elif self.index == "worst":
            for frame in range(count):
                self.attack_frames(target, clips, torch.full_like(labels, frame), labels, rng, best)
        else:
            frames = rng.integers(0, count) if self.index == "random" else torch.full_like(labels, int(self.index))
            self.attack_frames(target, clips, frames, labels, rng, best)
        return best.clips

    def _fits(self, count: int) -> None:
        if self.index.isdecimal() and int(self.index) >= count:
            problem = f"{self.index} is beyond the clip's {count} frames"
            raise InputError("attack one-frame: index", problem, f"it must be from 0 to {count - 1}")

    def _sweep(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom, best: Best) -> None:
        """Tries every frame on every clip, by itself, and notes which fool."""
        rows, fooled = torch.arange(len(labels), device=labels.device), []
        for frame in range(clips.shape[2]):
            one = Best(clips)
            self.attack_frames(target, clips, torch.full_like(labels, frame), labels, rng, one)
            logits = target.logits(one.clips, rng)
            fooled.append(margin(logits, labels) <= 0)
            best.offer(rows, one.clips, LOSSES[self.loss](logits, labels), logits, labels)
        target.note("fooled_by_frame", torch.stack(fooled, dim=1), rng)
