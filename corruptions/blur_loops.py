"""Loops of the blurs on the CPU, compiled by numba.

The innermost loops run over neighbours in memory, so that they compile to vector instructions. `lift` is what is added before a
sum is cut to a whole grey level.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def separable(planes: NDArray, half: NDArray, lift: float, blurred: NDArray) -> None:
    """A symmetric kernel down the columns and along the rows; the edge repeats.

    Args:
        planes: uint8 (M, H, W).
        half: float32 (R + 1,), the kernel from its middle outwards.
        lift: See above.
        blurred: uint8 (M, H, W), written.
    """
    count, height, width = planes.shape
    reach = len(half) - 1
    row = np.empty(width + 2 * reach, np.float32)
    total = np.empty(width, np.float32)
    middle = row[reach : reach + width]
    for m in range(count):
        plane = planes[m].astype(np.float32)
        for h in range(height):
            source = plane[h]
            for w in range(width):
                middle[w] = half[0] * source[w]
            for i in range(1, reach + 1):
                above, below, weight = plane[max(h - i, 0)], plane[min(h + i, height - 1)], half[i]
                for w in range(width):
                    middle[w] += weight * (above[w] + below[w])
            row[:reach] = middle[0]
            row[reach + width :] = middle[width - 1]
            for w in range(width):
                total[w] = half[0] * middle[w] + np.float32(lift)
            for i in range(1, reach + 1):
                left, right, weight = row[reach - i :], row[reach + i :], half[i]
                for w in range(width):
                    total[w] += weight * (left[w] + right[w])
            target = blurred[m, h]
            for w in range(width):
                target[w] = np.uint8(total[w])


@njit(cache=True, nogil=True)
def disc(planes: NDArray, rows: NDArray, columns: NDArray, first: NDArray, taps: NDArray, lift: int, blurred: NDArray) -> None:
    """A kernel that is mostly flat: every row of the result is the row above plus what enters and leaves at the kernel's rim.

    All in whole numbers, so nothing piles up on the way down.

    Args:
        planes: uint8 (M, H, W).
        rows: int64 (H + 2 R + 1,), the plane's row behind each row of the padded plane.
        columns: int64 (W + 2 R,), likewise.
        first: int64 (K, 3), the kernel: row and column from its corner, weight in 2**-22.
        taps: int64 (K, 3), likewise what enters from one row to the next, sorted by weight; rows count from one above the kernel.
            What leaves is its mirror image.
        lift: See above, in 2**-22.
        blurred: uint8 (M, H, W), written.
    """
    width = planes.shape[2]
    padded = np.empty((len(rows), len(columns)), np.int16)
    total, group = np.empty(width, np.int32), np.zeros(width, np.int16)
    last = len(rows) - planes.shape[1]
    for m in range(len(planes)):
        for y in range(len(rows)):
            row, source = padded[y], planes[m, rows[y]]
            for x in range(len(columns)):
                row[x] = source[columns[x]]
        total[:] = lift
        for k in range(len(first)):
            source, weight = padded[1 + first[k, 0], first[k, 1] :], first[k, 2]
            for w in range(width):
                total[w] += weight * source[w]
        for h in range(planes.shape[1]):
            if h > 0:
                _slide(padded[h : h + last + 1], taps, total, group)
            target = blurred[m, h]
            for w in range(width):
                target[w] = min(total[w] >> 22, 255)


@njit(cache=True, nogil=True)
def _slide(window: NDArray, taps: NDArray, total: NDArray, group: NDArray) -> None:
    """Moves the kernel down by one row; taps of one weight, up to 64 of them, are added in 16 bits before they are weighted."""
    width, last = len(total), len(window) - 1
    for k in range(len(taps)):
        y, x, weight = taps[k, 0], taps[k, 1], taps[k, 2]
        enters, leaves = window[y, x : x + width], window[last - y, x : x + width]
        for w in range(width):
            group[w] += enters[w] - leaves[w]
        if k + 1 == len(taps) or taps[k + 1, 2] != weight:
            for w in range(width):
                total[w] += np.int32(weight) * np.int32(group[w])
                group[w] = 0


@njit(cache=True, nogil=True)
def spread(codes: NDArray, steps: NDArray, margin: int, sources: NDArray) -> None:
    """Frosted glass: pixel after pixel, from the last to the first, takes over a neighbour as that one is by then.

    Args:
        codes: int16 (M, H - 2 margin, W - 2 margin), what every pixel drew.
        steps: int32 (sweeps, draws), how far in memory the neighbour is that a draw means in each sweep.
        margin: Rows and columns above and left of the first pixel, less one; it is also the furthest neighbour.
        sources: int32 (M, H, W), written: which pixel of the plane ends up here.
    """
    count, height, width = sources.shape
    for m in range(count):
        source = sources[m].reshape(-1)
        for place in range(len(source)):
            source[place] = place
        for sweep in range(len(steps)):
            step = steps[sweep]
            for h in range(height - margin, margin, -1):
                code = codes[m, h - margin - 1]
                for w in range(width - margin, margin, -1):
                    place = h * width + w
                    source[place] = source[place + step[code[w - margin - 1]]]


@njit(cache=True, nogil=True)
def gather(planes: NDArray, sources: NDArray, repeats: int, frames: int, moved: NDArray) -> None:
    """Planes (clips * 3 * T, H * W) by the places that `sources` (clips * (T / repeats), H * W) names, for `frames` T."""
    draws = frames // repeats
    for m in range(len(planes)):
        source = sources[m // (3 * frames) * draws + m % frames // repeats]
        for place in range(planes.shape[1]):
            moved[m, place] = planes[m, source[place]]


@njit(cache=True, nogil=True)
def motion(planes: NDArray, weights: NDArray, down: NDArray, right: NDArray, blurred: NDArray) -> None:
    """Weighted sums of shifted planes; the edge repeats.

    Args:
        planes: (M, H, W), uint8 or float32.
        weights: float32 (K,).
        down: int64 (M, K), rows from a pixel to where its k-th term is read.
        right: int64 (M, K), columns likewise.
        blurred: float32 (M, H, W), written.
    """
    count, height, width = planes.shape
    pad = max(np.abs(down).max(), np.abs(right).max())
    padded = np.empty((height, width + 2 * pad), np.float32)
    for m in range(count):
        for h in range(height):
            source, wide = planes[m, h], padded[h]
            for w in range(width):
                wide[pad + w] = source[w]
            wide[:pad] = source[0]
            wide[pad + width :] = source[width - 1]
        for h in range(height):
            row = blurred[m, h]
            row[:] = 0
            for k in range(len(weights)):
                start, weight = pad + right[m, k], weights[k]
                term = padded[min(max(h + down[m, k], 0), height - 1), start : start + width]
                for w in range(width):
                    row[w] += weight * term[w]


@njit(cache=True, nogil=True)
def zooms(stack: NDArray, rows: NDArray, down: NDArray, columns: NDArray, right: NDArray, lift: float, blurred: NDArray) -> None:
    """The mean of planes, twice, and of their bilinear enlargements.

    Args:
        stack: float32 (H, W, M), planes.
        rows: int64 (Z, H, 2), the two rows that each row of an enlargement lies between.
        down: float32 (Z, H), how far it is from the first to the second.
        columns: int64 (Z, W, 2), likewise.
        right: float32 (Z, W), likewise.
        lift: See above.
        blurred: uint8 (H, W, M), written.
    """
    height, width, count = stack.shape
    share = np.float32(1 / (len(rows) + 2))
    total = np.empty(count, np.float32)
    for h in range(height):
        for w in range(width):
            pixel = stack[h, w]
            for k in range(count):
                total[k] = np.float32(2) * pixel[k]
            for z in range(len(rows)):
                upper, lower = stack[rows[z, h, 0]], stack[rows[z, h, 1]]
                left, far = columns[z, w, 0], columns[z, w, 1]
                low, far_share = down[z, h], right[z, w]
                high, near_share = np.float32(1) - low, np.float32(1) - far_share
                a, b, c, d = upper[left], upper[far], lower[left], lower[far]
                wa, wb, wc, wd = high * near_share, high * far_share, low * near_share, low * far_share
                for k in range(count):
                    total[k] += (wa * a[k] + wb * b[k]) + (wc * c[k] + wd * d[k])
            target = blurred[h, w]
            for k in range(count):
                target[k] = np.uint8(total[k] * share + np.float32(lift))
