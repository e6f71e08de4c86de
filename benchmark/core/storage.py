"""How published corrupted data sets were stored after the corruption, which takes part of the noise away again."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STORAGES = ("none", "jpeg80", "jpeg85", "mp4v")
"""`jpeg80`: Yi et al. 2021; `jpeg85`: ImageNet-C; `mp4v`: ROSE 2022."""


def stored(clips: Tensor, storage: str, rate: float = 25.0) -> Tensor:
    """Clips as they come back from storage.

    Args:
        clips: uint8 (N, 3, T, H, W), RGB.
        storage: One of STORAGES.
        rate: Frames per second, for video.

    Returns:
        uint8 of the same shape.
    """
    if storage == "none":
        return clips
    if storage == "mp4v":
        from .codec import mp4v

        return torch.stack([from_frames(mp4v(to_frames(clip), rate)) for clip in clips]).to(clips.device)
    return jpeg(clips, int(storage.removeprefix("jpeg")))


def jpeg(clips: Tensor, quality: int) -> Tensor:
    """Every frame of clips (N, 3, T, H, W), uint8, through libjpeg (4:2:0, standard tables) and back."""
    planes = clips.cpu().contiguous().numpy()
    made = np.empty_like(planes)
    for row, position in np.ndindex(len(planes), planes.shape[2]):
        red, green, blue = planes[row, :, position]
        _, data = cv2.imencode(".jpg", cv2.merge([blue, green, red]), (cv2.IMWRITE_JPEG_QUALITY, quality))
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert decoded is not None
        cv2.mixChannels([decoded], list(made[row, ::-1, position]), (0, 0, 1, 1, 2, 2))
    return torch.from_numpy(made).to(clips.device)


def to_frames(clip: Tensor) -> NDArray[np.uint8]:
    """A clip uint8 (3, T, H, W) as frames (T, H, W, 3), contiguous, on the CPU."""
    return clip.cpu().permute(1, 2, 3, 0).contiguous().numpy()


def from_frames(frames: NDArray[np.uint8]) -> Tensor:
    """Frames uint8 (T, H, W, 3) as a clip (3, T, H, W), contiguous."""
    return torch.from_numpy(frames).permute(3, 0, 1, 2).contiguous()
