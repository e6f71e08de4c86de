"""The blurs of planes: loops on the CPU, tensor operations elsewhere, within one grey level of each other."""

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import blur_torch

HAIR = 2e-4
"""Grey levels added before cutting: float32 sums fall short of a whole number by up to 1e-4, and even areas would darken."""

ONE = 1 << 22
"""1 in the whole numbers that the disc's weights are counted in."""


def planes_of(clips: Tensor) -> Tensor:
    """Clips (N, 3, T, H, W) as planes (N * 3 * T, H, W), contiguous."""
    return clips.contiguous().view(-1, *clips.shape[3:])


def gaussian(planes: Tensor, sigma: float, truncate: bool) -> Tensor:
    """Gaussian blur as scikit-image's: cut at int(4 sigma + 0.5) pixels, the edge repeated.

    Args:
        planes: uint8 (M, H, W).
        sigma: Standard deviation, pixels.
        truncate: Cut to whole levels instead of rounding.

    Returns:
        uint8 of the same shape.
    """
    half = np.exp(-(np.arange(int(4 * sigma + 0.5) + 1) ** 2) / (2 * sigma**2))
    half = (half / (2 * half.sum() - half[0])).astype(np.float32)
    lift = HAIR if truncate else 0.5
    if not looped(planes):
        return (blur_torch.separable(planes, half.tolist()) + lift).to(torch.uint8)
    from .blur_loops import separable

    blurred = torch.empty_like(planes)
    separable(planes.numpy(), half, lift, blurred.numpy())
    return blurred


