"""The training mixture of the winner of the ROSE challenge 2022."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..benchmark.core.corruption import SEVERITIES, Corruption, Pixels
from ..benchmark.core.params import param
from ..benchmark.core.registry import register, resolve
from ..benchmark.core.rng import ClipRandom

NATIVE = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "speckle_noise",
    "glass_blur",
    "defocus_blur",
    "motion_blur",
    "zoom_blur",
    "gaussian_blur",
    "brightness",
    "saturate",
    "contrast",
    "jpeg_compression",
    "pixelate",
)
"""The fourteen of the twenty that are corruptions of this package, with severities."""

CROP = 0.875
"""Side of the fixed-size crop, as a share of the frame's: the paper gives none, 224 of 256 is the common one."""

DEGREES = 30.0
"""Largest angle of rotation and shear, imgaug's default."""

Frame = NDArray[np.uint8]


@register("corruption", "rose_mixture")
@dataclass(frozen=True)
class RoseMixture(Pixels):
    """About half of the frames of a clip, each with one of twenty corruptions: the training mixture of ROSE 2022's winner.

    Formula: each frame is corrupted with probability `rate`, by one of twenty drawn anew for the frame, never by two.
    Fourteen are corruptions of this package at the severity of the call (the winner trained at 2): Gaussian, shot, impulse
    and speckle noise; glass, defocus, motion, zoom and Gaussian blur; brightness, saturate, contrast, JPEG, pixelate. Six are
    geometric and have no severity: rotation by a right angle, rotation and shear along x by up to 30 degrees (bilinear, black
    outside), mirroring, a crop to 7/8 of the sides at a random place, and a random crop of 8 to 100 % of the area with an
    aspect ratio of 3/4 to 4/3. Crops and turned frames are scaled back to the frame's size. The paper gives no values for the
    six: angles are imgaug's defaults, the crop's area and ratio torchvision's, and 7/8 is 224 of 256.

    Made for training; as a test corruption it names no published severities.

    Source: ROSE 2022 winner, table 2 and sections 4.2 and 4.3 (rate 50 %, severity 2).
    """

    version: ClassVar[int] = 1
    mixture: ClassVar[bool] = True
    tables: ClassVar[Mapping[str, Sequence[Any]]] = {"imagenet-c-224": tuple(SEVERITIES)}
    modes: ClassVar[tuple[str, ...]] = ("iid",)

    rate: float = param(0.5, help="probability that a frame is corrupted", low=0.0, high=1.0)

    def check(self, frames: int, side: int) -> None:
        """Also refuses what one of the fourteen refuses, before it is drawn."""
        super().check(frames, side)
        for name in NATIVE:
            _native(name).check(1, side)

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """Frames that drew the same corruption go through it together."""
        total = clips.shape[2]
        hit = (rng.uniform((total,)) < self.rate).cpu()
        which = torch.stack([rng.integers(0, len(NATIVE) + len(GEOMETRIC)).cpu() for _ in range(total)], dim=1)
        seeds = torch.stack([rng.integers(0, 2**62).cpu() for _ in range(total)], dim=1)
        made = clips.clone()
        for number in which[hit].unique().tolist():
            rows, positions = (hit & (which == number)).nonzero(as_tuple=True)
            ids = [str(seed) for seed in seeds[rows, positions].tolist()]
            streams = ClipRandom.for_clips(ids, 0, "rose_mixture", clips.device)
            made[rows, :, positions] = _corrupt(clips[rows, :, positions], number, setting, streams, rate)
        return made


def _corrupt(frames: Tensor, number: int, severity: int, rng: ClipRandom, rate: float) -> Tensor:
    """Frames uint8 (M, 3, H, W) through one of the twenty."""
    if number < len(NATIVE):
        return _native(NATIVE[number]).apply(frames.unsqueeze(2), severity, rng, rate).squeeze(2)
    change, draws = GEOMETRIC[number - len(NATIVE)], rng.uniform((4,)).tolist()
    pictures = frames.permute(0, 2, 3, 1).cpu().contiguous().numpy()
    made = np.stack([_sized(change(picture, *four), picture) for picture, four in zip(pictures, draws, strict=True)])
    return torch.from_numpy(made).permute(0, 3, 1, 2).to(frames.device)


@cache
def _native(name: str) -> Corruption:
    return resolve("corruption", name).create()


def _sized(frame: Frame, like: Frame) -> Frame:
    """A frame scaled to the size of another one."""
    size = like.shape[1], like.shape[0]
    return frame if frame.shape == like.shape else np.asarray(cv2.resize(frame, size), dtype=np.uint8)


def _rot90(frame: Frame, *draws: float) -> Frame:
    return np.rot90(frame, k=-1)  # clockwise, as imgaug


def _shear(frame: Frame, draw: float, *draws: float) -> Frame:
    # imgaug 0.4.3 takes the hyperbolic tangent of the angle, so that its 30 degrees are 26.
    slope = -math.tan(math.radians(DEGREES * (2 * draw - 1)))
    centre = (frame.shape[0] - 1) / 2
    return _warped(frame, np.array([[1, slope, -slope * centre], [0, 1, 0]]))


def _rotate(frame: Frame, draw: float, *draws: float) -> Frame:
    height, width = frame.shape[:2]
    return _warped(frame, cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), DEGREES * (1 - 2 * draw), 1.0))


def _warped(frame: Frame, matrix: NDArray[Any]) -> Frame:
    return np.asarray(cv2.warpAffine(frame, matrix, (frame.shape[1], frame.shape[0]), flags=cv2.INTER_LINEAR), dtype=np.uint8)


def _mirror(frame: Frame, *draws: float) -> Frame:
    return frame[:, ::-1]


def _fixed_crop(frame: Frame, down: float, right: float, *draws: float) -> Frame:
    height, width = (max(1, round(CROP * side)) for side in frame.shape[:2])
    return _cut(frame, height, width, down, right)


def _resized_crop(frame: Frame, down: float, right: float, share: float, turn: float) -> Frame:
    area = (0.08 + 0.92 * share) * frame.shape[0] * frame.shape[1]
    ratio = math.exp((2 * turn - 1) * math.log(4 / 3))
    # torchvision draws again where a crop does not fit, and so prefers small ones; here it is cut to the frame.
    height, width = (round(side) for side in (math.sqrt(area / ratio), math.sqrt(area * ratio)))
    return _cut(frame, min(max(1, height), frame.shape[0]), min(max(1, width), frame.shape[1]), down, right)


def _cut(frame: Frame, height: int, width: int, down: float, right: float) -> Frame:
    top, left = int(down * (frame.shape[0] - height + 1)), int(right * (frame.shape[1] - width + 1))
    return frame[top : top + height, left : left + width]


GEOMETRIC: tuple[Callable[..., Frame], ...] = (_rot90, _shear, _rotate, _mirror, _fixed_crop, _resized_crop)
"""The six of the twenty that imgaug and torchvision have, of a frame (H, W, 3) and four draws in [0, 1)."""
