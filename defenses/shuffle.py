"""Temporal shuffling."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..benchmark.core.errors import InputError
from ..benchmark.core.interfaces import InputSpec, Scorer
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom

PRESETS = {"i3d": (3, 4), "slowfast": (2, 2), "ircsn": (16, 2), "x3d": (16, 1)}
"""(h1, h2) per architecture (section 5.2): selected by the authors on their evaluation clips, so a tuned-on-test risk.

X3D was run on 16 frames, the others on 32. A block of 4 frames within 3 has nine orders on a clip of 8, which is hardly random;
so short clips take X3D's values where the user names no model.
"""


def candidates(t: int, frames: int, h1: int, h2: int) -> range:
    """Allowed source starts of the block at output position `t`, both 0-based: lines 2-3 of Algorithm 1, `t` still included.

    The paper counts from 1: l = max(t - h1, 1), u = min(t + h1, T - h2 + 1).
    """
    return range(max(t - h1, 0), min(t + h1, frames - h2) + 1)


def draw_order(frames: int, h1: int, h2: int, rng: ClipRandom) -> Tensor:
    """One shuffled frame order per clip by Algorithm 1: int64 (N, T), 0-based; frames may repeat or vanish.

    Where the algorithm leaves a case open: a block at `t` whose only candidate is `t`, or that has none (a preset's h2 >= T on a
    short clip, or a last block so long that T - h2 < t - h1), stays where it is; the last block is cut at T.
    """
    blocks = []
    for t in range(0, frames, h2):
        allowed = [start for start in candidates(t, frames, h1, h2) if start != t]
        length = min(h2, frames - t)
        if allowed:
            start = torch.tensor(allowed, device=rng.device)[rng.integers(0, len(allowed))]
        else:
            start = torch.full((len(rng),), t, device=rng.device)
        blocks.append(start[:, None] + torch.arange(length, device=rng.device))
    return torch.cat(blocks, dim=1)


def reorder(clips: Tensor, order: Tensor) -> Tensor:
    """Frames of each clip (N, C, T, H, W) in its own order (N, T), differentiably.

    Whole frames are picked as rows of one matrix, forward and backward: several times faster than a gather over pixels.
    """
    count, channels, frames = clips.shape[:3]
    first = torch.arange(count * channels, device=clips.device).view(count, channels, 1) * frames
    rows = (first + order.to(clips.device)[:, None, :]).flatten()
    return clips.reshape(count * channels * frames, -1).index_select(0, rows).view(clips.shape)


@register("defense", "shuffle")
@dataclass(frozen=True)
class Shuffle:
    """Temporal shuffling: blocks of frames are copied from random nearby positions, scores of several draws are averaged.

    Formula: for t = 0, h2, 2 h2, ...: frames t ... t + h2 - 1 are frames s ... s + h2 - 1 of the clip, s uniform from
    max(t - h1, 0) ... min(t + h1, T - h2) without t. Frames may repeat or vanish: it is no permutation.

    The shuffle is a gather, so its gradient is exact; what it hides from an attacker is only which draw comes next. A named h2
    must be less than the model's T; a preset's may not be, and then leaves such short clips as they are. Re-implemented from the
    paper; there is no public code.

    Source: Hwang et al. 2024, Temporal Shuffling for Defending Deep Action Recognition Models against Adversarial Attacks,
    Algorithm 1 and section 5.2.
    """

    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True
    gradient: ClassVar[Literal["exact", "bpda", "none"]] = "exact"

    h1: int | None = param(None, help="largest displacement of a block, frames; none: the preset's", low=1)
    h2: int | None = param(None, help="frames per block that keep their order; none: the preset's", low=1)
    preset: str = param(
        "auto",
        help="model whose published h1 and h2 are taken; auto: x3d's up to 16 frames (its input), i3d's beyond",
        choices=("auto", "i3d", "slowfast", "ircsn", "x3d"),
    )
    draws: int = param(10, help="shuffles whose scores are averaged", low=1)

    def check(self, input: InputSpec) -> None:
        """Refuses blocks that no frame of the model's clips could leave.

        Raises:
            InputError: A named h2 is not less than T.
        """
        if self.h2 is not None and self.h2 >= input.frames:
            problem = f"{self.h2} frames are no less than the {input.frames} of the model's clips, so no block can move"
            remedy = f"it must be from 1 to {input.frames - 1}" if input.frames > 1 else "clips of one frame cannot be shuffled"
            raise InputError("defense shuffle: h2", problem, remedy)

    def protect(self, model: Scorer) -> Scorer:
        """The model behind one random shuffle per clip and pass."""

        def shuffled(clips: Tensor, rng: ClipRandom) -> Tensor:
            frames = clips.shape[2]
            h1, h2 = PRESETS[self.preset if self.preset != "auto" else "x3d" if frames <= 16 else "i3d"]
            order = draw_order(frames, h1 if self.h1 is None else self.h1, h2 if self.h2 is None else self.h2, rng)
            return model(reorder(clips, order), rng)

        return shuffled
