"""Plasma fractals by the diamond-square rule on a torus: the density of fog."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..benchmark.core.rng import ClipRandom
from .weather_motion import FOG_PERIOD, FOG_SLIDE, USUAL_RATE, chunks, moved, travel


def plasma(noise: Tensor, size: int, decay: float) -> Tensor:
    """Plasma fractals, which go on seamlessly across their borders.

    Args:
        noise: Draws from [-1, 1), shape (M, size * size - 1), in the order in which the rule needs them: for each level, coarse
            to fine, the centres of the squares, then the middles of their upper sides, then those of their left sides.
        size: Side in pixels, a power of two.
        decay: By what the height of the draws is divided from level to level; the smaller, the rougher.

    Returns:
        (M, size, size), each scaled to 0..1. Source: the reference code of ImageNet-C, whose draws are `wibble * U(-wibble,
        wibble)` with `wibble` 100 at first, that is `wibble` squared times the noise.
    """
    field = noise.new_zeros(len(noise), 1, 1)
    wibble, used = 100.0, 0
    while field.shape[1] < size:
        cells = field.shape[1]
        drawn = noise[:, used : used + 3 * cells**2].view(-1, 3, cells, cells)
        finer = noise.new_empty(len(noise), 2 * cells, 2 * cells)
        across, down = field + field.roll(-1, 2), field + field.roll(-1, 1)
        centres = (down + down.roll(-1, 2)).mul_(0.25).add_(drawn[:, 0], alpha=wibble**2)
        upper = across.add_(centres).add_(centres.roll(1, 1)).mul_(0.25).add_(drawn[:, 1], alpha=wibble**2)
        left = down.add_(centres).add_(centres.roll(1, 2)).mul_(0.25).add_(drawn[:, 2], alpha=wibble**2)
        finer[:, ::2, ::2], finer[:, ::2, 1::2], finer[:, 1::2, ::2], finer[:, 1::2, 1::2] = field, upper, left, centres
        field, used, wibble = finer, used + 3 * cells**2, wibble / decay
    low, high = field.amin((1, 2), keepdim=True), field.amax((1, 2), keepdim=True)
    return field.sub_(low).div_(high - low)


def sliding_fog(stream: ClipRandom, shape: Sequence[int], size: int, decay: float, rate: float) -> Iterator[Tensor]:
    """Fog that slides to one side and changes as it does.

    Args:
        stream: Of one clip.
        shape: Frames, height and width.
        size: As of `plasma`.
        decay: Likewise.
        rate: Frames per second.

    Yields:
        Density in 0..1, (F, H, W).
    """
    frames, height, width = shape
    phases = stream.uniform((size**2 - 1,))[0]
    way = 1 if stream.uniform(()).item() < 0.5 else -1
    for part in chunks(frames, size**2):
        moments = torch.arange(part.start, part.stop, device=phases.device)[:, None] / (FOG_PERIOD * (rate or USUAL_RATE))
        noise = ((phases + moments) % 1).sub_(0.5).abs_().mul_(4).sub_(1)  # up and down at a steady pace: uniform at any moment
        right = way * travel(part, FOG_SLIDE, width, rate)
        fields = zip(plasma(noise, size, decay), right, strict=True)
        yield torch.cat([moved(field, torch.zeros(1), step[None], height, width) for field, step in fields])
