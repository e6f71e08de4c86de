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
        InputError: The crop is below 1 pixel, or larger than the short side.
    """
    if spec.size < 1 or spec.size > spec.short_side:
        problem = f"a crop of {spec.size} does not fit a short side of {spec.short_side}"
        raise InputError("input: size", problem, "it must be from 1 to short_side")


def to_input(frames: NDArray[np.uint8], spec: InputSpec) -> Tensor:
    """Short side to `spec.short_side` (bilinear, antialiased, aspect kept), then the centre square of `spec.size`.

    Works on uint8, as PIL does in the reference code. Frames whose short side already fits are not resized, so their pixels stay.

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
    if min(clip.shape[-2:]) != spec.short_side:
        # Channels first in memory too: torch's native uint8 resize wants it for batches.
        clip = functional.resize(clip.contiguous(), [spec.short_side], antialias=True)
    clip = functional.center_crop(clip, [spec.size, spec.size])
    return clip.transpose(0, 1).contiguous()
