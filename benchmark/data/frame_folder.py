"""Videos that were unpacked into a folder of images."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..core.errors import InputError
from ..core.integrity import ClipError

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""Suffixes of frames in a frame folder."""

Picker = Callable[[int, float], Sequence[int]]
"""From the true number of frames and the frames per second (0: unknown) to the wanted indices; an index may come twice."""


def read_folder(path: Path, pick: Picker, template: str = "") -> list[NDArray[np.uint8]]:
    """The wanted images of a frame folder, each uint8 (H, W, 3), RGB.

    Raises:
        ClipError: The folder has no frames or several series of them, or a wanted image is damaged.
    """
    files = frame_files(path, template)
    if not files:
        named = f"named {template}" if template else f"{', '.join(IMAGES)} files"
        raise ClipError(str(path), "the folder holds no frames", f"frames are {named}")
    if not template and len(several := series(files)) > 1:
        found = ", ".join(several)
        raise ClipError(str(path), f"the folder holds several series of images: {found}", "say which by template=img_%05d.jpg")
    wanted = pick(len(files), 0.0)
    images: dict[int, NDArray[np.uint8]] = {}
    for index in set(wanted):
        try:
            with Image.open(files[index]) as image:
                images[index] = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ClipError(str(files[index]), f"cannot be decoded: {error}") from error
    return [images[index] for index in wanted]


def frame_files(folder: Path, template: str = "") -> list[Path]:
    """The images of a frame folder in natural order; hidden files do not count, and with a template only names that fit it."""
    images = [file for file in folder.iterdir() if file.suffix.lower() in IMAGES and not file.name.startswith(".")]
    if template:
        fits = template_pattern(template)
        images = [file for file in images if fits.fullmatch(file.name)]
    return sorted(images, key=lambda file: natural(file.name))


@cache
def template_pattern(template: str) -> re.Pattern[str]:
    """Names that a template of frame names stands for, written `img_%05d.jpg` or `img_{:05}.jpg`.

    Raises:
        InputError: There is not exactly one number in it.
    """
    parts = re.split(r"%(?:0?(\d+))?d|\{:?(?:0?(\d+))?d?\}", template)
    if len(parts) != 4:
        raise InputError("template", f"{template!r} does not have one number", "write it as img_%05d.jpg")
    digits = parts[1] or parts[2] or "1"
    return re.compile(rf"{re.escape(parts[0])}\d{{{digits},}}{re.escape(parts[3])}")


def series(files: Sequence[Path]) -> list[str]:
    """What stands before the last number of the names, each once: frames and optical flow may lie in one folder."""
    found = {re.sub(r"\d+", "#", match[1]) for file in files if (match := re.fullmatch(r"(.*?)\d+", file.stem))}
    return sorted(found)


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key that reads runs of digits as numbers; equal numbers go by their text."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]
