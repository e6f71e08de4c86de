"""Square attack."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..benchmark.core.attack import Attack, Target
from ..benchmark.core.budget import Ball, check_eps, l2_norm, per_clip
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.search import Search

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Steps after which the area of the square halves (Andriushchenko et al. 2020, section 5), for any number of queries."""


@register("attack", "square")
@dataclass(frozen=True)
class Square(Attack):
    """Square attack on clips: random search with boxes of one sign, by scores alone.

    Formula: x <- x' where margin(x') < margin(x), from vertical stripes of clean +- eps. For L-inf, x' = P(x + 2 eps s) in a
    box at a random place, s = +-1 for each channel. For L2, x' moves the change of one box into another, plus a two-humped bump
    of sign s, scaled to norm eps. The box covers the share p of the clip; p starts at `p_init` and halves after 10, 50, 200, 500,
    1000, 2000, 4000, 6000 and 8000 steps.

    In clips the square becomes a box: p^(1/3) of the frames, and as much of each as makes the share p. Its values, like the
    first stripes, do not change along time. Of a one-frame clip it is the attack on images. Positions are drawn per clip, and up
    to the last row and column, as in the paper; the authors' code leaves these out.

    Source: Andriushchenko et al. 2020, Square Attack: a query-efficient black-box adversarial attack via random search, ECCV,
    algorithms 1 to 4; the schedule is not scaled to the number of queries, as in AutoAttack (Croce and Hein 2020).
    """

    version: ClassVar[int] = 1
    black_box: ClassVar[bool] = True
    reports: ClassVar[tuple[str, ...]] = ("queries",)

    norm: str = param("linf", help="norm of the budget", choices=("linf", "l2"))
    eps: float = param(4 / 255, help="budget; absolute in [0, 1] pixel units for l2", unit=PIXEL)
    queries: int = param(5000, help="queries per clip at most, with the first", low=1)
    p_init: float = param(0.8, help="share of a clip that the first boxes cover", low=0.0, high=1.0)

    def __post_init__(self) -> None:
        check_eps("attack square", self.norm, self.eps)

    @property
    def calls(self) -> tuple[int, int]:
        """No gradient calls, and the queries."""
        return 0, self.queries

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Adversarial candidates (N, C, T, H, W) of clips (N, C, T, H, W) with labels (N,)."""
        ball, search = Ball(clips, self.norm, self.eps), Search(target, clips, labels, rng, self.queries)
        start, propose = (stripes, flip) if self.norm == "linf" else (tiles, shift)
        search.ask(ball.project(self.eps * start(clips, rng) + clips))
        for step in range(self.queries):
            if not search.goes_on():
                break
            around = ball[search.rows]
            new = propose(around.clean, search.best.clips[search.rows], self.eps, self.box(step, clips.shape[2:]), search.rng)
            search.ask(around.project(new))
        return search.best.clips

    def box(self, step: int, size: tuple[int, ...]) -> tuple[int, int]:
        """Frames and side of the box at a step, for a clip of `size` (T, H, W); for L2 the side is odd, 3 at least."""
        share = self.p_init / 2 ** sum(step > after for after in HALVINGS)
        frames = max(round(size[0] * share ** (1 / 3)), 1)
        side = max(round(math.sqrt(share * math.prod(size) / frames)), 1)
        if self.norm == "l2":
            side = max(side + (side + 1) % 2, 3)
        return frames, min(side, *size[1:])


def signs(draws: Tensor) -> Tensor:
    """+1 and -1 of uniform draws in [0, 1)."""
    return torch.where(draws < 0.5, -1.0, 1.0)


def places(draws: Tensor, box: tuple[int, int], size: tuple[int, ...]) -> tuple[Tensor | slice, ...]:
    """Index of a box in each clip, which reads and writes clips (N, C, T, H, W) as (N, frames, side, side, C).

    Args:
        draws: Uniform draws (N, 3), of the first frame, row and column.
        box: Frames and side.
        size: T, H, W.
    """
    device, clip = draws.device, torch.arange(len(draws), device=draws.device).view(-1, 1, 1, 1)
    index: list[Tensor | slice] = [clip, slice(None)]
    for axis, (extent, whole) in enumerate(zip((box[0], box[1], box[1]), size, strict=True)):
        first = (draws[:, axis] * (whole - extent + 1)).long().clamp(max=whole - extent)
        shape = [-1, *(extent if other == axis else 1 for other in range(3))]
        index.append((first[:, None] + torch.arange(extent, device=device)).view(shape))
    return tuple(index)


def stripes(clips: Tensor, rng: ClipRandom) -> Tensor:
    """Vertical stripes of +1 and -1, drawn for each channel, the same in all frames, (N, C, 1, 1, W)."""
    return signs(rng.uniform((clips.shape[1], 1, 1, clips.shape[4])))


def flip(clean: Tensor, x: Tensor, eps: float, box: tuple[int, int], rng: ClipRandom) -> Tensor:
    """L-inf: in a box, each channel goes to one end of its range; `x` is overwritten."""
    draws = rng.uniform((3 + clean.shape[1],))
    index = places(draws[:, :3], box, clean.shape[2:])
    x[index] = clean[index] + eps * signs(draws[:, None, None, None, 3:])
    return x


def bump(height: int, width: int) -> Tensor:
    """A pyramid of L2 norm 1, (height, width): sum of 1/j^2, j = d+1..n+1, d steps from the middle, n half the longer side."""
    rows, columns = (torch.arange(size, dtype=torch.float64) - size // 2 for size in (height, width))
    away = torch.maximum(rows.abs()[:, None], columns.abs()).long()
    parts = 1 / torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float64) ** 2
    pyramid = parts.flip(0).cumsum(0).flip(0)[away]
    return pyramid / pyramid.norm()


def humps(side: int, device: torch.device) -> Tensor:
    """Two bumps of opposite sign, one above the other, of L2 norm 1, (side, side)."""
    half = side // 2
    both = torch.cat([bump(half, side), -bump(side - half, side)])
    return (both / both.norm()).float().to(device)


def tiles(clips: Tensor, rng: ClipRandom) -> Tensor:
    """A grid of humps, five along the shorter side, the same in all frames, of L2 norm 1 per clip, (N, C, T, H, W)."""
    height, width = clips.shape[3:]
    side = max(1, min(height, width) // 5)
    rows, columns = height // side, width // side
    hump = humps(side, rng.device)
    turned = rng.uniform((rows, 1, columns, 1)) < 0.5
    sign = signs(rng.uniform((clips.shape[1], rows, 1, columns, 1)))
    grid = torch.where(turned, hump[:, None, :], hump.T[:, None, :])[:, None] * sign
    delta = torch.zeros_like(clips)
    top, left = (height - rows * side) // 2, (width - columns * side) // 2
    delta[..., top : top + rows * side, left : left + columns * side] = grid.flatten(2, 3).flatten(3, 4)[:, :, None]
    return delta / per_clip(l2_norm(delta))


def shift(clean: Tensor, x: Tensor, eps: float, box: tuple[int, int], rng: ClipRandom) -> Tensor:
    """L2: takes the change out of one box, and puts it, with what the budget has left, into another; `x` is overwritten."""
    draws = rng.uniform((7 + clean.shape[1],))
    into, out = (places(part, box, clean.shape[2:]) for part in (draws[:, :3], draws[:, 3:6]))
    delta = x.sub_(clean)
    left = (eps**2 - l2_norm(delta) ** 2).clamp_min(0).view(-1, 1, 1, 1, 1) / clean.shape[1]
    old = delta[into]
    held = _energy(old)
    delta[into] = 0
    moved = _energy(delta[out])
    delta[out] = 0
    hump = humps(box[1], x.device)
    turned = (draws[:, 6] < 0.5).view(-1, 1, 1)
    hump = torch.where(turned, hump, hump.T)[:, None, :, :, None] / math.sqrt(box[0])
    new = hump * signs(draws[:, None, None, None, 7:]) + old / held.sqrt().clamp_min(1e-12)
    delta[into] = new * ((held + moved + left) / _energy(new).clamp_min(1e-24)).sqrt()
    return delta.mul_(per_clip(eps / l2_norm(delta).clamp_min(1e-12))).add_(clean)


def _energy(box: Tensor) -> Tensor:
    """Sum of squares of each channel of boxes (N, frames, side, side, C), as (N, 1, 1, 1, C)."""
    return box.square().sum(dim=(1, 2, 3), keepdim=True)
