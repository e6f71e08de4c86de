"""Masks of spatter: drops of water with lit and dark rims, or splashes of mud."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

WATER, MUD = (175.0, 238.0, 238.0), (63.0, 42.0, 20.0)
"""Their colours, RGB."""


def spatter_mask(noise: NDArray[np.float32], setting: Sequence[float | str]) -> NDArray[np.float32]:
    """How much liquid is in front of each pixel.

    Args:
        noise: Standard normal draws, (H, W).
        setting: Mean and deviation of the noise, sigma of its blur, threshold, strength of the water or sigma of the mud's blur,
            and `water` or `mud`.

    Returns:
        float32 (H, W), 0 where there is none.
    """
    mean, deviation, sigma, threshold, last = (float(part) for part in setting[:5])
    liquid = noise * np.float32(deviation) + np.float32(mean)
    liquid = _gaussian(liquid, sigma)
    return _water(liquid, threshold, last) if setting[5] == "water" else _mud(liquid, threshold, last)


def _water(liquid: NDArray[np.float32], threshold: float, strength: float) -> NDArray[np.float32]:
    grey = (np.where(liquid < threshold, 0, liquid) * 255).astype(np.uint8)
    away = cv2.distanceTransform(255 - cv2.Canny(grey, 50, 150), cv2.DIST_L2, 5)
    away = cv2.equalizeHist(cv2.blur(np.minimum(away, 20), (3, 3)).astype(np.uint8))
    relief = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], dtype=np.float32)
    mask = grey * cv2.blur(cv2.filter2D(away, cv2.CV_8U, relief), (3, 3)).astype(np.float32)
    return mask * np.float32(strength / max(mask.max(), 1))


def _mud(liquid: NDArray[np.float32], threshold: float, sigma: float) -> NDArray[np.float32]:
    mask = _gaussian((liquid > threshold).astype(np.float32), sigma)
    mask[mask < 0.8] = 0
    return mask


def _gaussian(plane: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    side = 2 * int(4 * sigma + 0.5) + 1
    return np.asarray(cv2.GaussianBlur(plane, (side, side), sigma, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)
