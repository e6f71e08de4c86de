"""Loops of the digital family for the CPU, compiled."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Counts = NDArray[np.uint32]
Floats = NDArray[np.float32]


@njit(cache=True, error_model="numpy", inline="always")
def _folded(index: int, size: int, twice: bool) -> int:
    """An index outside of 0 to size - 1, mirrored back; `twice`: the mirror shows the edge a second time."""
    period = max(2 * size if twice else 2 * size - 2, 1)
    index %= period
    return min(index, period - index - (1 if twice else 0))


@njit(cache=True, error_model="numpy", inline="always")
def _mixed(plane: Floats, corners: tuple[Any, Any, Any, Any], across: float, down: float) -> Any:
    """The bilinear mean of four pixels of a flat plane: two of a row and two of the next."""
    upper = plane[corners[0]] + across * (plane[corners[1]] - plane[corners[0]])
    lower = plane[corners[2]] + across * (plane[corners[3]] - plane[corners[2]])
    return upper + down * (lower - upper)


@njit(cache=True, error_model="numpy")
def sample(planes: Floats, x: Floats, y: Floats, height: int, width: int, twice: bool) -> Floats:
    """Values at given places, bilinear, mirrored beyond the edges.

    Args:
        planes: (3, T, P), P = H W pixels.
        x: Columns, (D, P), D maps, 1 or T.
        y: Rows, likewise.
        height: H.
        width: W.
        twice: The mirror shows the edge a second time.

    Returns:
        Like `planes`.
    """
    made = np.empty_like(planes)
    for frame in range(planes.shape[1]):
        own = frame % len(x)
        red, green, blue = planes[0, frame], planes[1, frame], planes[2, frame]
        for pixel in range(planes.shape[2]):
            column, row = np.floor(x[own, pixel]), np.floor(y[own, pixel])
            across, down = x[own, pixel] - column, y[own, pixel] - row
            left, top = int(column), int(row)
            right, bottom = left + 1, top + 1
            if left < 0 or right >= width or top < 0 or bottom >= height:
                left, right = _folded(left, width, twice), _folded(right, width, twice)
                top, bottom = _folded(top, height, twice), _folded(bottom, height, twice)
            upper, lower = top * width, bottom * width
            # Without a sign, numba need not ask whether an index counts from the end: half the time.
            corners = (np.uintp(upper + left), np.uintp(upper + right), np.uintp(lower + left), np.uintp(lower + right))
            made[0, frame, pixel] = _mixed(red, corners, across, down)
            made[1, frame, pixel] = _mixed(green, corners, across, down)
            made[2, frame, pixel] = _mixed(blue, corners, across, down)
    return made


@njit(cache=True, error_model="numpy")
def blocks(planes: Bytes, rows: Counts, columns: Counts, from_row: Counts, from_column: Counts) -> Bytes:
    """Planes reduced to block means, along rows first, rounded after each direction, and brought back to their size.

    Args:
        planes: (P, H, W).
        rows: (3, h): first row, end and 22-bit reciprocal length of each block.
        columns: (3, w): likewise.
        from_row: (H,): the block that each row shows.
        from_column: (W,): likewise.

    Returns:
        Like `planes`.
    """
    made = np.empty_like(planes)
    half, bits = np.uint32(1 << 21), np.uint32(22)
    sums, line = np.empty(columns.shape[1], np.uint32), np.empty(columns.shape[1], np.uint8)
    for index in range(planes.shape[0]):
        for row in range(planes.shape[1]):
            block = from_row[row]
            if row > 0 and block == from_row[row - 1]:
                made[index, row] = made[index, row - 1]
                continue
            sums[:] = 0
            for own in range(rows[0, block], rows[1, block]):
                source = planes[index, own]
                for column in range(columns.shape[1]):
                    total = np.uint32(0)
                    for position in range(columns[0, column], columns[1, column]):
                        total += np.uint32(source[np.uintp(position)])
                    sums[column] += (total * columns[2, column] + half) >> bits
            for column in range(columns.shape[1]):
                line[column] = (sums[column] * rows[2, block] + half) >> bits
            for column in range(planes.shape[2]):
                made[index, row, column] = line[np.uintp(from_column[column])]
    return made
