"""Weather: snow, frost, fog, spatter and rain."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..benchmark.core.corruption import Pixels
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from . import weather_frost as frosty
from . import weather_rain as rainy
from . import weather_snow as snowy
from .plasma import plasma, sliding_fog
from .weather_motion import SPATTER_SLIDE, blended, chunks, moved, standing, travel
from .weather_spatter import MUD, WATER, spatter_mask


@register("corruption", "snow")
@dataclass(frozen=True)
class Snow(Pixels):
    """Snow in front of a paled scene.

    Formula: noise N(c0, c1^2), one draw per c2 pixels, enlarged bilinearly to the frame; what is below c3 becomes 0; 8 bits;
    blurred by a one-sided Gaussian of radius c4 and sigma c5 pixels at an angle drawn from -135..-45 degrees: L. With x in
    0..1, out = c6 * x + (1 - c6) * max(x, 1.5 * grey(x) + 0.5) + L + L turned by 180 degrees.

    The table `imagecorruptions` takes the upper left corner of the enlarged layer after the blur, not its middle before it, and
    cuts to 8 bits only once. drift: both layers fall along their blur, wrapping around, the near one by 2 % of the frame's
    height per 1/25 s, the far one, which is the one turned, by 1.4 %.

    Source: Hendrycks and Dietterich 2019, ImageNet-C and Tiny-ImageNet-C; Michaelis et al. 2019, imagecorruptions.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        "imagecorruptions": (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        "tiny-64": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ),
    }
    modes: ClassVar[tuple[str, ...]] = ("iid", "static", "drift")

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See the class."""
        frames, height, width = clips.shape[2:]
        size = snowy.noise_size(height, setting[2]), snowy.noise_size(width, setting[2])

        def layers(stream: ClipRandom) -> Iterator[Tensor]:
            if self.temporal == "drift":
                angle = stream.uniform((), -135, -45).item()
                return snowy.falling_snow(stream.normal(size), angle, setting, (frames, height, width), rate)

            def draw(count: int) -> Tensor:
                noise, angles = stream.normal((count, *size))[0], stream.uniform((count,), -135, -45)[0]
                return snowy.snow_layers(noise, angles, setting, height, width, self.table != "imagecorruptions")

            return standing(self.temporal, frames, height * width, draw)

        def mix(pixels: Tensor, layer: Tensor) -> Tensor:
            return snowy.whitened(pixels, setting[6]).add_(layer)

        return blended(clips, rng, layers, mix, self.quantise)


@register("corruption", "frost")
@dataclass(frozen=True)
class Frost(Pixels):
    """Frost on the pane, from photographs.

    Formula: out = a * X + b * F, grey levels, F a crop of the frame's size of a photograph; photograph and crop are drawn.

    The photographs come with the package `imagecorruptions`. ImageNet-C draws from the first five, of which the second and
    third are the same picture; crops are not scaled, so frost is coarser in a smaller frame; where the frame is the larger, the
    photograph is enlarged just enough (the original fails). tiny-64 shrinks photographs to 0.3. The table `imagecorruptions`
    draws from all six, as its release 1.1.4 and later, and enlarges by 1.1 first. drift: the crop slides slowly in a direction
    that is drawn, by 0.25 % of the frame's height per 1/25 s, and turns round at the photograph's edges; the photograph is at
    least 1.1 times the frame.

    Source: Hendrycks and Dietterich 2019, ImageNet-C and Tiny-ImageNet-C; Michaelis et al. 2019, imagecorruptions.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        "imagecorruptions": ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        "tiny-64": ((1.0, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
    }
    modes: ClassVar[tuple[str, ...]] = ("iid", "static", "drift")

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See the class."""
        frames, height, width = clips.shape[2:]
        scene, ice = setting

        def layers(stream: ClipRandom) -> Iterator[Tensor]:
            if self.temporal == "drift":
                return frosty.sliding_frost(stream.uniform((4,))[0].tolist(), (frames, height, width), self.table, rate)
            return standing(
                self.temporal,
                frames,
                height * width,
                lambda count: frosty.frost_crops(stream.uniform((count, 3))[0], (height, width), self.table),
            )

        def mix(pixels: Tensor, crops: Tensor) -> Tensor:
            return pixels.mul_(scene).add_(crops.movedim(1, 0).to(pixels.device, torch.float32), alpha=ice)

        return blended(clips, rng, layers, mix, self.quantise)


@register("corruption", "fog")
@dataclass(frozen=True)
class Fog(Pixels):
    """Fog of uneven density.

    Formula: out = (x + c * P) * m / (m + c), x in 0..1, m the greatest value of the frame, P a plasma fractal in 0..1
    (diamond-square, roughness divided by the setting's second number from level to level), of which the frame sees the upper
    left corner.

    P has 256 pixels a side (tiny-64: 64; imagecorruptions: no least), or the next power of two where the frame is larger (the
    original fails). Yi et al. draw one fractal per clip, which is the reference's mode of their table. drift: the fog slides to
    the left or to the right by 0.5 % of the frame's width per 1/25 s, wrapping around, while every draw of the fractal goes up
    and down within 20 s.

    Source: Hendrycks and Dietterich 2019, ImageNet-C and Tiny-ImageNet-C; Yi et al. 2021, Mini Kinetics-C.
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
        "yi2021": ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
        "imagecorruptions": ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
        "tiny-64": ((0.4, 3.0), (0.7, 3.0), (1.0, 2.5), (1.5, 2.0), (2.0, 1.75)),
    }
    modes: ClassVar[tuple[str, ...]] = ("iid", "static", "drift")
    references: ClassVar[Mapping[str, str]] = {"yi2021": "static"}

    temporal: str = param("reference", help="iid, static or drift; reference: static in yi2021, else iid")

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See the class."""
        frames, height, width = clips.shape[2:]
        size = max({"tiny-64": 64, "imagecorruptions": 1}.get(self.table, 256), 1 << (max(height, width) - 1).bit_length())
        weight, decay = setting

        def layers(stream: ClipRandom) -> Iterator[Tensor]:
            if self.temporal == "drift":
                return sliding_fog(stream, (frames, height, width), size, decay, rate)
            return standing(
                self.temporal,
                frames,
                size**2,
                lambda count: plasma(stream.uniform((count, size**2 - 1), -1, 1)[0], size, decay)[:, :height, :width],
            )

        def mix(pixels: Tensor, density: Tensor) -> Tensor:
            most = pixels.amax((0, 2, 3))[:, None, None]
            share = most / (most + 255 * weight)
            return pixels.mul_(share).add_(density * (share * (255 * weight)))

        return blended(clips, rng, layers, mix, self.quantise)


@register("corruption", "spatter")
@dataclass(frozen=True)
class Spatter(Pixels):
    """Drops of water (severities 1 to 3) or mud (4 and 5) on the lens.

    Formula: L = noise N(c0, c1^2) blurred by a Gaussian of sigma c2 pixels. Water: L below c3 becomes 0; d = the distance to
    its Canny edges, up to 20, smoothed, equalised, embossed and smoothed; m = c4 * L * d / max(L * d); out = x + m * (175, 238,
    238) / 255. Mud: m = 1[L > c3] blurred by sigma c4, 0 where below 0.8; out = x * (1 - m) + m * (63, 42, 20) / 255.

    Where a frame has no water at all, which the original divides by zero for, it stays as it is. drift: the drops slide down by
    0.5 % of the frame's height per 1/25 s, and come back mirrored after the whole height.

    Source: Hendrycks and Dietterich 2019, ImageNet-C and Tiny-ImageNet-C (validation corruptions).
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "imagenet-c-224": (
            (0.65, 0.3, 4, 0.69, 0.6, "water"),
            (0.65, 0.3, 3, 0.68, 0.6, "water"),
            (0.65, 0.3, 2, 0.68, 0.5, "water"),
            (0.65, 0.3, 1, 0.65, 1.5, "mud"),
            (0.67, 0.4, 1, 0.65, 1.5, "mud"),
        ),
        "imagecorruptions": (
            (0.65, 0.3, 4, 0.69, 0.6, "water"),
            (0.65, 0.3, 3, 0.68, 0.6, "water"),
            (0.65, 0.3, 2, 0.68, 0.5, "water"),
            (0.65, 0.3, 1, 0.65, 1.5, "mud"),
            (0.67, 0.4, 1, 0.65, 1.5, "mud"),
        ),
        "tiny-64": (
            (0.62, 0.1, 0.7, 0.7, 0.6, "water"),
            (0.65, 0.1, 0.8, 0.7, 0.6, "water"),
            (0.65, 0.3, 1, 0.69, 0.6, "water"),
            (0.65, 0.1, 0.7, 0.68, 0.6, "mud"),
            (0.65, 0.1, 0.5, 0.67, 0.6, "mud"),
        ),
    }
    modes: ClassVar[tuple[str, ...]] = ("iid", "static", "drift")

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See the class."""
        frames, height, width = clips.shape[2:]
        colour = torch.tensor(WATER if setting[5] == "water" else MUD, device=clips.device)[:, None, None, None]

        def masks(stream: ClipRandom, count: int) -> Tensor:
            noise = stream.normal((count, height, width))[0].cpu().numpy()
            return torch.stack([torch.from_numpy(spatter_mask(one, setting)) for one in noise]).to(clips.device)

        def layers(stream: ClipRandom) -> Iterator[Tensor]:
            if self.temporal != "drift":
                yield from standing(self.temporal, frames, height * width, partial(masks, stream))
                return
            mask = masks(stream, 1)[0]
            mask = torch.cat([mask, mask.flip(0)])  # goes on seamlessly, and no drop is lost: the edges of the frame have most
            for part in chunks(frames, height * width):
                down = travel(part, SPATTER_SLIDE, height, rate)
                yield moved(mask, down, torch.zeros_like(down), height, width)

        def mix(pixels: Tensor, mask: Tensor) -> Tensor:
            if setting[5] == "mud":
                pixels.mul_(1 - mask)
            return pixels.add_(mask * colour)

        return blended(clips, rng, layers, mix, self.quantise)


@register("corruption", "rain")
@dataclass(frozen=True)
class Rain(Pixels):
    """Rain: light lines, blur behind them, and less contrast.

    Formula: height * width // d lines, one pixel wide and l pixels long, of grey level 220: a mask M in 0..1 (elsewhere 0).
    With x in 0..1, y = x + M * (1 - x) * (1 - mean(x)), 8 bits; z = M * (y under a 3 x 3 box) + (1 - M) * x; out = (z - mean) *
    k + mean, with the mean of each channel. The setting is (d, l, k).

    The reference draws a slant for each frame, lets it shift where lines may begin, and then draws all lines with a slant of -1
    pixel; so does this. Lines of frames lower than l begin at the top (the reference fails). drift: lines fall along
    themselves, wrapping around, by 4 % of the frame's height per 1/25 s, every second one, farther away, by 3 %.

    Source: Yi et al. 2021, Mini Kinetics-C, which draws anew for every frame and then stores JPEG of quality 80 (storage=jpeg80).
    """

    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "yi2021": ((770, 10, 0.8), (770, 30, 0.8), (770, 60, 0.7), (500, 60, 0.6), (400, 80, 0.5)),
    }
    modes: ClassVar[tuple[str, ...]] = ("iid", "static", "drift")
    smallest: ClassVar[int] = 2

    table: str = param("yi2021", help="severity table")

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """See the class."""
        frames, height, width = clips.shape[2:]
        area, length, contrast = setting
        lines = height * width // area

        def draw(stream: ClipRandom, count: int) -> Tensor:
            draws = stream.uniform((count, 1 + 2 * lines))[0].cpu().numpy()
            drops = [rainy.rain_drops(one, height, width, length) for one in draws]
            return torch.stack([rainy.rain_mask(one, height, width, length) for one in drops])

        def layers(stream: ClipRandom) -> Iterator[Tensor]:
            if self.temporal == "drift":
                draws = stream.uniform((2 * lines,))[0].cpu().numpy()
                return rainy.falling_rain(draws, length, (frames, height, width), rate)
            return standing(self.temporal, frames, height * width, partial(draw, stream))

        def mix(pixels: Tensor, mask: Tensor) -> Tensor:
            return rainy.rained(pixels, mask.to(pixels.device, torch.float32), contrast)

        return blended(clips, rng, layers, mix, self.quantise)
