"""The noise laws for the CPU, compiled: one pass over a clip each, and a frame's words are used again where there is one draw."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Clip = NDArray[np.uint8]
Words = NDArray[np.uint16]


@njit(cache=True, error_model="numpy")
def normal(clip: Clip, words: Words, quantiles: NDArray[np.float32], gain: NDArray[np.float32], half: float) -> Clip:
    """Adds to each value its grey level's `gain` times a normal quantile.

    Args:
        clip: (3, T, P), P pixels.
        words: (3, D, P), D draws, 1 or T.
        quantiles: One per word.
        gain: Standard deviation by grey level, grey levels.
        half: 0.5 to round, 0 to cut.

    Returns:
        Like `clip`.
    """
    made = np.empty_like(clip)
    for channel in range(clip.shape[0]):
        for frame in range(clip.shape[1]):
            draw = frame % words.shape[1]
            for pixel in range(clip.shape[2]):
                level = clip[channel, frame, pixel]
                value = np.float32(level) + gain[level] * quantiles[words[channel, draw, pixel]] + np.float32(half)
                made[channel, frame, pixel] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))
    return made


@njit(cache=True, error_model="numpy")
def by_table(clip: Clip, words: Words, guide: Clip, last: Words, greys: Clip) -> Clip:
    """Inverts, for each value, the distribution function that belongs to its grey level.

    Args:
        clip: (3, T, P), P pixels.
        words: (3, D, P), D draws, 1 or T.
        guide: (256, 256): by grey level and high byte of the word, the first outcome that it can be.
        last: (256, K): by grey level, the last word that gives each outcome.
        greys: (K,): the outcomes' grey levels.

    Returns:
        Like `clip`.
    """
    made = np.empty_like(clip)
    for channel in range(clip.shape[0]):
        for frame in range(clip.shape[1]):
            draw = frame % words.shape[1]
            for pixel in range(clip.shape[2]):
                level = clip[channel, frame, pixel]
                word = words[channel, draw, pixel]
                outcome = np.intp(guide[level, word >> 8])
                while word > last[level, outcome]:
                    outcome += 1
                made[channel, frame, pixel] = greys[outcome]
    return made


@njit(cache=True, error_model="numpy")
def replaced(clip: Clip, words: Words, black: int, white: int) -> Clip:
    """Puts 0 where the word is below `black`, 255 where it is `white` or more.

    Args:
        clip: (3, T, P), P pixels.
        words: (3, D, P), D draws, 1 or T.
        black: 0 to 65536.
        white: `black` to 65536.

    Returns:
        Like `clip`.
    """
    made = np.empty_like(clip)
    for channel in range(clip.shape[0]):
        for frame in range(clip.shape[1]):
            draw = frame % words.shape[1]
            for pixel in range(clip.shape[2]):
                word = np.int64(words[channel, draw, pixel])
                kept = np.uint8(255) if word >= white else clip[channel, frame, pixel]
                made[channel, frame, pixel] = np.uint8(0) if word < black else kept
    return made
