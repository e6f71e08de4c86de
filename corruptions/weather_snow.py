"""Layers of snow: noise, enlarged, cut off below, and blurred along the way the flakes fall."""

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .blur_ops import motion_blur_frames
from .weather_motion import SNOW_FAR, SNOW_NEAR, chunks, moved, travel, wrapped


def noise_size(side: int, zoom: float) -> int:
    """Draws that a side of so many pixels needs."""
    return math.ceil(side / zoom)


def snow_layers(noise: Tensor, angles: Tensor, setting: Sequence[float], height: int, width: int, trim: bool) -> Tensor:
    """Snow as the references draw it: a layer plus itself turned by 180 degrees.

    Args:
        noise: Standard normal draws, shape (M, noise_size(height), noise_size(width)).
        angles: Directions in which the blur reads, degrees, shape (M,).
        setting: Mean and deviation of the noise, zoom, threshold, radius and sigma of the blur (and the mix).
        height: Of the frames.
        width: Of the frames.
        trim: Like ImageNet-C take the middle of the enlarged layer and cut it to whole grey levels before the blur; if not, like
            `imagecorruptions` the upper left corner after it.

    Returns:
        Grey levels to add, float32 of shape (M, height, width).
    """
    flakes = _flakes(noise, setting)
    if trim:
        top, left = (flakes.shape[1] - height) // 2, (flakes.shape[2] - width) // 2
        flakes = flakes[:, top : top + height, left : left + width].floor()
    sheet = motion_blur_frames(flakes, int(setting[4]), setting[5], angles).round_()[:, :height, :width]
    return sheet + sheet.flip(1, 2)


def falling_snow(noise: Tensor, angle: float, setting: Sequence[float], shape: Sequence[int], rate: float) -> Iterator[Tensor]:
    """Snow that falls along its blur: a near sheet and, a little slower, a far one, each on a torus.

    Args:
        noise: As of `snow_layers`, of one layer.
        angle: Direction in which the blur reads, degrees.
        setting: As of `snow_layers`.
        shape: Frames, height and width.
        rate: Frames per second.

    Yields:
        Grey levels to add, (F, H, W).
    """
    frames, height, width = shape
    radius = int(setting[4])
    margin = 2 * radius + 1
    flakes = wrapped(_flakes(noise, setting, periodic=True).floor(), margin)
    near = motion_blur_frames(flakes, radius, setting[5], torch.tensor([angle])).round_()[0, margin:-margin, margin:-margin]
    far = near.flip(0, 1)
    down, right = -math.sin(math.radians(angle)), -math.cos(math.radians(angle))
    for part in chunks(frames, height * width):
        fast, slow = (travel(part, speed, height, rate) for speed in (SNOW_NEAR, SNOW_FAR))
        layer = moved(near, fast * down, fast * right, height, width)
        yield layer + moved(far, slow * down, slow * right, height, width)


def _flakes(noise: Tensor, setting: Sequence[float], periodic: bool = False) -> Tensor:
    """Enlarged noise of which only what is above the threshold is left, grey levels."""
    mean, deviation, zoom, threshold = setting[:4]
    rows, columns = (round(side * zoom) for side in noise.shape[1:])
    field = (noise * deviation + mean)[:, None]
    if periodic:  # the first draws once more at the end, whose pixels are then left out
        rows, columns = (_period(*sides) for sides in zip(noise.shape[1:], (rows, columns), strict=True))
        field = torch.cat([field, field[:, :, :1]], 2)
        field = torch.cat([field, field[:, :, :, :1]], 3)
        field = F.interpolate(field, (rows + 1, columns + 1), mode="bilinear", align_corners=True)[:, 0, :-1, :-1]
    else:
        field = F.interpolate(field, (rows, columns), mode="bilinear", align_corners=True)[:, 0]
    return torch.where(field < threshold, 0.0, field).clamp_(0, 1) * 255


def _period(draws: int, pixels: int) -> int:
    """Pixels of a torus on which draws lie as far apart as on the plane, where `pixels` reach from the first to the last."""
    return round(draws * (pixels - 1) / (draws - 1)) if draws > 1 else pixels


def whitened(pixels: Tensor, mix: float) -> Tensor:
    """Grey levels (3, frames, H, W), which are overwritten, paled towards white by their brightness, as under a snowy sky."""
    red, green, blue = pixels
    bright = (red * 0.299).add_(green, alpha=0.587).add_(blue, alpha=0.114).mul_(1.5).add_(127.5)
    return torch.maximum(pixels, (pixels * mix).add_(bright, alpha=1 - mix), out=pixels)
