"""From decoded frames to the model's input size. The same for every model, so that budgets hold on the same pixels."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional

from ..core.errors import InputError
from ..core.interfaces import InputSpec


def check(spec: InputSpec) -> None:
    """Refuses an input that no video can be brought to.

    Raises:
        InputError: The crop is below 1 pixel or larger than the resized frames, or the way of resizing is unknown.
    """
    if spec.resize not in _SIZES:
        raise InputError("input: resize", f"{spec.resize!r} is unknown", f"choose from {', '.join(_SIZES)}")
    if spec.size < 1 or spec.size > spec.short_side:
        problem = f"a crop of {spec.size} does not fit a short side of {spec.short_side}"
        raise InputError("input: size", problem, "it must be from 1 to short_side")
    if spec.resize == "stretch" and spec.size > spec.long_side:
        raise InputError("input: long_side", f"a crop of {spec.size} does not fit a width of {spec.long_side}")


def to_input(frames: NDArray[np.uint8], spec: InputSpec) -> Tensor:
    """Resized as `spec.resize` says, then the centre square of `spec.size`.

    Works on uint8, as the reference codes do. `antialias` and `bilinear` bring the short side to `spec.short_side` and keep the
    aspect; the other side is rounded down (torchvision, as TSM uses it) or to the nearest (mmcv), and so is the crop's corner.
    Frames that already fit are not resized, so their pixels stay.

    Args:
        frames: uint8 (T, H, W, 3), RGB.
        spec: The model's input.

    Returns:
        uint8 (3, T, size, size), RGB, contiguous.

    Raises:
        InputError: The crop does not fit.
    """
    check(spec)
    clip = torch.from_numpy(frames).permute(0, 3, 1, 2)
    size = _SIZES[spec.resize](*clip.shape[-2:], spec)
    if list(clip.shape[-2:]) != size:
        # Channels first in memory too: torch's native uint8 resize wants it for batches.
        clip = functional.resize(clip.contiguous(), size, antialias=spec.resize == "antialias")
    if spec.resize == "bilinear":  # mmcv's corner; torchvision's differs where the margin is odd
        top, left = ((side - spec.size) // 2 for side in size)
        clip = clip[..., top : top + spec.size, left : left + spec.size]
    else:
        clip = functional.center_crop(clip, [spec.size, spec.size])
    return clip.transpose(0, 1).contiguous()


def resized(clips: Tensor, size: int) -> Tensor:
    """Square clips uint8 (N, 3, T, H, H) at another size (N, 3, T, size, size), antialiased; as they are where it is the same."""
    if clips.shape[-1] == size:
        return clips
    return functional.resize(clips.flatten(1, 2), [size, size], antialias=True).unflatten(1, clips.shape[1:3])


def _floored(height: int, width: int, spec: InputSpec) -> list[int]:
    short = min(height, width)
    return [side if short == spec.short_side else int(spec.short_side * side / short) for side in (height, width)]


def _rounded(height: int, width: int, spec: InputSpec) -> list[int]:
    return [int(side * (spec.short_side / min(height, width)) + 0.5) for side in (height, width)]


_SIZES = {"antialias": _floored, "bilinear": _rounded, "stretch": lambda height, width, spec: [spec.short_side, spec.long_side]}
