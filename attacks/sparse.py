"""Changes of few frames, small in the sum of the frames' norms."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..benchmark.core.attack import Attack, Target
from ..benchmark.core.best import Best
from ..benchmark.core.budget import Limits, check_eps, frame_norms, norm_of, onto_simplex
from ..benchmark.core.errors import InputError
from ..benchmark.core.interfaces import InputSpec
from ..benchmark.core.masks import frame_mask
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.pattern import Adam, Search, ascend_pattern
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom

START = 0.01 / 255
"""The change that the search starts from, everywhere: at 0 the norm of a frame has no gradient."""


def unlikely(logits: Tensor, labels: Tensor) -> Tensor:
    """log(1 - p_y), to be maximised: from the scores of the other classes, so that a sure model still has a gradient."""
    others = torch.arange(logits.shape[1], device=logits.device) != labels[:, None]
    return logits.masked_fill(~others, -torch.inf).logsumexp(dim=1) - logits.logsumexp(dim=1)


def evenly(frames: int, count: int) -> list[int]:
    """Positions of `count` frames among `frames`: the centres of equal segments."""
    return [int((number + 0.5) * frames / count) for number in range(count)]


@register("attack", "sparse")
@dataclass(frozen=True)
class Sparse(Attack):
    """Sparse perturbation: few frames, the smallest L2,1 norm that fools.

    Formula: x = clip(clean + M E, 0, 1) with E (C, T, H, W) and a mask M of the frames that may change; Adam goes down
    lambda * sum over t of rms(M E_t) - log(1 - prob_y), where rms is a frame's root mean square, so that lambda means the same
    at every resolution. Of the iterates that fool, the one with the smallest L2,1 norm (sum over frames of their L2 norms,
    absolute over the clip in [0, 1]) counts, so no clip leaves before the last step; no change has more than `eps`. The frames
    are the centres of equal segments of the clip; those between them are reached by what the network remembers.

    The budget counts every pixel: a change of 1/255 everywhere is 1.5 per frame of 224x224, 0.4 of 64x64. The other defaults are
    those of the public port, which has no budget; E is each clip's own and not carried on to the next.

    Source: Wei et al. 2019, Sparse Adversarial Perturbations for Videos, Eq. 1 to 4.
    """

    version: ClassVar[int] = 1
    reports: ClassVar[tuple[str, ...]] = ("frames",)

    norm: str = param("l21", help="norm of the budget", choices=("l21",))
    eps: float = param(20.0, help="largest sum of the frames' L2 norms, in [0, 1] pixel units", low=0)
    frames: int | None = param(None, help="frames that may change, evenly spread; none: all", low=1)
    steps: int = param(100, help="Adam steps", low=1)
    step: float = param(0.001, help="Adam's step size", unit=PIXEL, low=0)
    weight: float = param(1.0, help="lambda, the weight of the norm against fooling", low=0)

    def __post_init__(self) -> None:
        check_eps("attack sparse", self.norm, self.eps)

    @property
    def limits(self) -> Limits:
        """The frames that may change."""
        return Limits(frames=self.frames)

    def check(self, input: InputSpec, classes: int) -> None:
        """Refuses more frames than the clips have.

        Raises:
            InputError: There are fewer.
        """
        self._positions(input.frames)

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Adversarial candidates (N, C, T, H, W) of clips (N, C, T, H, W) with labels (N,)."""
        positions = torch.tensor(self._positions(clips.shape[2]), device=clips.device)
        chosen = frame_mask(clips, positions.expand(len(clips), -1))[:, 0, :, 0, 0]
        best, root = Best(clips), (clips[0, :, 0].numel()) ** 0.5

        def bound(theta: Tensor) -> Tensor:
            sizes = frame_norms(theta) * chosen
            return theta * _frames(chosen * onto_simplex(sizes, self.eps) / sizes.clamp_min(1e-12))

        search = Search(
            unlikely,
            self.steps,
            Adam(self.step),
            bound=bound,
            pull=lambda theta: theta * _frames(self.weight / root / frame_norms(theta).clamp_min(1e-12)),
        )
        start = bound(torch.full_like(clips, START))
        ascend_pattern(target, clips, labels, rng, best, start, search, size=lambda change: norm_of("l21", change))
        return best.clips

    def _positions(self, frames: int) -> list[int]:
        if self.frames is not None and self.frames > frames:
            problem = f"{self.frames} is more than the clip's {frames} frames"
            raise InputError("attack sparse: frames", problem, f"it must be from 1 to {frames}")
        return evenly(frames, self.frames or frames)


def _frames(values: Tensor) -> Tensor:
    """Numbers per frame (N, T) that broadcast to clips."""
    return values[:, None, :, None, None]
