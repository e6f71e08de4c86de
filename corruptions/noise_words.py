"""Random 16-bit words: cheap to draw, and fine enough for a result of 256 grey levels."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..benchmark.core.rng import ClipRandom

WORDS = 1 << 16
"""How many words there are, all equally likely."""


def words(rng: ClipRandom, shape: Sequence[int]) -> Iterator[NDArray[np.uint16]]:
    """Independent words for one clip after the other, so that a batch's are never in memory together.

    Args:
        rng: The clips' streams; each gives the seed of an SFC64 generator, whose raw output NumPy guarantees for good.
        shape: Shape of one clip's words.

    Yields:
        uint16 of `shape`, uniform on 0 to 65535.
    """
    size = int(np.prod(shape))
    for seed in rng.integers(0, 1 << 62).tolist():
        raw = np.random.SFC64(seed).random_raw(-(-size // 4))
        yield raw.astype("<u8", copy=False).view("<u2")[:size].reshape(shape)