def defocus(planes: Tensor, kernel: NDArray[np.float32], truncate: bool) -> Tensor:
    """Planes through a square kernel, flat but for its rim and the same upside down; the border is mirrored at its last pixel.

    Args:
        planes: uint8 (M, H, W).
        kernel: (2 R + 1, 2 R + 1), weights of at least 0 that add up to at most 2.
        truncate: Cut to whole levels instead of rounding.

    Returns:
        uint8 of the same shape.
    """
    weights, reach = np.rint((kernel + kernel[::-1]).astype(np.float64) * (ONE // 2)).astype(np.int64), len(kernel) // 2
    rows, columns = (mirrored(side, reach) for side in planes.shape[1:])
    lift = 0 if truncate else ONE // 2
    if not looped(planes):
        terms = [(y, x, weight / ONE) for y, x, weight in _terms(weights).tolist()]
        down, right = (torch.from_numpy(index).to(planes.device) for index in (rows, columns))
        return (blur_torch.weighted(planes, down, right, terms) + lift / ONE).clamp_max_(255).to(torch.uint8)
    from .blur_loops import disc

    framed = np.pad(weights, ((1, 1), (0, 0)))
    change = _terms((framed[:-1] - framed[1:]).clip(min=0))
    blurred = torch.empty_like(planes)
    disc(planes.numpy(), mirrored(planes.shape[1], reach + 1)[:-1], columns, _terms(weights), change, lift, blurred.numpy())
    return blurred


def soft_disc(radius: float, sigma: float) -> NDArray[np.float32]:
    """A disc of pixels that adds up to 1, softened on its grid, whose mirroring border may add to it."""
    reach, side = (8, 3) if radius <= 8 else (int(radius), 5)
    places = np.arange(-reach, reach + 1)
    flat = (places**2 + places[:, None] ** 2 <= radius**2).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(flat / flat.sum(), (side, side), sigma), np.float32)


def mirrored(length: int, pad: int) -> NDArray[np.int64]:
    """Where each place of a line with `pad` more at both ends is read: mirrored at the last pixels, which are not repeated."""
    period = max(2 * (length - 1), 1)
    places = np.arange(-pad, length + pad) % period
    return np.minimum(places, period - places) if length > 1 else np.zeros_like(places)


def _terms(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row, column and weight of what is not 0, in order of weight."""
    rows, columns = np.nonzero(weights)
    values = weights[rows, columns]
    return np.stack((rows, columns, values), axis=1)[np.argsort(values, kind="stable")]


def shuffled(planes: Tensor, codes: Tensor, steps: NDArray[np.int32], margin: int) -> Tensor:
    """Planes whose pixels took over neighbours', see `GlassBlur`.

    Args:
        planes: uint8 (N * 3 * T, H, W).
        codes: int16 (N, T or 1, H - 2 margin, W - 2 margin).
        steps: (sweeps, codes), how far in memory the neighbour is that a code means in each sweep.
        margin: Furthest neighbour, pixels.

    Returns:
        uint8 of the same shape.
    """
    height, width = planes.shape[1:]
    clips, draws = codes.shape[:2]
    frames = len(planes) // (3 * clips)
    flat, drawn = planes.view(-1, height * width), codes.flatten(0, 1)
    if not looped(planes):
        sources = blur_torch.spread(drawn, torch.from_numpy(steps).to(planes.device), margin, height, width)
        places = sources.view(clips, 1, draws, -1).expand(-1, 3, frames, -1).flatten(0, 2)
        return flat.gather(1, places).view(planes.shape)
    from .blur_loops import gather, spread

    sources = torch.empty((len(drawn), height, width), dtype=torch.int32)
    spread(drawn.contiguous().numpy(), steps, margin, sources.numpy())
    moved = torch.empty_like(flat)
    gather(flat.numpy(), sources.flatten(1).numpy(), frames // draws, frames, moved.numpy())
    return moved.view(planes.shape)


def motion_blur_frames(planes: Tensor, radius: int, sigma: float, angles_deg: Tensor) -> Tensor:
    """Motion blur as ImageMagick's: a one-sided Gaussian along a line of 2 * radius + 1 pixels; the edge repeats.

    Args:
        planes: uint8 or float32, (M, H, W) or (M, C, H, W).
        radius: Half the length of the line, pixels.
        sigma: Standard deviation of the Gaussian, pixels.
        angles_deg: Direction of each plane's line, degrees, shape (M,): 0 reads to the right, 90 downwards.

    Returns:
        float32 of the same shape, in the input's range: the weights add up to 1.
    """
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).astype(np.float32)
    turns = np.deg2rad(angles_deg.cpu().double().numpy())[:, None]
    down, right = (np.ceil(steps * part - 0.5).astype(np.int64) for part in (np.sin(turns), np.cos(turns)))
    if planes.ndim == 4:
        down, right = (offsets.repeat(planes.shape[1], axis=0) for offsets in (down, right))
    flat = planes.reshape(-1, *planes.shape[-2:]).contiguous()
    if not looped(planes):
        return blur_torch.motion(flat, weights.tolist(), torch.from_numpy(down), torch.from_numpy(right)).view(planes.shape)
    from .blur_loops import motion

    blurred = torch.empty(flat.shape)
    motion(flat.numpy(), weights, down, right, blurred.numpy())
    return blurred.view(planes.shape)


def zoomed(planes: Tensor, factors: list[float], truncate: bool) -> Tensor:
    """The mean of planes, twice, and of their enlargements about the middle, bilinear and from corner to corner.

    Args:
        planes: uint8 (M, H, W).
        factors: How much larger each becomes, above 1.
        truncate: Cut to whole levels instead of rounding.

    Returns:
        uint8 of the same shape.
    """
    lift = HAIR if truncate else 0.5
    if not looped(planes):
        return (blur_torch.zooms(planes, factors, [_crops(side, factors) for side in planes.shape[1:]]) + lift).to(torch.uint8)
    from .blur_loops import zooms

    (rows, down), (columns, right) = (_between(side, factors) for side in planes.shape[1:])
    blurred, flat = np.empty(planes.shape, np.uint8), planes.flatten(1).numpy()
    for start in range(0, len(planes), 48):  # as many as the cache holds around one row
        part = slice(start, start + 48)
        stack = cv2.transpose(flat[part]).reshape(*planes.shape[1:], -1)
        made = np.empty_like(stack)
        zooms(stack.astype(np.float32), rows, down, columns, right, lift, made)
        cv2.transpose(made.reshape(len(flat[0]), -1), dst=blurred[part].reshape(-1, len(flat[0])))
    return torch.from_numpy(blurred)


def _crops(length: int, factors: list[float]) -> list[int]:
    return [math.ceil(length / factor) for factor in factors]


def _between(length: int, factors: list[float]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each factor and pixel of an enlargement the two pixels that it lies between, and how far from the first."""
    ends, shares = np.empty((len(factors), length, 2), np.int64), np.empty((len(factors), length), np.float32)
    for row, (factor, crop) in enumerate(zip(factors, _crops(length, factors), strict=True)):
        large = round(crop * factor)
        places = ((large - length) // 2 + np.arange(length)) * (crop - 1) / max(large - 1, 1)
        first = np.minimum(places.astype(np.int64), max(crop - 2, 0))
        ends[row] = (length - crop) // 2 + np.stack((first, np.minimum(first + 1, crop - 1)), axis=1)
        shares[row] = places - first
    return ends, shares


def looped(planes: Tensor) -> bool:
    """Whether the loops can take them: they lie on the CPU."""
    return planes.device.type == "cpu"
