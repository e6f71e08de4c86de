"""Frost: crops of photographs of frozen panes, read from the installed package `imagecorruptions`."""

import importlib.util
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ..benchmark.core.errors import InputError
from .weather_motion import FROST_SLIDE, bounced, chunks, travel

PHOTOGRAPHS = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg", "frost6.jpg")

DRAWN = {"imagenet-c-224": 5, "tiny-64": 5, "imagecorruptions": 6}
"""How many of them each table draws from."""

ROOM = 1.1
"""How much larger than the frame a photograph is at least when its crop moves."""


def frost_crops(draws: Tensor, shape: Sequence[int], table: str) -> Tensor:
    """Crops of the photographs.

    Args:
        draws: From [0, 1), shape (M, 3): which photograph, how far down, how far right.
        shape: Height and width.
        table: Severity table.

    Returns:
        uint8 (M, 3, height, width), on the CPU.
    """
    height, width = shape
    crops = []
    for which, down, right in draws.tolist():
        picture = photograph(int(which * DRAWN[table]), height, width, table)
        top, left = (
            int(part * max(room, 1)) for part, room in ((down, picture.shape[1] - height), (right, picture.shape[2] - width))
        )
        crops.append(picture[:, top : top + height, left : left + width])
    return torch.stack(crops)


def sliding_frost(draws: Sequence[float], shape: Sequence[int], table: str, rate: float) -> Iterator[Tensor]:
    """A crop that slides slowly over its photograph and turns round at the edges.

    Args:
        draws: Four of [0, 1): which photograph, how far down and right the crop starts, and the direction of the frost.
        shape: Frames, height and width.
        table: Severity table.
        rate: Frames per second.

    Yields:
        uint8 (F, 3, height, width), on the CPU.
    """
    frames, height, width = shape
    which, *start, turn = draws
    picture = photograph(int(which * DRAWN[table]), math.ceil(height * ROOM), math.ceil(width * ROOM), table)
    rooms = picture.shape[1] - height, picture.shape[2] - width
    for part in chunks(frames, height * width):
        way = travel(part, FROST_SLIDE, height, rate)
        steps = -way * math.sin(2 * math.pi * turn), -way * math.cos(2 * math.pi * turn)
        tops, lefts = (bounced(begin * room, step, room) for begin, step, room in zip(start, steps, rooms, strict=True))
        corners = zip(tops.tolist(), lefts.tolist(), strict=True)
        yield torch.stack([picture[:, top : top + height, left : left + width] for top, left in corners])


@lru_cache(maxsize=32)
def photograph(index: int, height: int, width: int, table: str) -> Tensor:
    """A photograph large enough for crops of a size.

    Args:
        index: From 0.
        height: Pixels that it needs at least.
        width: Likewise.
        table: `tiny-64` shrinks it to 0.3 of its size, `imagecorruptions` enlarges it by 1.1; one that is too small is
            enlarged just enough.

    Returns:
        uint8 (3, h, w), RGB; shared by all callers.

    Raises:
        InputError: It is not where the package has it.
    """
    picture = _read(index)
    if table == "tiny-64":
        picture = cv2.resize(picture, (0, 0), fx=0.3, fy=0.3)
    rows, columns = picture.shape[:2]
    scale = max(1.0, height / rows, width / columns) * (1.1 if table == "imagecorruptions" else 1.0)
    if scale > 1:
        picture = cv2.resize(picture, (math.ceil(columns * scale), math.ceil(rows * scale)), interpolation=cv2.INTER_CUBIC)
    return torch.from_numpy(np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1)))


def _read(index: int) -> np.ndarray:
    spec = importlib.util.find_spec("imagecorruptions")  # importing it would load numba and scikit-image
    places = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    for place in places:
        path = Path(place) / "frost" / PHOTOGRAPHS[index]
        picture = cv2.imread(str(path)) if path.is_file() else None
        if picture is not None:
            return picture
    raise InputError(
        "corruption frost",
        f"the photograph {PHOTOGRAPHS[index]} of the package imagecorruptions is not there",
        "install it again with pip install --force-reinstall imagecorruptions-imaug",
    )
