"""How weather moves, and how its layers meet the frames.

Layers move by whole pixels, on a torus or inside a larger picture, so that no frame's layer is blurred by the motion and every
frame is corrupted as strongly as one that stands still.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..benchmark.core.rng import ClipRandom

USUAL_RATE = 25.0
"""Frames per second that the speeds of weather are given for."""

SNOW_NEAR, SNOW_FAR = 0.02, 0.014
RAIN_NEAR, RAIN_FAR = 0.04, 0.03
FOG_SLIDE = 0.005
SPATTER_SLIDE = 0.005
FROST_SLIDE = 0.0025
"""Speeds, as parts of the frame's height (of fog: of its width) per frame of 1/25 s."""

FOG_PERIOD = 20.0
"""Seconds in which every draw of a drifting fog goes once up and down."""

CHUNK = 2**22
"""Pixels of the layers that are made at once, so that memory does not grow with the length of a video."""


def chunks(frames: int, pixels: int) -> list[range]:
    """0..frames in parts whose layers of so many pixels each have CHUNK pixels or, if one layer has more, are one."""
    count = max(1, CHUNK // pixels)
    return [range(first, min(first + count, frames)) for first in range(0, frames, count)]


def standing(temporal: str, frames: int, pixels: int, draw: Callable[[int], Tensor]) -> Iterator[Tensor]:
    """The layers of a clip that does not drift.

    Args:
        temporal: `iid` for a new layer at every frame, else one for all.
        frames: Of the clip.
        pixels: Of a layer.
        draw: Makes so many layers, (count, ...).

    Yields:
        (F, ...), whose F add up to `frames`.
    """
    if temporal == "iid":
        for part in chunks(frames, pixels):
            yield draw(len(part))
    else:
        layer = draw(1)
        yield layer.expand(frames, *layer.shape[1:])


def travel(frames: range, speed: float, side: int, rate: float) -> Tensor:
    """How far something has moved at each frame, pixels, float64 of shape (F,).

    Args:
        frames: Which, counted from the clip's first.
        speed: Part of `side` per frame at 25 frames per second.
        side: Pixels.
        rate: Frames per second of the clip; 0 if unknown, which is taken for 25.
    """
    each = speed * side * USUAL_RATE / (rate or USUAL_RATE)
    return torch.arange(frames.start, frames.stop, dtype=torch.float64) * each


def moved(layer: Tensor, down: Tensor, right: Tensor, height: int, width: int) -> Tensor:
    """A layer that goes on seamlessly across its borders, seen through a frame while it moves.

    Args:
        layer: (P, Q), no smaller than the frame.
        down: How far it has come at each frame, pixels, shape (F,).
        right: Likewise to the right.
        height: Of the frame.
        width: Of the frame.

    Returns:
        (F, height, width).
    """
    tiled = layer.tile(2, 2)
    tops = (-down.round().long() % layer.shape[0]).tolist()
    lefts = (-right.round().long() % layer.shape[1]).tolist()
    return torch.stack([tiled[top : top + height, left : left + width] for top, left in zip(tops, lefts, strict=True)])


def bounced(start: float, way: Tensor, room: int) -> Tensor:
    """Where in 0..room something is, whole pixels, that starts at `start`, goes `way` and turns round at both ends."""
    if room <= 0:
        return torch.zeros_like(way, dtype=torch.long)
    return (room - ((start + way) % (2 * room) - room).abs()).round().long()


def wrapped(field: Tensor, margin: int) -> Tensor:
    """A periodic field (M, P, Q) with `margin` more pixels of itself on each side."""
    rows = torch.arange(-margin, field.shape[1] + margin, device=field.device) % field.shape[1]
    columns = torch.arange(-margin, field.shape[2] + margin, device=field.device) % field.shape[2]
    return field[:, rows][:, :, columns]


def blended(
    clips: Tensor,
    rng: ClipRandom,
    layers: Callable[[ClipRandom], Iterator[Tensor]],
    mix: Callable[[Tensor, Tensor], Tensor],
    quantise: Callable[[Tensor], Tensor],
) -> Tensor:
    """Clips with layers mixed in.

    Args:
        clips: uint8 (N, 3, T, H, W).
        rng: One stream per clip.
        layers: From a clip's stream its layers (F, ...), whose F add up to T.
        mix: From grey levels, float32 (3, F, H, W), which it may overwrite, and layers the new grey levels.
        quantise: From these to uint8.

    Returns:
        uint8 of the same shape.
    """
    made = torch.empty_like(clips)
    for row, clip in enumerate(clips):
        first = 0
        for layer in layers(rng[torch.tensor([row])]):
            step = 1 if clips.device.type == "cpu" else len(layer)  # one frame stays in a processor's cache
            for start in range(0, len(layer), step):
                part = layer[start : start + step]
                frames = slice(first + start, first + start + len(part))
                made[row, :, frames] = quantise(mix(clip[:, frames].float(), part))
            first += len(layer)
    return made
