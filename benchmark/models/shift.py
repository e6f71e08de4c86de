"""The temporal shift, and the bottlenecks that shift (Lin, Gan, Han, ICCV 2019)."""

from typing import Any

import torch
from torch import Tensor, nn

from .nonlocal_block import NonLocal
from .resnet import Block


class _Shift(torch.autograd.Function):
    """The shift and its adjoint, which is the shift the other way.

    Autograd through slice assignments would clone the whole gradient once per slice: eight times slower.
    """

    @staticmethod
    def forward(clips: Tensor, ahead: bool) -> Tensor:
        fold = clips.shape[2] // 8
        early, late = clips[:, :-1], clips[:, 1:]
        # Half of the moved channels look one frame ahead, half one back.
        next_frame, last_frame = (slice(fold), slice(fold, 2 * fold)) if ahead else (slice(fold, 2 * fold), slice(fold))
        out = torch.empty_like(clips)
        out[:, :-1, next_frame] = late[:, :, next_frame]
        out[:, -1, next_frame] = 0
        out[:, 1:, last_frame] = early[:, :, last_frame]
        out[:, 0, last_frame] = 0
        out[:, :, 2 * fold :] = clips[:, :, 2 * fold :]
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, bool], output: Tensor) -> None:
        ctx.ahead = inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, None]:
        return _Shift.apply(gradients[0], not ctx.ahead), None


def shift(features: Tensor, frames: int) -> Tensor:
    """Moves an eighth of the channels one frame back, the next eighth one frame on (the paper's Sec. 3.2, bi-directional).

    Args:
        features: (N * T, C, H, W), the frames of a clip in a row.
        frames: T.

    Returns:
        The same shape: channels [0, C/8) hold the next frame, [C/8, C/4) the previous one, zeros where there is none.
    """
    clips = features.unflatten(0, (-1, frames))
    shifted: Any = _Shift.apply(clips, True)
    return shifted.flatten(0, 1)


class ShiftBlock(Block):
    """A bottleneck with the residual shift: its first convolution sees shifted features, its skip path does not."""

    def __init__(self, channels: int, planes: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__(channels, planes, stride, downsample)
        self.shifted = True
        self.non_local: NonLocal | None = None

    def mix(self, x: Tensor, frames: int) -> Tensor:
        """Shifted features, unless the net leaves this block out."""
        return shift(x, frames) if self.shifted else x

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        """(N * T, C, H, W) with T = `frames` to (N * T, C', H', W')."""
        out = super().forward(x, frames)
        if self.non_local is None:
            return out
        return self.non_local(out.unflatten(0, (-1, frames)).transpose(1, 2)).transpose(1, 2).flatten(0, 1)


class InplaceShiftBlock(ShiftBlock):
    """The shift of TPN's authors: where the skip path has a convolution, it sees shifted features too."""

    def skip(self, x: Tensor, mixed: Tensor) -> Tensor:
        """The skip path of the input `x`, of which the first convolution saw `mixed`."""
        return super().skip(x if self.downsample is None else mixed, mixed)
