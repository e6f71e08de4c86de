"""What elastic deformation is made of: smooth random fields, a random affine map, and sampling at the places they lead to."""

from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SMALL = 8.0
"""Standard deviation, pixels, from which on a matrix product is as fast as OpenCV's filter."""


def smoothed(fields: Tensor, sigma_rows: float, sigma_columns: float) -> Tensor:
    """Fields under a Gaussian that ends at three sigmas, edges mirrored.

    As a matrix product per direction, for sigma may be as large as the frame; on the CPU, a small one is left to OpenCV.

    Args:
        fields: float32 (..., H, W).
        sigma_rows: From row to row, pixels.
        sigma_columns: From column to column, pixels.
    """
    height, width = fields.shape[-2:]
    if fields.device.type == "cpu" and sigma_rows * sigma_columns > 0 and max(sigma_rows, sigma_columns) < SMALL:
        return _smoothed_small(fields, sigma_rows, sigma_columns)
    across = gaussian_matrix(width, sigma_columns).to(fields.device)
    down = gaussian_matrix(height, sigma_rows).to(fields.device)
    return down @ (fields @ across.T)


def _smoothed_small(fields: Tensor, sigma_rows: float, sigma_columns: float) -> Tensor:
    made = torch.empty_like(fields, memory_format=torch.contiguous_format)
    size = (2 * int(3 * sigma_columns + 0.5) + 1, 2 * int(3 * sigma_rows + 0.5) + 1)
    planes = zip(fields.flatten(0, -3).numpy(), made.flatten(0, -3).numpy(), strict=True)
    for plane, smooth in planes:
        cv2.GaussianBlur(plane, size, sigma_columns, dst=smooth, sigmaY=sigma_rows, borderType=cv2.BORDER_REFLECT)
    return made


@lru_cache(maxsize=8)
def gaussian_matrix(size: int, sigma: float) -> Tensor:
    """The matrix (size, size) of `smoothed` along one direction, float32."""
    radius = int(3 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets / sigma).double() ** 2) if radius else torch.ones(1, dtype=torch.float64)
    places = torch.arange(size)[:, None]
    matrix = torch.zeros(size, size, dtype=torch.float64)
    columns = _folded(places + offsets, size, twice=True)
    matrix.index_put_((places, columns), weights / weights.sum(), accumulate=True)
    return matrix.float()


def affine_maps(jitter: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Where each pixel looks under affine maps that move three points about the centre.

    The points are the centre and corners of a square of two thirds of the short side. Places are multiples of 1/32 pixel, made
    the way of OpenCV's warpAffine, whose coarse places are part of the published corruption.

    Args:
        jitter: By how much each of the three points (x, y) moves, pixels, float32 (D, 3, 2).
        height: Of the frame, pixels.
        width: Of the frame, pixels.

    Returns:
        Columns and rows, float32 (D, H, W), on the jitter's device.
    """
    reach, centre = min(height, width) // 3, np.array([width // 2, height // 2], dtype=np.float64)
    points = centre + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = points.astype(np.float32) + jitter.cpu().numpy()
    inverse = np.stack([_affine(after.astype(np.float64), points) for after in moved])  # (D, 2, 3)
    along = np.rint(inverse[:, :, :1] * np.arange(width) * 1024).astype(np.int32)  # (D, 2, W)
    down = np.rint((inverse[:, :, 1:2] * np.arange(height) + inverse[:, :, 2:]) * 1024 + 16).astype(np.int32)  # (D, 2, H)
    places = (down[:, :, :, None] + along[:, :, None, :]) >> 5
    maps = torch.from_numpy(places.astype(np.float32)).div_(32).to(jitter.device)
    return maps[:, 0], maps[:, 1]


def _affine(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (2, 3) matrix that takes three points (3, 2) to three others."""
    return np.linalg.solve(np.column_stack([before, np.ones(3)]), after).T.astype(np.float64)


def sampled(values: Tensor, x: Tensor, y: Tensor, twice: bool) -> Tensor:
    """Values at given places, bilinear, mirrored beyond the edges.

    Args:
        values: float32 (3, T, H, W).
        x: Columns, float32 (D, H, W), D maps, 1 or T.
        y: Rows, likewise.
        twice: The mirror shows the edge a second time.

    Returns:
        Like `values`.
    """
    if values.device.type != "cpu":
        return sampled_torch(values, x, y, twice)
    from .digital_kernels import sample  # numba takes longer to import than the rest of the family together

    height, width = values.shape[-2:]
    planes, columns, rows = (part.flatten(-2).contiguous().numpy() for part in (values, x, y))
    return torch.from_numpy(sample(planes, columns, rows, height, width, twice)).view(values.shape)


def sampled_torch(values: Tensor, x: Tensor, y: Tensor, twice: bool) -> Tensor:
    """`sampled` on any device."""
    height, width = values.shape[-2:]
    left, top = x.floor(), y.floor()
    across, down = x - left, y - top
    columns = [_folded(left.long() + step, width, twice) for step in (0, 1)]
    rows = [_folded(top.long() + step, height, twice) for step in (0, 1)]
    flat = values.flatten(2)

    def at(row: Tensor, column: Tensor) -> Tensor:
        index = (row * width + column).flatten(1).expand(*flat.shape)
        return flat.gather(2, index).view_as(values)

    upper, lower = (torch.lerp(at(row, columns[0]), at(row, columns[1]), across.expand_as(values)) for row in rows)
    return torch.lerp(upper, lower, down.expand_as(values))


def _folded(index: Tensor, size: int, twice: bool) -> Tensor:
    """Indices outside of 0 to size - 1, mirrored back."""
    period = max(2 * size if twice else 2 * size - 2, 1)
    index = index % period
    return torch.minimum(index, period - index - (1 if twice else 0))
