"""Adversarial frames at the end of the clip."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..benchmark.core.ascent import steepest
from ..benchmark.core.attack import Attack, Target
from ..benchmark.core.budget import check_eps
from ..benchmark.core.errors import InputError
from ..benchmark.core.interfaces import InputSpec
from ..benchmark.core.losses import LOSSES
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.pattern import Search, carried, carrying, fit_pattern, put
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom

GREY = 0.5
"""Colour of the dummy frames that the search starts from."""

BATCH = 8
"""Clips per step."""


def at_the_end(frames: Tensor, count: int) -> Tensor:
    """Frames (N, C, k, H, W) at the end of `count`, with zeros before them."""
    return F.pad(frames, (0, 0, 0, 0, count - frames.shape[2], 0))


@register("attack", "append")
@dataclass(frozen=True)
class Append(Attack):
    """Universal adversarial frames, appended to the end of every clip.

    Formula: x = (T - k of the clean frames, k frames a), a = clip(1/2 + p, 0, 1), |p| <= eps; on batches of 8 other clips
    p <- P(p + step * sign(sum over the batch of grad loss)), from p = 0.

    A model takes T frames, so a video with appended frames is sampled anew: x is what a uniform sampler picks where the appended
    part is the last k/T of the longer video. The clean frames it keeps are the centres of T - k equal segments. No norm bounds
    the change, for the frames are others; clean frames are never altered, only dropped. `eps=0` appends grey frames: what the
    lost frames alone cost.

    Length, search and resampling are our parameters: the paper's are not public, nor is code.

    Source: Chen et al. 2021, Appending Adversarial Frames for Universal Video Attack (WACV).
    """

    version: ClassVar[int] = 1
    universal = True  # not a parameter: without it there is no attack
    pattern: ClassVar[Tensor | None] = None

    norm: str = param("append", help="the frames are others", choices=("append",))
    eps: float = param(0.5, help="distance of the appended frames from grey; 0.5 allows any pixel", unit=PIXEL, high=1)
    frames: int = param(1, help="appended frames among the T that the model takes", low=1)
    steps: int = param(200, help="gradient steps, each on a batch of clips", low=1)
    step: float = param(4 / 255, help="step size", unit=PIXEL, low=0)
    loss: str = param("ce", help="loss that is maximised", choices=("ce", "cw", "dlr"))
    fit_split: str | None = param(None, help="split it is made on; none: validation, else training clips")
    fit_clips: int = param(64, help="clips it is made on", low=1)

    def __post_init__(self) -> None:
        check_eps("attack append", self.norm, self.eps)

    @property
    def calls(self) -> tuple[int, int]:
        """None per clip: the frames are there already."""
        return 0, 0

    def check(self, input: InputSpec, classes: int) -> None:
        """Refuses to replace the whole clip.

        Raises:
            InputError: No clean frame would be left.
        """
        super().check(input, classes)
        if self.frames >= input.frames:
            problem = f"{self.frames} leaves none of the {input.frames} frames that the model takes"
            raise InputError("attack append: frames", problem, f"it must be from 1 to {input.frames - 1}")

    @property
    def fit_calls(self) -> int:
        """Gradients of a universal pattern: a batch per step."""
        return self.steps * min(BATCH, self.fit_clips)

    def fit(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> "Append":
        """The attack with its frames (1, C, k, H, W), as changes of grey, made on clips (M, C, T, H, W) with labels (M,)."""
        longer = self._lengthen(clips)
        search = Search(
            LOSSES[self.loss],
            self.steps,
            steepest("linf", self.step),
            bound=lambda theta: theta.clamp(-self.eps, self.eps),
            place=lambda theta, rng: at_the_end(theta, clips.shape[2]),
        )
        start = torch.zeros_like(longer[:1, :, -self.frames :])
        return carrying(self, fit_pattern(target, longer, labels, rng, start, search, BATCH))

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Longer clips, sampled anew, (N, C, T, H, W), of clips (N, C, T, H, W) with labels (N,)."""
        return put(self._lengthen(clips), at_the_end(carried("append", self.pattern), clips.shape[2]))

    def _lengthen(self, clips: Tensor) -> Tensor:
        """Clips whose last `frames` frames are grey, the others picked uniformly from the clean ones."""
        left = clips.shape[2] - self.frames
        if left < 1:
            raise InputError("attack append: frames", f"{self.frames} leaves none of the clip's {clips.shape[2]} frames")
        kept = ((torch.arange(left, device=clips.device) + 0.5) * clips.shape[2] / left).long()
        return F.pad(clips[:, :, kept], (0, 0, 0, 0, 0, self.frames), value=GREY)
