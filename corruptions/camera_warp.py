"""Frames that are turned, moved and magnified. The same code runs on every device."""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, pad

ONE = 1 << 16
"""Pillow counts coordinates in parts of 2^-16 pixel where it takes the nearest pixel."""


def turned(clip: Tensor, angles: list[float]) -> Tensor:
    """Frames turned counter-clockwise about their middle, nearest pixel, black outside: what Pillow's `Image.rotate` gives.

    Args:
        clip: uint8 (3, T, H, W).
        angles: Degrees, one per frame or one for all.

    Returns:
        uint8 (3, T, H, W).
    """
    flat = pad(clip.flatten(2), (0, 1))  # where nothing is, the black pixel at the end is taken
    indices = torch.stack([_turned_index(clip.shape[2], clip.shape[3], angle, clip.device) for angle in angles])
    return flat.gather(2, indices.expand(3, clip.shape[1], -1)).view(clip.shape)


def _turned_index(height: int, width: int, degrees: float, device: torch.device) -> Tensor:
    """For each pixel which pixel of the flat frame it shows, `height * width` for none; (H * W,)."""
    radians = -math.radians(degrees % 360)
    # Rounded, as in Pillow, for an exact 0 at right angles.
    cosine, sine = round(math.cos(radians), 15), round(math.sin(radians), 15)
    x, y = (
        _fixed(along * 0.5 + across * 0.5 + middle - along * width / 2 - across * height / 2)
        + torch.arange(height, device=device)[:, None] * _fixed(across)
        + torch.arange(width, device=device) * _fixed(along)
        >> 16
        for along, across, middle in ((cosine, sine, width / 2), (-sine, cosine, height / 2))
    )
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return torch.where(inside, y * width + x, height * width).flatten()


def _fixed(value: float) -> int:
    return math.floor(value * ONE + 0.5)


def seen(clip: Tensor, shifts: Tensor, degrees: Tensor, zooms: Tensor) -> Tensor:
    """What a camera sees that has moved over the picture: bilinear, with the picture reflected beyond its border.

    Args:
        clip: uint8 (3, T, H, W).
        shifts: Where the camera looks, pixels right of and below the middle, (T, 2) on the CPU.
        degrees: How far it is turned clockwise, (T,) on the CPU.
        zooms: Magnification, (T,) on the CPU.

    Returns:
        float32 (3, T, H, W), 0..255.
    """
    height, width = clip.shape[2:]
    cosine, sine = degrees.deg2rad().cos() / zooms, degrees.deg2rad().sin() / zooms
    place = [item.to(clip.device, torch.float32)[:, None, None] for item in (cosine, sine, shifts[:, 0], shifts[:, 1])]
    x = torch.arange(width, device=clip.device) + (0.5 - width / 2)
    y = (torch.arange(height, device=clip.device) + (0.5 - height / 2))[:, None]
    source = ((place[0] * x - place[1] * y + place[2]) * (2 / width), (place[1] * x + place[0] * y + place[3]) * (2 / height))
    frames = clip.transpose(0, 1).float()
    made = grid_sample(frames, torch.stack(source, dim=-1), padding_mode="reflection", align_corners=False)
    return made.transpose(0, 1)


def enlarged(clip: Tensor, height: int, width: int) -> Tensor:
    """A clip uint8 (3, T, H, W) in a larger size, bilinear, rounded."""
    made = interpolate(clip.transpose(0, 1).float(), size=(height, width), mode="bilinear", align_corners=False)
    # Torch sums in another order on one thread than on two; weights of 1/16 make exact halves, which must not hang on that.
    return made.add_(0.5 + 2**-10).floor_().clamp_(max=255).to(torch.uint8).transpose(0, 1)


def window(clip: Tensor, corners: list[list[int]], height: int, width: int, border: str) -> Tensor:
    """A window of every frame, which may leave it.

    Args:
        clip: uint8 (3, T, H, W).
        corners: First row and first column of the window, one pair per frame or one for all.
        height: Rows of the window.
        width: Columns.
        border: What lies beyond: `black`, or `reflect` for the picture again with its edge pixels twice.

    Returns:
        uint8 (3, T, height, width).
    """
    if border == "black":
        clip = pad(clip, (1, 1, 1, 1))
    made = clip.new_empty(*clip.shape[:2], height, width)
    for at, (top, left) in enumerate(corners):
        rows, columns = (
            _positions(first, count, size, border, clip.device)
            for first, count, size in ((top, height, clip.shape[2]), (left, width, clip.shape[3]))
        )
        part = slice(None) if len(corners) == 1 else slice(at, at + 1)
        made[:, part] = clip[:, part].index_select(2, rows).index_select(3, columns)
    return made


def _positions(first: int, count: int, size: int, border: str, device: torch.device) -> Tensor:
    """Rows or columns of a window in a frame of `size`, which for black borders has one black line on each side."""
    at = torch.arange(first, first + count, device=device)
    if border == "black":
        return (at + 1).clamp(0, size - 1)
    at = at % (2 * size)
    return torch.minimum(at, 2 * size - 1 - at)
