"""Corruptions of the camera: turned, moved, zoomed or held by a shaking hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..benchmark.core.corruption import Pixels
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from .camera_motion import shaking, wandering
from .camera_warp import enlarged, seen, turned, window

TABLE_SIDE = 224
"""Tables count pixels of frames of this side."""


@register("corruption", "static_rotate")
@dataclass(frozen=True)
class StaticRotate(Pixels):
    """The camera is held at an angle: all frames are turned alike.

    Formula: frames turned counter-clockwise about their middle by 7.5 15 30 45 90 degrees, nearest pixel, same size, black where
    there is nothing. Byte for byte what Pillow gives.

    As published, no angle is drawn and none is negative.

    Source: Schiappa et al. 2023, A large-scale robustness analysis of video action recognition models, and the generator of
    ROSE-P (2022), which share the table.
    """

    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[Any]]] = {"rose2022": (7.5, 15, 30, 45, 90), "schiappa2023": (7.5, 15, 30, 45, 90)}
    modes: ClassVar[tuple[str, ...]] = ("static",)

    table: str = param("rose2022", help="severity table")
    temporal: str = param("static", help="static: the same angle for the whole clip")

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """Clips turned by `setting` degrees."""
        return torch.stack([turned(clip, [setting]) for clip in clips])


@register("corruption", "rotate")
@dataclass(frozen=True)
class Rotate(Pixels):
    """The camera turns about its axis.

    Formula: every frame is turned about its middle by a whole angle drawn evenly from -a to a, a = 7 13 19 25 31 degrees, nearest
    pixel, same size, black where there is nothing. static: one angle per clip. drift: a sin(2 pi (t / 2 s + phase)) degrees, a
    camera that sways once in two seconds, with a random phase.

    The authors' multi-modal code has a = 6 12 18 24 30.

    Source: Schiappa et al. 2023, A large-scale robustness analysis of video action recognition models, and the generator of
    ROSE-P (2022), which share the table; drift is this project's.
    """

    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[Any]]] = {"rose2022": (7, 13, 19, 25, 31), "schiappa2023": (7, 13, 19, 25, 31)}
    modes: ClassVar[tuple[str, ...]] = ("iid", "static", "drift")

    table: str = param("rose2022", help="severity table")

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """Clips turned by drawn angles."""
        angles = wandering(self.temporal, -setting, setting, rng, 1, clips.shape[2], rate)[..., 0].tolist()
        return torch.stack([turned(clip, row) for clip, row in zip(clips, angles, strict=True)])


@register("corruption", "translate")
@dataclass(frozen=True)
class Translate(Pixels):
    """The camera points beside the scene, another way in every frame.

    Formula: frames are enlarged to 256/224 of their size (bilinear) and a window of the old size is cut out, whose corner lies d
    pixels of 224 below and right of the enlarged frame's, two whole numbers drawn evenly from 0 to 8 16 24 32 40 (rose2022) or to
    7 15 23 31 39 (schiappa2023); black where the window leaves the frame. static, as in schiappa2023: one window per clip. drift:
    d goes to and fro between its bounds, d = m/2 (1 + sin(2 pi (t / 2 s + phase))), with a random phase for each axis.

    The authors enlarge source videos to 256 pixels; clean evaluation crops at (16, 16), so that the scene is larger here than in
    the clean clip, and the windows of severity 1 all lie further from the middle than most of severity 3: in `static` the
    published severities are out of order. Table vbench moves frames of the same size by -m to m pixels of 224, m = 8 16 24 32 40,
    around the middle, with the picture reflected beyond its border.

    Source: Schiappa et al. 2023, A large-scale robustness analysis of video action recognition models (schiappa2023), and the
    generator of ROSE-P (rose2022); drift and table vbench are this project's.
    """

    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "rose2022": (8, 16, 24, 32, 40),
        "schiappa2023": (7, 15, 23, 31, 39),
        "vbench": (8, 16, 24, 32, 40),
    }
    broken: ClassVar[Mapping[str, str]] = {"schiappa2023": "unordered"}
    modes: ClassVar[tuple[str, ...]] = ("iid", "static", "drift")
    references: ClassVar[Mapping[str, str]] = {"schiappa2023": "static"}

    table: str = param("rose2022", help="severity table")
    temporal: str = param("reference", help="iid, static or drift; reference: static in schiappa2023, else iid")

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """Clips cut out at drawn places."""
        frames, height, width = clips.shape[2:]
        least = -setting if self.table == "vbench" else 0
        places = wandering(self.temporal, least, setting, rng, 2, frames, rate)
        corners = (places * torch.tensor([height, width]) / TABLE_SIDE).round().long()
        made = torch.empty_like(clips)
        for row, clip in enumerate(clips):
            if self.table == "vbench":
                made[row] = window(clip, corners[row].tolist(), height, width, "reflect")
            else:
                picture = enlarged(clip, round(height * 256 / TABLE_SIDE), round(width * 256 / TABLE_SIDE))
                made[row] = window(picture, corners[row].tolist(), height, width, "black")
        return made


@register("corruption", "zoom_drift")
@dataclass(frozen=True)
class ZoomDrift(Pixels):
    """The camera zooms in along the clip.

    Formula: frame t of T is magnified by Z^(t / (T - 1)), Z = 1.1 1.2 1.35 1.5 1.75, about a point that is drawn once per clip,
    evenly from the middle half of the height and of the width; bilinear, rounded. What leaves the frame is cut. The first frame
    stays as it is, and every frame is magnified by the same factor over the one before.

    Source: after the sequence `scale` of ImageNet-P (Hendrycks and Dietterich 2019), whose 31 frames grow evenly from 40 % on
    black; without the black, and with a point and a table of this project.
    """

    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[Any]]] = {"vbench": (1.1, 1.2, 1.35, 1.5, 1.75)}
    modes: ClassVar[tuple[str, ...]] = ("drift",)
    fewest: ClassVar[int] = 2

    table: str = param("vbench", help="severity table")
    temporal: str = param("drift", help="drift: the zoom goes along with the clip")
    truncate: bool = param(False, help="cut to whole grey levels instead of rounding")

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """Clips zoomed up to `setting` times."""
        frames, height, width = clips.shape[2:]
        points = rng.uniform((2,), -0.25, 0.25).cpu().double() * torch.tensor([width, height])
        zooms = setting ** torch.linspace(0, 1, frames, dtype=torch.float64)
        level = torch.zeros(frames, dtype=torch.float64)
        made = [seen(clip, (1 - 1 / zooms)[:, None] * point, level, zooms) for clip, point in zip(clips, points, strict=True)]
        return torch.stack([self.quantise(clip) for clip in made])


@register("corruption", "shake")
@dataclass(frozen=True)
class Shake(Pixels):
    """The camera is held by a shaking hand.

    Formula: the camera moves right, down and around by three independent paths, each a sum of six sinusoids with frequencies f
    between 1 and 8 Hz, one from each sixth of the band's logarithm, amplitudes in proportion to 1/f, and random phases. The root
    mean square of a path is 2 4 6 9 13 pixels of 224 (of the short side) right and down, .3 .6 1 1.5 2 degrees around. Bilinear,
    rounded, with the picture reflected beyond its border. iid: every frame at a place of its own path; static: one place per
    clip.

    The path follows the clip's rate: frames sampled further apart than a sixteenth of a second see the fastest part as jumps.

    Source: this project's; the band is that of hand-held video.
    """

    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[Any]]] = {"vbench": ((2, 0.3), (4, 0.6), (6, 1.0), (9, 1.5), (13, 2.0))}
    modes: ClassVar[tuple[str, ...]] = ("iid", "static", "drift")

    table: str = param("vbench", help="severity table")
    temporal: str = param("drift", help="drift: along a path; iid: anew for every frame; static: once per clip")
    truncate: bool = param(False, help="cut to whole grey levels instead of rounding")

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """Clips as the moving camera sees them."""
        pixels, degrees = setting
        frames, scale = clips.shape[2], pixels * min(clips.shape[3:]) / TABLE_SIDE
        paths = shaking(rng, 3, 1 if self.temporal == "static" else frames, rate, self.draws(frames))
        ones = torch.ones(frames, dtype=torch.float64)
        paths = paths.expand(-1, frames, -1)
        made = [seen(clip, path[:, :2] * scale, path[:, 2] * degrees, ones) for clip, path in zip(clips, paths, strict=True)]
        return torch.stack([self.quantise(clip) for clip in made])
