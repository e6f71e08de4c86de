"""Paths of a camera over the frames of a clip. They are made on the CPU, so that every device sees the same."""

import math

import torch
from torch import Tensor

from ..benchmark.core.rng import ClipRandom

USUAL_RATE = 25.0
"""Frames per second of clips whose rate is unknown."""

SWAY = 0.5
"""Frequency of slow motion, Hz: a clip of two seconds sees one period."""

SINUSOIDS = 6
BAND = (1.0, 8.0)
"""Frequencies of a shaking hand, Hz."""


def sway(rng: ClipRandom, axes: int, frames: int, rate: float) -> Tensor:
    """Slow motion: sin(2 pi (SWAY t / rate + phase)) with one random phase per clip and axis, (N, frames, axes) in [-1, 1]."""
    phases = rng.uniform((1, axes)).cpu().double()
    return torch.sin(2 * math.pi * (_seconds(frames, rate)[:, None] * SWAY + phases))


def wandering(mode: str, low: int, high: int, rng: ClipRandom, axes: int, frames: int, rate: float) -> Tensor:
    """Positions between two bounds.

    Args:
        mode: `iid` and `static`: whole numbers from `low` to `high`, all equally likely; `drift`: `sway` between them.
        low: The lower bound.
        high: The upper bound.
        rng: The clips' streams.
        axes: Independent positions per clip.
        frames: Frames of a clip.
        rate: Frames per second.

    Returns:
        float64 (N, frames, axes), or (N, 1, axes) for `static`.
    """
    if mode == "drift":
        return (low + high) / 2 + (high - low) / 2 * sway(rng, axes, frames, rate)
    draws = rng.uniform((frames if mode == "iid" else 1, axes)).cpu().double()
    return (low + draws * (high - low + 1)).floor()


def shaking(rng: ClipRandom, axes: int, frames: int, rate: float, draws: int) -> Tensor:
    """A shaking hand: sums of sinusoids between 1 and 8 Hz, of a root mean square of 1 over all draws.

    Each axis has SINUSOIDS of them, with one frequency from each of as many equal parts of the band's logarithm, an amplitude
    that falls with 1 / frequency, and a uniform phase.

    Args:
        rng: The clips' streams.
        axes: Independent paths per clip.
        frames: Frames of a clip.
        rate: Frames per second.
        draws: 1: one path; `frames`: every frame shows the first position of its own path.

    Returns:
        float64 (N, draws or frames, axes).
    """
    draw = rng.uniform((draws, axes, SINUSOIDS, 2)).cpu().double()
    place = (torch.arange(SINUSOIDS) + draw[..., 0]) / SINUSOIDS
    frequencies = BAND[0] * (BAND[1] / BAND[0]) ** place
    weights = 1 / frequencies
    weights = weights * (2 / weights.square().sum(dim=-1, keepdim=True)).sqrt()
    times = _seconds(frames, rate) if draws == 1 else torch.zeros(1, dtype=torch.float64)
    angles = 2 * math.pi * (frequencies * times[:, None, None] + draw[..., 1])
    return (weights * angles.sin()).sum(dim=-1)


def _seconds(frames: int, rate: float) -> Tensor:
    return torch.arange(frames, dtype=torch.float64) / (rate or USUAL_RATE)
