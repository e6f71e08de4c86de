"""As few frames as it takes, the most salient first."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..benchmark.core.ascent import Sign, ascend
from ..benchmark.core.attack import Attack, Target
from ..benchmark.core.best import Best
from ..benchmark.core.budget import Ball, Limits, check_eps
from ..benchmark.core.errors import InputError
from ..benchmark.core.interfaces import InputSpec
from ..benchmark.core.losses import LOSSES
from ..benchmark.core.masks import USUAL_FRAMES, check_frames, frame_mask
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom


class _Attempt:
    """A batch under attack: what was found, and how many frames each clip had when it was first fooled (NaN: never)."""

    def __init__(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> None:
        self.target, self.clips, self.labels, self.rng = target, clips, labels, rng
        self.best = Best(clips)
        self.used = torch.full((len(clips),), torch.nan, device=clips.device)
        self.leaves = target.until_fooled and not target.stochastic

    @property
    def rows(self) -> Tensor:
        """The clips that still want frames."""
        every = torch.arange(len(self.clips), device=self.clips.device)
        return every[~self.best.fooled] if self.leaves else every

    def count(self, frames: int) -> None:
        """The clips that are fooled for the first time are so with this many frames."""
        self.used[self.best.fooled & self.used.isnan()] = frames

    def done(self) -> Tensor:
        """What was found, with its number of frames noted; one look at a random target says nothing of it."""
        if not self.target.stochastic:
            self.target.note("frames_used", self.used, self.rng)
        return self.best.clips


@register("attack", "saliency")
@dataclass(frozen=True)
class Saliency(Attack):
    """Frame saliency attack: perturbs the frames that matter most to the loss, and as few as it takes.

    Formula: s_t = mean |d loss / d x_t| over the pixels of frame t; frames are taken in falling order of s. A perturbation is
    PGD, x <- P(x + step * sign(grad loss)) on the frames in question, P into the L-inf eps-ball and [0, 1].

    `oneshot`: PGD on the `frames` most salient frames together. `iterative`: PGD on the whole clip once, to its last step; its
    frames are copied into the clean clip one by one until the clip is misclassified. `refresh`: the saliency of the clip as it
    stands picks the next frame, PGD on that frame alone adds it, and so on. The last two stop per clip, at `frames` at most.
    How many frames a clip had when it was first misclassified is kept as `frames_used`. A random target is never left early,
    for one look at it means little: it gets all frames that `frames` allows, and the last iterate counts.

    Source: Inkawhich et al. 2018, Adversarial Attacks for Optical Flow-Based Action Recognition Classifiers; the methods as
    named by ART's FrameSaliencyAttack, whose one-shot form perturbs every frame, and whose refresh form mixes clips.
    """

    version: ClassVar[int] = 1
    reports: ClassVar[tuple[str, ...]] = ("frames",)

    norm: str = param("linf", help="norm of the budget on a frame", choices=("linf",))
    eps: float = param(4 / 255, help="budget on a frame", unit=PIXEL)
    method: str = param("iterative", help="how frames are added", choices=("oneshot", "iterative", "refresh"))
    frames: int | None = param(None, help="frames at most, of oneshot exactly; none: all", low=1)
    steps: int = param(100, help="gradient steps of each PGD", low=1)
    step: float | None = param(None, help="step size; none: eps/4, or 2.5 eps/steps if more", unit=PIXEL, low=0)
    random_start: bool = param(False, help="start each PGD at a uniform draw from the ball")
    loss: str = param("ce", help="loss that is maximised, and whose gradient is the saliency", choices=("ce", "cw", "dlr"))

    def __post_init__(self) -> None:
        check_eps("attack saliency", self.norm, self.eps)
        if self.method == "oneshot" and self.frames is None:
            raise InputError("attack saliency: frames", "oneshot does not know how many", "say so, such as frames=4")

    def check(self, input: InputSpec, classes: int) -> None:
        """Refuses more frames than a clip has."""
        super().check(input, classes)
        self._cap(input.frames)

    @property
    def limits(self) -> Limits:
        """The number of frames, where it is given."""
        return Limits(frames=self.frames)

    @property
    def calls(self) -> tuple[int, int]:
        """One PGD and the saliency, for each frame where that is refreshed; a query per copied frame."""
        frames, once = self.frames or USUAL_FRAMES, 1 + self.steps
        return {"oneshot": (once, 0), "iterative": (once, frames), "refresh": (once * frames, frames)}[self.method]

    @property
    def step_size(self) -> float:
        """The step in pixel units."""
        return self.eps * max(1 / 4, 2.5 / self.steps) if self.step is None else self.step

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Adversarial candidates (N, C, T, H, W) of clips (N, C, T, H, W) with labels (N,)."""
        frames, attempt = self._cap(clips.shape[2]), _Attempt(target, clips, labels, rng)
        add = {"oneshot": self._together, "iterative": self._copied, "refresh": self._refreshed}[self.method]
        add(attempt, frames)
        return attempt.done()

    def _cap(self, length: int) -> int:
        """How many of a clip's frames may be perturbed."""
        check_frames("attack saliency", length, self.frames or 0)
        return self.frames or length

    def _together(self, attempt: _Attempt, frames: int) -> None:
        chosen = self._saliency(attempt, attempt.rows).topk(frames, dim=1).indices
        attempt.count(0)
        self._pgd(attempt, attempt.clips, frame_mask(attempt.clips, chosen), attempt.best)
        attempt.count(frames)

    def _copied(self, attempt: _Attempt, frames: int) -> None:
        clips, best, whole = attempt.clips, attempt.best, Best(attempt.clips)
        order = self._saliency(attempt, attempt.rows).argsort(dim=1, descending=True)
        attempt.count(0)
        self._pgd(attempt, clips, None, whole, last=True)
        for count in range(frames if attempt.target.stochastic else 1, frames + 1):
            rows = attempt.rows
            if not len(rows):
                return
            x = torch.where(frame_mask(clips[rows], order[rows, :count]) > 0, whole.clips[rows], clips[rows])
            if attempt.target.stochastic:
                best.replace(rows, x)
                return
            logits, labels = attempt.target.logits(x, attempt.rng[rows]), attempt.labels[rows]
            best.offer(rows, x, LOSSES[self.loss](logits, labels), logits, labels)
            attempt.count(count)

    def _refreshed(self, attempt: _Attempt, frames: int) -> None:
        clips, best = attempt.clips, attempt.best
        taken = torch.zeros(len(clips), clips.shape[2], dtype=torch.bool, device=clips.device)
        for count in range(1, frames + 1):
            rows = attempt.rows
            if not len(rows):
                return
            chosen = self._saliency(attempt, rows).masked_fill(taken[rows], -1).argmax(dim=1)
            attempt.count(count - 1)
            taken[rows, chosen] = True
            mask = clips.new_zeros((len(clips), 1, clips.shape[2], 1, 1))
            mask[rows] = frame_mask(clips[rows], chosen[:, None])
            # Frames taken before lie outside the mask and stay. A copy: `best` is written into, and must not move the ball.
            self._pgd(attempt, best.clips.clone(), mask, best)
            attempt.count(count)

    def _saliency(self, attempt: _Attempt, rows: Tensor) -> Tensor:
        """Saliency (M, T) of the frames of some clips as they stand, which the same pass also judges."""
        x, labels = attempt.best.clips[rows], attempt.labels[rows]
        grad, loss, logits = attempt.target.gradient(x, labels, LOSSES[self.loss], attempt.rng[rows])
        if not attempt.target.stochastic:
            attempt.best.offer(rows, x, loss, logits, labels)
        return grad.abs().mean(dim=(1, 3, 4))

    def _pgd(self, attempt: _Attempt, clips: Tensor, mask: Tensor | None, best: Best, last: bool = False) -> None:
        ascend(
            attempt.target,
            Ball(clips, self.norm, self.eps, mask),
            attempt.labels,
            attempt.rng,
            best,
            loss=LOSSES[self.loss],
            steps=self.steps,
            move=Sign(self.step_size),
            random_start=self.random_start,
            keep="last" if last or attempt.target.stochastic else "best",
        )
