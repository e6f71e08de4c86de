"""Brightness and saturation as in HSV, without the way there and back: hue is kept, so each channel follows in closed form."""

import torch
from torch import Tensor


def brightened(clips: Tensor, amount: float) -> Tensor:
    """V goes up by `amount`, at most to 1; hue and saturation stay. Black becomes grey.

    Args:
        clips: uint8 (N, 3, ...), RGB.
        amount: Fraction of the pixel range, 0 to 1.

    Returns:
        Grey levels as float32, 0 to 255, of the same shape.
    """
    top = clips.amax(dim=1, keepdim=True)
    lifted = top.float().add_(255 * amount).clamp_(max=255)
    ratio = lifted / top.clamp(min=1)
    return torch.addcmul(lifted, top - clips, ratio, value=-1)


def saturated(clips: Tensor, factor: float, offset: float) -> Tensor:
    """S becomes factor S + offset, at most 1; hue and V stay. Grey, which has no hue, is taken as red.

    Args:
        clips: uint8 (N, 3, ...), RGB.
        factor: 0 or more.
        offset: 0 to 1.

    Returns:
        Grey levels as float32, 0 to 255, of the same shape.
    """
    top = clips.amax(dim=1, keepdim=True)
    spread = top - clips.amin(dim=1, keepdim=True)
    most = top / spread.clamp(min=1)  # a channel's distance from V may grow by this much, then S is 1
    growth = torch.minimum(factor + offset * most, most)
    values = torch.addcmul(top.float(), top - clips, growth, value=-1)
    if offset:
        values[:, 1:].sub_(offset * top * (spread == 0))
    return values
