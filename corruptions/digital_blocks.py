"""Frames reduced to block means and brought back, as Pillow's box filter does it."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Counts = NDArray[np.uint32]


def pixelated(clips: Tensor, scale: float) -> Tensor:
    """Frames reduced to int(size scale) blocks a side by the mean, rounded after each direction, and blown up again.

    Args:
        clips: uint8 (..., H, W).
        scale: Below 1; at least one block must remain.

    Returns:
        uint8, of the same shape.
    """
    if clips.device.type != "cpu":
        return pixelated_torch(clips, scale)
    from .digital_kernels import blocks  # numba takes longer to import than the rest of the family together

    height, width = clips.shape[-2:]
    (rows, from_row), (columns, from_column) = layout(height, scale), layout(width, scale)
    planes = clips.contiguous().numpy().reshape(-1, height, width)
    return torch.from_numpy(blocks(planes, rows, columns, from_row, from_column)).view(clips.shape)


def pixelated_torch(clips: Tensor, scale: float) -> Tensor:
    """`pixelated` on any device."""
    for dim in (-1, -2):
        parts = layout(clips.shape[dim], scale)
        spans, source = (torch.from_numpy(part.astype(np.int64)).to(clips.device) for part in parts)
        sums = torch.nn.functional.pad(clips.movedim(dim, -1).cumsum(-1, dtype=torch.int64), (1, 0))
        means = ((sums[..., spans[1]] - sums[..., spans[0]]) * spans[2] + (1 << 21)) >> 22
        clips = means[..., source].to(torch.uint8).movedim(-1, dim)
    return clips.contiguous()


@cache
def layout(size: int, scale: float) -> tuple[Counts, Counts]:
    """Where blocks lie along one side.

    Args:
        size: Pixels of the side.
        scale: Below 1.

    Returns:
        (3, blocks): first pixel, end and 2**22 / length, rounded as in Pillow; (size,): each pixel's block.
    """
    count = int(size * scale)
    step = size / count
    # A block holds the pixels whose centre lies in it. For one on a border, rounding decides, so this computes as Pillow does.
    middle = ((np.arange(count) + 0.5) * step)[:, None]
    places = (np.arange(size) - middle + 0.5) * (1 / step)
    near = (np.arange(size) >= np.trunc(middle - step / 2 + 0.5)) & (np.arange(size) < np.trunc(middle + step / 2 + 0.5))
    held = (places > -0.5) & (places <= 0.5) & near
    start, length = held.argmax(axis=1), held.sum(axis=1)
    source = ((np.arange(size) + 0.5) * (count / size)).astype(np.uint32)
    return np.stack([start, start + length, np.rint((1 << 22) / length)]).astype(np.uint32), source
