"""What a Hugging Face video classifier takes, read from the files beside its weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..core.errors import InputError
from ..core.interfaces import InputSpec
from .hf_files import read_json

PREPROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json")
"""Files in which transformers keeps how a video is prepared, newest custom first."""

SOMETHING = 174
"""Number of classes of Something-Something, whose videos are sampled from end to end."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Kind:
    """One architecture of transformers.

    Attributes:
        network: Its classifier's class in transformers.
        config: Its configuration's class.
        frames: Name of the configuration's frames T.
        size: Name of its height and width.
        interval: Distance of frames with which a classifier of T frames is trained on dense clips.
        rate: Frames per second in which the interval counts; 0 for the video's own.
        offset: What the preprocessor subtracts after rescaling, unless its file says `offset: false`.
    """

    network: str
    config: str
    frames: str
    size: str
    interval: Callable[[int], int]
    rate: float = 0.0
    offset: float = 0.0

    def sampler(self, classes: int) -> Literal["uniform", "dense"]:
        """How clips are sampled for so many classes, where nobody says: the files do not tell."""
        return "uniform" if classes == SOMETHING else "dense"


KINDS = {
    "videomae": Kind("VideoMAEForVideoClassification", "VideoMAEConfig", "num_frames", "image_size", lambda frames: 4),
    "vivit": Kind("VivitForVideoClassification", "VivitConfig", "num_frames", "image_size", lambda frames: 2, offset=1.0),
    # 8x32, 16x16 and 96x4.
    "timesformer": Kind(
        "TimesformerForVideoClassification",
        "TimesformerConfig",
        "num_frames",
        "image_size",
        lambda frames: max(4, 256 // frames),
        rate=30.0,
    ),
    # 16x4 and 32x2 in the authors' evaluations.
    "vjepa2": Kind(
        "VJEPA2ForVideoClassification", "VJEPA2Config", "frames_per_clip", "crop_size", lambda frames: max(1, 64 // frames)
    ),
}
"""The architectures that are understood, by `model_type`."""


def input_of(config: Any, folder: Path, kind: Kind, where: str) -> InputSpec:
    """Frames and crop of the network, resizing and normalisation of its preprocessor; dense.

    Raises:
        InputError: There is no preprocessor's file, or its crop is not what the network takes.
    """
    name = next((name for name in PREPROCESSORS if (folder / name).is_file()), PREPROCESSORS[1])
    told = read_json(folder / name, where)
    where = f"{where}: {name}"
    size = _side(getattr(config, kind.size), where)
    crop = _side(told.get("crop_size", size), where) if told.get("do_center_crop", True) else size
    if crop != size:
        raise InputError(where, f"it crops to {crop} pixels, the network takes {size}")
    frames = getattr(config, kind.frames)
    resize, short_side, long_side = _resizing(told.get("size", size), size, where)
    mean, std = _normalisation(told, kind, where)
    return InputSpec(
        frames=frames,
        size=size,
        short_side=short_side,
        sampler="dense",
        interval=kind.interval(frames),
        mean=mean,
        std=std,
        rate=kind.rate,
        resize=resize,
        long_side=long_side,
    )


def _resizing(told: Any, size: int, where: str) -> tuple[Literal["antialias", "stretch"], int, int]:
    """The way of resizing, the short side and, where the aspect is not kept, the width."""
    if isinstance(told, Mapping) and "height" in told:
        return "stretch", int(told["height"]), int(told["width"])
    short_side = told.get("shortest_edge") if isinstance(told, Mapping) else told
    if not isinstance(short_side, int) or short_side < size:
        raise InputError(where, f"its size is {told}, which has no crop of {size} pixels")
    return "antialias", short_side, 0


def _normalisation(told: Mapping[str, Any], kind: Kind, where: str) -> tuple[Triple, Triple]:
    """Mean and std in [0, 1]: a preprocessor multiplies bytes, may subtract an offset, and then normalises."""
    factor = 255 * float(told.get("rescale_factor", 1 / 255)) if told.get("do_rescale", True) else 255.0
    offset = kind.offset if told.get("offset", True) else 0.0
    mean, std = (0.0,) * 3, (1.0,) * 3
    if told.get("do_normalize", True):
        mean, std = (_three(told.get(name), name, where) for name in ("image_mean", "image_std"))
    red, green, blue = ((offset + value) / factor for value in mean)
    scales = [value / factor for value in std]
    return (red, green, blue), (scales[0], scales[1], scales[2])


def _three(told: Any, name: str, where: str) -> list[float]:
    values = told if isinstance(told, list) else [told] * 3
    if len(values) != 3 or not all(isinstance(value, (int, float)) for value in values):
        raise InputError(where, f"its {name} is {told}", "it must be three numbers")
    return values


def _side(told: Any, where: str) -> int:
    """A length that may be written as a number, a pair or height and width; the two must be equal."""
    pair: Any = [told.get("height"), told.get("width")] if isinstance(told, Mapping) else told
    sides: list[Any] = list(pair) if isinstance(pair, (list, tuple)) else [pair]
    if not all(isinstance(side, int) for side in sides) or len(set(sides)) != 1:
        raise InputError(where, f"{told} is not the side of a square")
    return sides[0]
