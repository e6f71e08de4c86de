"""Videos that were unpacked into a folder of images."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .integrity import ClipError

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""Suffixes of frames in a frame folder."""

Picker = Callable[[int], Sequence[int]]
"""From the true number of frames to the wanted indices; an index may come twice."""


def read_folder(path: Path, pick: Picker) -> list[NDArray[np.uint8]]:
    """The wanted images of a frame folder, each uint8 (H, W, 3), RGB.

    Raises:
        ClipError: The folder is empty, or a wanted image is damaged.
    """
    files = frame_files(path)
    if not files:
        raise ClipError(str(path), "the folder holds no frames", f"frames are {', '.join(IMAGES)} files")
    wanted = pick(len(files))
    images: dict[int, NDArray[np.uint8]] = {}
    for index in set(wanted):
        try:
            with Image.open(files[index]) as image:
                images[index] = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ClipError(str(files[index]), f"cannot be decoded: {error}") from error
    return [images[index] for index in wanted]


def frame_files(folder: Path) -> list[Path]:
    """The images of a frame folder in natural order; hidden files do not count."""
    images = [file for file in folder.iterdir() if file.suffix.lower() in IMAGES and not file.name.startswith(".")]
    return sorted(images, key=lambda file: natural(file.name))


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key that reads runs of digits as numbers; equal numbers go by their text."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]
