"""Where a perturbation may lie: patches, borders, frames, as masks that `budget.Ball` takes.

A mask is float32, 1 where a pixel may change and 0 elsewhere, and broadcasts to clips (N, C, T, H, W).
"""

import math

import torch
from torch import Tensor

from .errors import InputError
from .rng import ClipRandom

USUAL_FRAMES = 16
"""Frames that a sweep over a clip is counted with before the clips are known, for progress."""


def patch_size(owner: str, frame: tuple[int, int], ratio: float) -> tuple[int, int]:
    """Height and width, pixels, of a patch with the frame's aspect and at most `ratio` of its area.

    Both sides are the frame's times sqrt(ratio), cut to whole pixels, as in Armory's patch attack.

    Args:
        owner: The component, for the message.
        frame: Height and width of the frame, pixels.
        ratio: Share of the frame, in [0, 1].

    Raises:
        InputError: The patch has no pixels.
    """
    height, width = frame
    scale = math.sqrt(ratio)
    size = int(height * scale), int(width * scale)
    if not min(size):
        least = max(1 / height**2, 1 / width**2)
        _nothing(owner, ratio, "a patch", height, width, least)
    return size


def check_place(owner: str, frame: tuple[int, int], size: tuple[int, int], row: int, column: int) -> None:
    """Refuses a patch that reaches beyond the frame.

    Args:
        owner: The component, for the message.
        frame: Height and width of the frame, pixels.
        size: Height and width of the patch, pixels.
        row: Its topmost row.
        column: Its leftmost column.

    Raises:
        InputError: It does not fit where it is.
    """
    for name, at, side, room in (("row", row, size[0], frame[0]), ("column", column, size[1], frame[1])):
        if not 0 <= at <= room - side:
            problem = f"{at} puts a patch of {side} pixels beyond the frame's {room}"
            raise InputError(f"{owner}: {name}", problem, f"it must be from 0 to {room - side}")


def random_places(clips: Tensor, size: tuple[int, int], rng: ClipRandom, per_frame: bool) -> tuple[Tensor, Tensor]:
    """Topmost rows and leftmost columns of a patch, uniform over every place in the frame, its last row and column included.

    Args:
        clips: (N, C, T, H, W).
        size: Height and width of the patch, pixels.
        rng: The clips' streams.
        per_frame: Whether each frame gets a place of its own.

    Returns:
        Rows and columns, each (N, T), or (N, 1) where all frames share the place.
    """
    frames = clips.shape[2] if per_frame else 1
    # In double precision no draw below 1 is rounded up to the first place beyond the frame.
    draw = rng.uniform((2, frames)).double()
    rows, columns = (
        (draw[:, axis] * (room - side + 1)).long() for axis, (side, room) in enumerate(zip(size, clips.shape[-2:], strict=True))
    )
    return rows, columns


def patch_mask(clips: Tensor, size: tuple[int, int], rows: Tensor, columns: Tensor) -> Tensor:
    """Mask of a patch, (N, 1, T or 1, H, W).

    Args:
        clips: (N, C, T, H, W).
        size: Height and width of the patch, pixels.
        rows: Its topmost row in each frame, (N, T), or (N, 1) where it is the same in all.
        columns: Its leftmost column, likewise.
    """
    across = [
        _between(first, side, room) for first, side, room in zip((rows, columns), size, clips.shape[-2:], strict=True)
    ]  # (N, t, H) and (N, t, W)
    return (across[0][..., :, None] & across[1][..., None, :])[:, None].to(clips.dtype)


def border_thickness(owner: str, frame: tuple[int, int], ratio: float) -> int:
    """Thickness t, pixels, of the thickest border with at most `ratio` of the frame's area.

    It is the whole part of the smaller root of 4 t^2 - 2 (W + H) t + ratio W H = 0, as in Armory's frame-border attack.

    Args:
        owner: The component, for the message.
        frame: Height and width of the frame, pixels.
        ratio: Share of the frame, in [0, 1].

    Raises:
        InputError: Less than a pixel is left for it.
    """
    height, width = frame
    half = height + width
    root = (half - math.sqrt(half**2 - 4 * ratio * height * width)) / 4
    thickness = int(root + 1e-9)  # where the root is whole, rounding must not cost a pixel
    if not thickness:
        _nothing(owner, ratio, "a border", height, width, (2 * half - 4) / (height * width))
    return thickness


def border_mask(clips: Tensor, thickness: int) -> Tensor:
    """Mask of a border of `thickness` pixels along all four edges, the same in all frames, (N, 1, 1, H, W)."""
    mask = clips.new_ones((len(clips), 1, 1, *clips.shape[-2:]))
    mask[..., thickness : clips.shape[-2] - thickness, thickness : clips.shape[-1] - thickness] = 0
    return mask


def frame_mask(clips: Tensor, indices: Tensor) -> Tensor:
    """Mask of whole frames, (N, 1, T, 1, 1).

    Args:
        clips: (N, C, T, H, W).
        indices: Frames of each clip, from 0, (N, k); k may be 0.
    """
    mask = clips.new_zeros((len(clips), clips.shape[2])).scatter_(1, indices.to(clips.device), 1.0)
    return mask[:, None, :, None, None]


def check_frames(owner: str, length: int, frames: int) -> None:
    """Refuses to perturb more frames than there are.

    Raises:
        InputError: A clip of `length` frames has fewer than `frames`.
    """
    if frames > length:
        raise InputError(f"{owner}: frames", f"{frames} is more than the clip's {length}", "perturb that many at most")


def _between(first: Tensor, side: int, room: int) -> Tensor:
    """Which of `room` pixels are among the `side` from `first` (N, t) on, (N, t, room)."""
    place = torch.arange(room, device=first.device) - first[..., None]
    return (place >= 0) & (place < side)


def _nothing(owner: str, ratio: float, what: str, height: int, width: int, least: float) -> None:
    problem = f"{ratio:g} leaves {what} of no pixels in a frame of {height}x{width}"
    raise InputError(f"{owner}: ratio", problem, f"it must be at least {math.ceil(least * 1e4) / 1e4:g}")
