"""The blurs as tensor operations, for devices on which the loops of `blur_loops` do not run.

Sums are written out term by term: a convolution may use fewer bits of its inputs on a GPU.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def separable(planes: Tensor, half: Sequence[float]) -> Tensor:
    """A symmetric kernel, given from its middle outwards, along both sides of planes (M, H, W); float32; the edge repeats."""
    for axis in (1, 2):
        places = torch.arange(planes.shape[axis], device=planes.device)
        total = planes * half[0]
        for i, weight in enumerate(half[1:], start=1):
            before, after = (places - i).clamp_min(0), (places + i).clamp_max(len(places) - 1)
            total.add_(planes.index_select(axis, before).float() + planes.index_select(axis, after), alpha=weight)
        planes = total
    return planes


def weighted(planes: Tensor, rows: Tensor, columns: Tensor, terms: Sequence[tuple[int, int, float]]) -> Tensor:
    """A kernel over planes (M, H, W); float32.

    Args:
        planes: uint8.
        rows: The plane's row behind each row of the padded plane, shape (H + 2 R,).
        columns: Likewise, shape (W + 2 R,).
        terms: Row and column from the kernel's corner, weight.
    """
    height, width = planes.shape[1:]
    padded = planes.index_select(1, rows).index_select(2, columns).float()
    total = torch.zeros(planes.shape, device=planes.device)
    for y, x, weight in terms:
        total.add_(padded[:, y : y + height, x : x + width], alpha=weight)
    return total


def motion(planes: Tensor, weights: Sequence[float], down: Tensor, right: Tensor) -> Tensor:
    """`blur_loops.motion`, returning float32 (M, H, W)."""
    height, width = planes.shape[1:]
    plane = torch.arange(len(planes), device=planes.device)[:, None, None]
    blurred = torch.zeros(planes.shape, device=planes.device)
    for weight, rows, columns in zip(weights, down.T.to(planes.device), right.T.to(planes.device), strict=True):
        rows = (torch.arange(height, device=planes.device) + rows[:, None]).clamp(0, height - 1)
        columns = (torch.arange(width, device=planes.device) + columns[:, None]).clamp(0, width - 1)
        blurred.add_(planes[plane, rows[:, :, None], columns[:, None, :]], alpha=weight)
    return blurred


def spread(codes: Tensor, steps: Tensor, margin: int, height: int, width: int) -> Tensor:
    """`blur_loops.spread` without its order: int64 (M, H, W), the pixel that ends up at each place.

    A pixel takes over its neighbour's new value where that one comes before it (it lies further on) and is moved itself;
    else the old one. So what it gets is found by following neighbours, and all pixels follow at once, in doubling steps.
    """
    device = codes.device
    place = torch.arange(height * width, device=device).view(height, width)
    inside = torch.zeros((height, width), dtype=torch.bool, device=device)
    inside[margin + 1 : height - margin + 1, margin + 1 : width - margin + 1] = True
    sources = place.flatten().expand(len(codes), -1)
    for step in steps:
        target = place.expand(len(codes), -1, -1).clone()
        target[:, inside] += step[codes.flatten(1).long()]
        target = target.flatten(1)
        moved = inside.flatten().expand(len(codes), -1)
        follow = moved & inside.flatten()[target] & (target > place.flatten())
        while follow.any():
            target, follow = target.where(~follow, target.gather(1, target)), follow & follow.gather(1, target)
        sources = sources.gather(1, target)
    return sources.view(-1, height, width)


def zooms(planes: Tensor, factors: Sequence[float], crops: Sequence[Sequence[int]]) -> Tensor:
    """The mean of planes (M, H, W), twice, and of their bilinear enlargements; float32.

    Args:
        planes: uint8.
        factors: How much larger each becomes.
        crops: Rows, and columns, of the part in the middle that each enlarges.
    """
    height, width = planes.shape[1:]
    total = planes.float() * 2
    for factor, tall, wide in zip(factors, *crops, strict=True):
        top, left = (height - tall) // 2, (width - wide) // 2
        part = planes[None, :, top : top + tall, left : left + wide].float()
        large = F.interpolate(part, (round(tall * factor), round(wide * factor)), mode="bilinear", align_corners=True)[0]
        top, left = (large.shape[1] - height) // 2, (large.shape[2] - width) // 2
        total += large[:, top : top + height, left : left + width]
    return total / (len(factors) + 2)
