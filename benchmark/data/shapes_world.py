"""The toy world `shapes`: eight classes told by a background, an object and a motion direction.

After the toy experiment of Hwang et al. 2024 (temporal shuffling, section 3.2). Every clip shows an oriented
random texture and a soft-edged object that both move in one of eight directions at a constant speed of 3 to
5 px a frame, as under a panning camera. Everything about a clip follows from (variant, label, seed).

Why the numbers are what they are. The *texture* is filtered noise with a fresh phase in every clip: there is no
fixed template to match. It *moves* because a network then mixes frames, and only then does an adversarial
perturbation have temporal structure (only about 15 % of its energy is constant in time; in a trial with a still
background it was about half). The *contrasts* are set so that on `shapes`
PGD breaks the tiny TSM at 4/255 and, only in part, at 2/255. *Sensor noise* keeps flat areas from
being exactly constant, and is weak enough for H.264 to stay small.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from ..core.codec import repeatable_x264

CLASSES = ("east", "south-east", "south", "south-west", "west", "north-west", "north", "north-east")
OBJECTS = ("disc", "square", "ring", "plus", "slab", "pillar", "triangle", "cross")
VARIANTS = ("shapes", "shapes-object", "shapes-motion")
FRAMES = 8
SIZE = 64
FPS = 25
CRF = 20

SPEED = (3.0, 5.0)  # px a frame
TEXTURE_CONTRAST = 0.125  # standard deviation of the background, 1.0 = full pixel range
OBJECT_CONTRAST = 0.2  # brightness of the object above the background
NOISE = 0.02  # standard deviation of the sensor noise, fresh in every pixel and frame
RADIUS = 10.0  # of the object, px
BAND = (3.0, 7.0)  # cycles per frame width that the texture holds: long waves, so 5 px a frame never alias
SHARPNESS = 6.0  # how narrowly the texture keeps to its orientation

_STREAM = 1  # raise when the meaning of a seed changes
_AXIS = np.arange(SIZE, dtype=np.float64)
_FREQ = np.fft.fftfreq(SIZE) * SIZE
_FY, _FX = _FREQ[:, None], _FREQ[None, :]


def render(variant: str, label: int, seed: int) -> np.ndarray:
    """One clip, uint8 (FRAMES, SIZE, SIZE, 3), grey; `label` is in 0..7, `seed` any non-negative int."""
    if variant not in VARIANTS:
        raise ValueError(f"variant: {variant!r} is none of {', '.join(VARIANTS)}")
    if not 0 <= label < len(CLASSES):
        raise ValueError(f"label: {label} is not in 0..{len(CLASSES) - 1}")
    rng = np.random.Generator(np.random.PCG64([_STREAM, VARIANTS.index(variant), label, seed]))
    # All draws are made in every variant, so that clips of two variants differ in their cues alone.
    random_background, random_object = (int(v) for v in rng.integers(len(CLASSES), size=2))
    background = label if variant == "shapes" else random_background
    thing = random_object if variant == "shapes-motion" else label
    steps = _path(label, rng)
    video = 0.5 + TEXTURE_CONTRAST * _drift(_texture(background, rng), steps)
    start = rng.uniform(0, SIZE, size=2)
    video += OBJECT_CONTRAST * np.stack([_mask(thing, *(start + step)) for step in steps])
    video += NOISE * rng.standard_normal(video.shape)
    grey = np.rint(np.clip(video, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _path(direction: int, rng: np.random.Generator) -> np.ndarray:
    """Displacement (y, x) in px of every frame, (FRAMES, 2): constant velocity, y points down."""
    angle = direction * np.pi / 4
    velocity = rng.uniform(*SPEED) * np.array([np.sin(angle), np.cos(angle)])
    return np.arange(FRAMES)[:, None] * velocity


def _texture(kind: int, rng: np.random.Generator) -> np.ndarray:
    """Spectrum of band-passed noise whose waves run at `kind` x 22.5 degrees, unit variance in space."""
    radius, angle = np.hypot(_FY, _FX), np.arctan2(_FY, _FX)
    oriented = np.exp(SHARPNESS * (np.cos(2 * (angle - kind * np.pi / 8)) - 1))
    keep = oriented * ((radius >= BAND[0]) & (radius <= BAND[1]))
    spectrum = np.fft.fft2(rng.standard_normal((SIZE, SIZE))) * keep
    return spectrum / np.fft.ifft2(spectrum).real.std()


def _drift(spectrum: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The texture moved by each step, (FRAMES, SIZE, SIZE); wraps around, sub-pixel steps are exact."""
    dy, dx = steps[:, 0, None, None], steps[:, 1, None, None]
    return np.fft.ifft2(spectrum * np.exp(-2j * np.pi * (_FY * dy + _FX * dx) / SIZE)).real


def _mask(kind: int, cy: float, cx: float) -> np.ndarray:
    """Object `kind` centred at (cy, cx), (SIZE, SIZE) in [0, 1]; wraps around, edges one pixel soft."""
    y = (_AXIS[:, None] - cy + SIZE / 2) % SIZE - SIZE / 2
    x = (_AXIS[None, :] - cx + SIZE / 2) % SIZE - SIZE / 2
    u, v, r = (y + x) / np.sqrt(2), (y - x) / np.sqrt(2), RADIUS

    def bar(a: np.ndarray, b: np.ndarray, half_a: float, half_b: float) -> np.ndarray:
        return np.maximum(abs(a) - half_a * r, abs(b) - half_b * r)

    if kind == 0:
        distance = np.hypot(y, x) - r
    elif kind == 1:
        distance = bar(y, x, 0.9, 0.9)
    elif kind == 2:
        distance = abs(np.hypot(y, x) - 0.8 * r) - 0.22 * r
    elif kind == 3:
        distance = np.minimum(bar(y, x, 1.1, 0.3), bar(y, x, 0.3, 1.1))
    elif kind == 4:
        distance = bar(y, x, 0.4, 1.4)
    elif kind == 5:
        distance = bar(y, x, 1.4, 0.4)
    elif kind == 6:
        distance = np.maximum(y - 0.7 * r, 0.87 * abs(x) - 0.5 * y - 0.55 * r)
    else:
        distance = np.minimum(bar(u, v, 1.2, 0.3), bar(u, v, 0.3, 1.2))
    return np.clip(0.5 - distance, 0, 1)


def encode(path: str | Path, frames: np.ndarray) -> None:
    """Write uint8 (T, H, W, 3) frames as an H.264 MP4: one thread and fixed options, so the bytes repeat."""
    options = {"crf": str(CRF), "preset": "medium", "g": str(len(frames)), "threads": "1"} | repeatable_x264()
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
