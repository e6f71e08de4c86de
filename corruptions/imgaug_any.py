"""Any augmenter of imgaug as a corruption of clips."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..benchmark.core.corruption import SEVERITIES, Pixels
from ..benchmark.core.errors import InputError
from ..benchmark.core.params import param
from ..benchmark.core.registry import did_you_mean, register
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.storage import from_frames, to_frames

GRADED = "imgcorruptlike."
"""Start of the names whose augmenters have the five severities of ImageNet-C."""


_ALONE = Lock()


@register("corruption", "imgaug")
@dataclass(frozen=True, kw_only=True)
class Imgaug(Pixels):
    """Any augmenter of imgaug, by its name there: imgaug:Rain, imgaug:imgcorruptlike.Fog.

    Formula: the augmenter's own, made with the library's defaults and called frame by frame. `iid`: every frame has draws of its
    own, as the library gives the pictures of a batch; `static`: a deterministic copy is called with every frame, so that all
    frames of a clip have the same draws. Its seed comes from the clip's stream alone.

    The augmenters of `imgcorruptlike` get the severity. No other has one: those run with the library's defaults whatever the
    severity, and their rows carry the flag `no-severity`. A name alone says which kind it is, so `broken` is set per object. A
    frame that comes back in another size is scaled to the old one (bilinear). Augmenters that need arguments are refused.

    Source: imgaug 0.4 (imaug), imgaug.augmenters; severities: imagecorruptions.
    """

    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[Any]]] = {"imgaug": tuple(SEVERITIES)}

    name: str = param(help="augmenter, as a path below imgaug.augmenters")
    table: str = param("imgaug", help="severity table; only imgcorruptlike augmenters have severities")

    def __post_init__(self) -> None:
        """Raises InputError where there is no such augmenter, or none without arguments."""
        super().__post_init__()
        # Set on the object rather than properties, so that the class keeps the plain attributes that every corruption has.
        object.__setattr__(self, "broken", {} if self.graded else {"imgaug": "no-severity"})
        object.__setattr__(self, "smallest", 32 if self.graded else 1)  # what imagecorruptions refuses
        with _kept_numpy_state():
            _augmenter(self.name, 1)

    @property
    def graded(self) -> bool:
        """Whether the augmenter has severities."""
        return self.name.startswith(GRADED)

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """Every clip through an augmenter of its own."""
        seeds = rng.integers(0, 2**31 - 1).tolist()
        with _kept_numpy_state():
            made = [self._clip(to_frames(clip), setting, seed) for clip, seed in zip(clips, seeds, strict=True)]
        return torch.stack(made).to(clips.device)

    def _clip(self, frames: NDArray[np.uint8], severity: int, seed: int) -> Tensor:
        augmenter = _augmenter(self.name, severity)
        if self.temporal == "static":
            augmenter = augmenter.to_deterministic()
        # After the copy, and with all children: these would draw from the library's global state otherwise.
        augmenter.seed_(seed, deterministic_too=True)
        if self.temporal == "static":
            made = [augmenter.augment_image(frame) for frame in frames]
        else:
            made = augmenter.augment_images(list(frames))
        size = frames.shape[2], frames.shape[1]
        return from_frames(np.stack([_resized(frame, size) for frame in made]))


def _resized(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return frame if frame.shape[1::-1] == size else np.asarray(cv2.resize(frame, size), dtype=np.uint8)


@contextmanager
def _kept_numpy_state() -> Iterator[None]:
    """The library seeds itself from numpy's global state, which belongs to all threads: one clip at a time."""
    with _ALONE:
        state = np.random.get_state()
        try:
            yield
        finally:
            np.random.set_state(state)


def _augmenter(name: str, severity: int) -> Any:
    """A fresh augmenter.

    Raises:
        InputError: There is none of that name, or it cannot be made without arguments.
    """
    known = _augmenters()
    if name not in known:
        raise InputError("corruption imgaug: name", f"imgaug has no augmenter {name!r}", did_you_mean(name, known))
    missing = [
        argument.name
        for argument in inspect.signature(known[name]).parameters.values()
        if argument.default is argument.empty and argument.kind is argument.POSITIONAL_OR_KEYWORD
    ]
    remedy = "choose an augmenter that works with its defaults"
    if missing:
        raise InputError("corruption imgaug: name", f"{name} needs the argument {', '.join(missing)}", remedy)
    try:
        return known[name](severity=severity) if name.startswith(GRADED) else known[name]()
    except (AssertionError, TypeError, ValueError) as error:
        line = (str(error).splitlines() or [""])[0]
        raise InputError("corruption imgaug: name", f"imgaug cannot make {name} by its defaults: {line}", remedy) from None


@cache
def _augmenters() -> dict[str, type]:
    """Every augmenter of the library by its path."""
    # Half a second and more of import time, which only this corruption needs.
    from imgaug import augmenters
    from imgaug.augmenters import imgcorruptlike

    found: dict[str, type] = {}
    for module, start in ((augmenters, ""), (imgcorruptlike, GRADED)):
        for name, value in vars(module).items():
            if inspect.isclass(value) and issubclass(value, augmenters.Augmenter) and not name.startswith("_"):
                found[start + name] = value
    del found["Augmenter"]
    return found
