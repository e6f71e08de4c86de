"""Rain: thin light lines through which the scene is seen blurred, under a sky that takes contrast away."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .weather_motion import RAIN_FAR, RAIN_NEAR, chunks, moved, travel

SLANT = -1
"""How far to the right a line ends of where it begins, pixels."""

LEVEL = 220
"""Grey level of the lines."""


def rain_drops(draws: NDArray[np.float32], height: int, width: int, length: int) -> NDArray[np.int64]:
    """Where the lines of a frame begin.

    Args:
        draws: From [0, 1), one for the slant and then two per line, (1 + 2 * lines,).
        height: Of the frame.
        width: Of the frame.
        length: Of the lines, pixels; in a lower frame all begin at its top.

    Returns:
        Columns and rows, (lines, 2).
    """
    slant = int(draws[0] * 20) - 10
    first, last = min(slant, 0), max(width - max(slant, 0), 1)
    columns = first + np.floor(draws[1::2] * (last - first))
    rows = np.floor(draws[2::2] * max(height - length, 1))
    return np.stack([columns, rows], 1).astype(np.int64)


def rain_mask(drops: NDArray[np.int64], height: int, width: int, length: int) -> Tensor:
    """The lines from `drops` on, uint8 (H, W)."""
    mask = np.zeros((height, width), dtype=np.uint8)
    for column, row in drops.tolist():
        cv2.line(mask, (column, row), (column + SLANT, row + length), LEVEL, 1)
    return torch.from_numpy(mask)


def falling_rain(draws: NDArray[np.float32], length: int, shape: Sequence[int], rate: float) -> Iterator[Tensor]:
    """Lines that fall along themselves, on a torus; every second one is farther away and slower.

    Args:
        draws: From [0, 1), two per line, (2 * lines,).
        length: Of the lines, pixels.
        shape: Frames, height and width.
        rate: Frames per second.

    Yields:
        uint8 (F, H, W).
    """
    frames, height, width = shape
    drops = np.floor(draws.reshape(-1, 2) * np.array([width, height])).astype(np.int64)
    near, far = (_on_torus(part, height, width, length) for part in (drops[::2], drops[1::2]))
    for part in chunks(frames, height * width):
        fast, slow = (travel(part, speed, height, rate) for speed in (RAIN_NEAR, RAIN_FAR))
        seen = moved(near, fast, fast * (SLANT / length), height, width)
        yield torch.maximum(seen, moved(far, slow, slow * (SLANT / length), height, width))


def _on_torus(drops: NDArray[np.int64], height: int, width: int, length: int) -> Tensor:
    tall, wide = -(-(height + length + 1) // height) * height, 2 * width
    mask = rain_mask(drops + np.array([width, 0]), tall, wide, length)
    return mask.view(-1, height, 2, width).amax(2).amax(0)


def rained(pixels: Tensor, mask: Tensor, contrast: float) -> Tensor:
    """Frames in the rain.

    Args:
        pixels: Grey levels, float32 (3, frames, H, W), which are overwritten.
        mask: Grey levels of the lines, float32 (frames, H, W).
        contrast: What is left of it.

    Returns:
        Grey levels, not yet clipped.
    """
    share = mask / 255
    light = 1 - pixels.mean((0, 2, 3)) / 255
    wet = (255 - pixels).mul_(share * light[:, None, None]).floor_().add_(pixels)
    wide = F.pad(wet, (1, 1, 1, 1), mode="reflect")
    tall = (wide[..., :-2] + wide[..., 1:-1]).add_(wide[..., 2:])
    box = (tall[..., :-2, :] + tall[..., 1:-1, :]).add_(tall[..., 2:, :]).div_(9).round_()
    scene = pixels.lerp_(box, share)
    means = scene.mean((2, 3), keepdim=True)
    return scene.sub_(means).mul_(contrast).add_(means)
