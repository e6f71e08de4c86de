"""GEO-TRAP."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..benchmark.core.attack import Attack, Target
from ..benchmark.core.budget import Ball, check_eps, frame_norms, per_clip
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.search import Search
from .flicker import smoothed_margin


@register("attack", "geotrap")
@dataclass(frozen=True)
class GeoTrap(Attack):
    """GEO-TRAP: gradient estimation by scores along one noise frame that moves through the clip by random transformations.

    Formula: r_t = warp(r; A_t) for frames t = 1..T, with one frame r ~ N(0, 1) and transformations A_t ~ N(0, 1);
    d = [l(x + u(g + delta r)) - l(x + u(g - delta r))] / (delta * probe), u scales each frame to L2 norm `probe`;
    g <- g + eta * d * r; x <- P(x + step * sign(g)), from the clean clip and g = 0. Loss: l = -max(0, min(v^2/m, v)),
    v = p_y - max_{j != y} p_j + m of the probabilities p, m = .05. Three queries make a step: two probes and the new clip.

    Probes are brought into the budget too, so that what a query solves is an adversarial clip; in the authors' code they may
    lie outside, and pixels outside the pixel range. Its values 10 of 255 and .025 * 255 are 10/255 and .025 here. The published
    cap is 60000 queries; the default is 5000, so success rates at the default are not the paper's.

    Source: Li et al. 2021, Adversarial Attacks on Black Box Video Classifiers: Leveraging the Power of Geometric
    Transformations, NeurIPS, arXiv 2110.01823, sections 3 and 4.
    """

    version: ClassVar[int] = 1
    black_box: ClassVar[bool] = True
    reports: ClassVar[tuple[str, ...]] = ("queries",)

    norm: str = param("linf", help="norm of the budget", choices=("linf",))
    eps: float = param(10 / 255, help="budget", unit=PIXEL)
    queries: int = param(5000, help="queries per clip at most", low=1)
    step: float = param(0.025, help="step size", unit=PIXEL, low=0.0)
    transform: str = param(
        "translation-dilation",
        help="how the noise frame moves: 3 numbers per frame, or 6",
        choices=("translation-dilation", "affine"),
    )
    probe: float = param(0.1, help="L2 norm of a probe's frame, in [0, 1] pixel units", low=0.0)
    delta: float = param(0.1, help="weight of the noise in a probe, beside the gradient estimate", low=0.0)
    eta: float = param(0.1, help="weight of a new estimate in the gradient estimate", low=0.0)

    def __post_init__(self) -> None:
        check_eps("attack geotrap", self.norm, self.eps)

    @property
    def calls(self) -> tuple[int, int]:
        """No gradient calls, and the queries."""
        return 0, self.queries

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Adversarial candidates (N, C, T, H, W) of clips (N, C, T, H, W) with labels (N,)."""
        ball, search = Ball(clips, self.norm, self.eps), Search(target, clips, labels, rng, self.queries, smoothed_margin)
        x, g = clips.clone(), torch.zeros_like(clips)
        while search.goes_on():
            rows = search.rows
            around, noise = ball[rows], warped_noise(clips[rows], self.transform, search.rng)
            ends = [x[rows] + self._probe(g[rows] + sign * self.delta * noise) for sign in (1, -1)]
            slope = search.contrast(*(around.project(end) for end in ends)) / max(self.delta * self.probe, 1e-12)
            g[rows] += self.eta * per_clip(slope) * noise
            x[rows] = around.project(x[rows] + self.step * g[rows].sign())
            if search.left:
                search.ask(x[rows])
        return x if target.stochastic else search.best.clips

    def _probe(self, change: Tensor) -> Tensor:
        """The change with each frame scaled to L2 norm `probe`; frames of zeros stay."""
        return change * (self.probe / frame_norms(change).clamp_min(1e-12))[:, None, :, None, None]


def warped_noise(clips: Tensor, transform: str, rng: ClipRandom) -> Tensor:
    """One noise frame per clip, seen through another random transformation in each frame, zero outside, (N, C, T, H, W).

    Args:
        clips: Give the shape, (N, C, T, H, W).
        transform: `translation-dilation` (one scale and two shifts) or `affine` (six numbers), each N(0, 1), in half frames.
        rng: The clips' streams.
    """
    count, channels, frames, height, width = clips.shape
    noise = rng.normal((channels, height, width)).repeat_interleave(frames, dim=0)
    if transform == "affine":
        matrix = rng.normal((frames, 2, 3))
    else:
        numbers = rng.normal((frames, 3))
        matrix = torch.zeros(count, frames, 2, 3, device=numbers.device)
        matrix[:, :, 0, 0] = matrix[:, :, 1, 1] = numbers[:, :, 0]
        matrix[:, :, :, 2] = numbers[:, :, 1:]
    grid = F.affine_grid(matrix.flatten(0, 1), list(noise.shape), align_corners=True)
    return F.grid_sample(noise, grid, align_corners=True).view(count, frames, channels, height, width).transpose(1, 2)
