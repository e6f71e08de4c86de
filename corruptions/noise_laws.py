"""The three laws that pixel noise follows, each given the words drawn: compiled on the CPU, plain torch elsewhere.

They take a clip uint8 (3, T, H, W) and words uint16 (3, D, H, W), where D is T or, for one draw in all frames, 1. The same word
always stands for the same quantile, so a still picture under one draw stays still.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from .noise_words import WORDS

Words = NDArray[np.uint16]
Floats = NDArray[np.float32]


def normal(clip: Tensor, words: Words, gain: Floats, truncate: bool) -> Tensor:
    """Each value plus normal noise whose standard deviation depends on its grey level.

    Args:
        clip: uint8 (3, T, H, W).
        words: (3, D, H, W).
        gain: Standard deviation by grey level, float32 (256,), grey levels.
        truncate: Cut to whole grey levels instead of rounding.
    """
    if clip.device.type == "cpu":
        return _compiled("normal", clip, words, quantiles(), gain, 0.0 if truncate else 0.5)
    return normal_torch(clip, words, gain, truncate)


def normal_torch(clip: Tensor, words: Words, gain: Floats, truncate: bool) -> Tensor:
    """`normal` on any device."""
    noise = torch.from_numpy(quantiles()).to(clip.device)[_indices(words, clip)]
    values = (clip + torch.from_numpy(gain).to(clip.device)[clip.long()] * noise).clamp_(0, 255)
    return (values if truncate else values.round_()).to(torch.uint8)


def poisson(clip: Tensor, words: Words, photons: int, truncate: bool) -> Tensor:
    """Each value as counted with `photons` expected photons where it is white, and clipped there.

    Args:
        clip: uint8 (3, T, H, W).
        words: (3, D, H, W).
        photons: Expected count at grey level 255.
        truncate: Cut to whole grey levels instead of rounding.
    """
    guide, last, greys = poisson_tables(photons, truncate)
    if clip.device.type == "cpu":
        return _compiled("by_table", clip, words, guide, last, greys)
    return poisson_torch(clip, words, photons, truncate)


def poisson_torch(clip: Tensor, words: Words, photons: int, truncate: bool) -> Tensor:
    """`poisson` on any device: bisection for the first outcome whose last word is not below the word."""
    guide, last, greys = poisson_tables(photons, truncate)
    flat = torch.from_numpy(last.astype(np.int32)).to(clip.device).flatten()
    row, word = clip.long() * last.shape[1], _indices(words, clip)
    low = torch.from_numpy(guide).to(clip.device).long()[clip.long(), word >> 8]
    high = torch.full_like(low, last.shape[1] - 1)
    for _ in range((last.shape[1] - 1).bit_length()):
        middle = (low + high) // 2
        above = word > flat[row + middle]
        low, high = torch.where(above, middle + 1, low), torch.where(above, high, middle)
    return torch.from_numpy(greys).to(clip.device)[low]


def replaced(clip: Tensor, words: Words, pepper: float, salt: float) -> Tensor:
    """Each value by itself turned to 0 with probability `pepper`, to 255 with probability `salt`.

    Args:
        clip: uint8 (3, T, H, W).
        words: (3, D, H, W).
        pepper: Fraction.
        salt: Fraction.
    """
    black, white = round(pepper * WORDS), WORDS - round(salt * WORDS)
    if clip.device.type == "cpu":
        return _compiled("replaced", clip, words, black, white)
    return replaced_torch(clip, words, black, white)


def replaced_torch(clip: Tensor, words: Words, black: int, white: int) -> Tensor:
    """`replaced` on any device, with the words' bounds."""
    word = _indices(words, clip)
    return clip.masked_fill(word < black, 0).masked_fill_(word >= white, 255)


@cache
def quantiles() -> Floats:
    """The standard normal quantile in the middle of each word's share, float32 (65536,)."""
    return special.ndtri((np.arange(WORDS) + 0.5) / WORDS).astype(np.float32)


@cache
def poisson_tables(photons: int, truncate: bool) -> tuple[NDArray[np.uint8], Words, NDArray[np.uint8]]:
    """What `noise_kernels.by_table` needs: counts from `photons` on are one outcome, white.

    Each cumulative probability is right to half a word, 2**-17.
    """
    counts = np.arange(photons + 1)
    shares = special.pdtr(counts, np.arange(256)[:, None] / 255 * photons)
    shares[:, -1] = 1
    ends = np.rint(shares * WORDS).astype(np.int64)
    guide = np.stack([np.searchsorted(row, np.arange(0, WORDS, 256), side="right") for row in ends]).astype(np.uint8)
    # An outcome that no word gives ends at 0 or where its predecessor does: the guide and the search go past it.
    last = np.maximum(ends - 1, 0).astype(np.uint16)
    greys = np.clip(counts / photons, 0, 1) * 255
    return guide, last, (greys if truncate else np.rint(greys)).astype(np.uint8)


def _compiled(name: str, clip: Tensor, words: Words, *arguments: Any) -> Tensor:
    from . import noise_kernels  # numba takes longer to import than the rest of the family together

    kernel: Callable[..., NDArray[np.uint8]] = getattr(noise_kernels, name)
    flat = clip.contiguous().numpy().reshape(*clip.shape[:2], -1)
    made = kernel(flat, words.reshape(*words.shape[:2], -1), *arguments)
    return torch.from_numpy(made).view(clip.shape)


def _indices(words: Words, clip: Tensor) -> Tensor:
    """Words as indices that broadcast over the clip's frames, on its device."""
    return torch.from_numpy(words.astype(np.int32)).to(clip.device).long().expand(clip.shape)
