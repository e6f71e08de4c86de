"""The neck of a temporal pyramid network: two levels of a trunk, fused both ways (Yang et al., CVPR 2020)."""

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .folding import conv_bn

GROUPS = 32


class _Unit(nn.Module):
    """A padded convolution without bias, its norm, ReLU."""

    def __init__(self, channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(conv_bn(self.conv, self.bn, x), inplace=True)


class _Fusion(nn.Module):
    """Level fusion: each level by itself, then both together."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_Unit(channels, channels, groups=GROUPS) for _ in range(2))
        self.join = _Unit(2 * channels, 2 * channels)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        return self.join(torch.cat((self.levels[0](shallow), self.levels[1](deep)), dim=1))


class Neck(nn.Module):
    """Spatial and temporal modulation, information flow and fusion of res4 and res5 (the paper's Fig. 3).

    The flow is a cascade, as in the published weights: what flows bottom-up starts from what top-down flow has changed. Maxima
    are over the whole clip, or its halves, however many frames it has; the published nets do so at their own length.
    """

    def __init__(self, channels: int, steps: int = 1) -> None:
        """Builds the neck.

        Args:
            channels: Of the deeper level; the shallower has half of them.
            steps: Time steps to which the shallower level is pooled; the deeper one is always pooled to a single one.
        """
        super().__init__()
        inner = channels // 2
        self.steps = steps
        self.spatial = _Unit(inner, channels, kernel=3, stride=2)
        self.temporal = nn.ModuleList(_over_time(channels, inner, GROUPS) for _ in range(2))
        self.down = _over_time(inner, inner)
        self.top_down = _Fusion(inner)
        self.bottom_up = _Fusion(inner)
        self.pyramid = _Unit(2 * channels, channels)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, res4: Tensor, res5: Tensor, frames: int) -> Tensor:
        """Maps (N * T, C / 2, 2h, 2w) and (N * T, C, h, w) with T = `frames` to one map (N, C, h, w) per clip."""
        deep = self._modulate(1, res5, frames, 1)
        shallow = self._modulate(0, self.spatial(res4), frames, self.steps) + deep
        down = _peak(self.down(shallow))
        shallow, deep = _peak(shallow), deep.squeeze(2)
        return self.pyramid(torch.cat((self.top_down(shallow, deep), self.bottom_up(shallow, deep + down)), dim=1))

    def _modulate(self, level: int, x: Tensor, frames: int, steps: int) -> Tensor:
        clips = x.unflatten(0, (-1, frames)).transpose(1, 2)
        return F.max_pool3d(self.temporal[level](clips), (ceil(frames / steps), 1, 1), ceil_mode=True)


def _over_time(channels: int, out: int, groups: int = 1) -> nn.Conv3d:
    return nn.Conv3d(channels, out, (3, 1, 1), padding=(1, 0, 0), groups=groups, bias=False)


def _peak(x: Tensor) -> Tensor:
    """(N, C, T, h, w) to the maximum over T."""
    return x.squeeze(2) if x.shape[2] == 1 else x.amax(2)
