"""X3D: a narrow, deep 3-D network of depthwise convolutions that never loses a frame (Feichtenhofer, CVPR 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.interfaces import InputSpec
from ..core.params import param
from ..core.registry import register
from .depthwise import DepthwiseConv3d
from .family import TINY_INPUT, Architecture, Family, Preset, last_block
from .folding import conv_bn
from .x3d_layouts import LAYOUTS

DEPTH_M, DEPTH_L = (3, 5, 11, 7), (5, 10, 25, 15)
"""Blocks of the four stages: the bases 1, 2, 5, 3 times 2.2 and 5.0, rounded up (S and M share theirs)."""

BOTTLENECK = 2.25
"""Channels inside a block per channel between blocks."""

_M = InputSpec(
    frames=16,
    size=224,
    short_side=256,
    sampler="dense",
    interval=5,
    mean=(0.45, 0.45, 0.45),
    std=(0.225, 0.225, 0.225),
    rate=30.0,
    resize="bilinear",
)


class Squeeze(nn.Module):
    """Squeeze and excitation (Hu et al. 2018) with a 16th of the channels inside: the whole clip scales every channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = rounded(channels / 16)
        self.fc1 = nn.Linear(channels, inner)
        self.fc2 = nn.Linear(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape (N, C, T, H, W)."""
        scale = torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3, 4))))))
        return x * scale[:, :, None, None, None]


def rounded(width: float) -> int:
    """The multiple of 8 nearest to a width, 8 or more, and never below nine tenths of it."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * width else nearest


class Block(nn.Module):
    """A bottleneck whose middle convolution is depthwise, 3x3x3; Swish follows it (the paper's Sec. 3.1 and 3.2)."""

    downsample: Any

    def __init__(self, channels: int, out: int, stride: int, squeeze: bool) -> None:
        super().__init__()
        inner = int(BOTTLENECK * out)
        self.conv1, self.bn1 = nn.Conv3d(channels, inner, 1, bias=False), nn.BatchNorm3d(inner)
        self.conv2, self.bn2 = DepthwiseConv3d(inner, (3, 3, 3), (1, stride, stride)), nn.BatchNorm3d(inner)
        self.se = Squeeze(inner) if squeeze else nn.Identity()
        self.conv3, self.bn3 = nn.Conv3d(inner, out, 1, bias=False), nn.BatchNorm3d(out)
        self.downsample = None
        if stride != 1 or channels != out:
            skip = nn.Conv3d(channels, out, 1, stride=(1, stride, stride), bias=False)
            self.downsample = nn.Sequential(skip, nn.BatchNorm3d(out))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, C', T, H', W')."""
        out = F.relu_(conv_bn(self.conv1, self.bn1, x))
        out = F.silu(self.se(conv_bn(self.conv2, self.bn2, out)))
        out = conv_bn(self.conv3, self.bn3, out)
        if self.downsample is not None:
            x = conv_bn(self.downsample[0], self.downsample[1], x)
        return F.relu_(out + x)


class X3DNet(nn.Module):
    """Clips (N, 3, T, H, W), any T, to logits (N, K)."""

    def __init__(
        self, classes: int, layers: Sequence[int] = DEPTH_M, width: int = 24, features: int = 2048, dropout: float = 0.5
    ) -> None:
        """Builds the network.

        Args:
            classes: Number of classes K.
            layers: Blocks per stage; each stage halves height and width, every second block squeezes, beginning with the first.
            width: Channels of the stem and the first stage; they double from stage to stage.
            features: Width of the layer in front of the classifier.
            dropout: Probability in front of the classifier.
        """
        super().__init__()
        self.conv1_s = nn.Conv3d(3, width, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), bias=False)
        self.conv1_t, self.bn1 = DepthwiseConv3d(width, (5, 1, 1)), nn.BatchNorm3d(width)
        channels = width
        self.stages = [f"layer{index + 1}" for index in range(len(layers))]
        for index, (name, depth) in enumerate(zip(self.stages, layers, strict=True)):
            out = width * 2**index
            first = Block(channels, out, 2, squeeze=True)
            self.add_module(name, nn.Sequential(first, *(Block(out, out, 1, number % 2 == 0) for number in range(1, depth))))
            channels = out
        inner = int(BOTTLENECK * channels)
        self.conv5, self.bn5 = nn.Conv3d(channels, inner, 1, bias=False), nn.BatchNorm3d(inner)
        self.fc1 = nn.Linear(inner, features, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(features, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.normal_(self.fc2.weight, std=0.01)
        nn.init.zeros_(self.fc2.bias)
        # Three times faster on a CPU than channels first, forward and backward.
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (N, K) of clips (N, 3, T, H, W)."""
        x = self.conv1_s(clips.contiguous(memory_format=torch.channels_last_3d))
        x = F.relu_(conv_bn(self.conv1_t, self.bn1, x))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        x = F.relu_(conv_bn(self.conv5, self.bn5, x)).mean(dim=(2, 3, 4))
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


FAMILY = Family(
    name="x3d",
    paper="Feichtenhofer: X3D, Expanding Architectures for Efficient Video Recognition, CVPR 2020",
    presets={
        "tiny": Preset("a tiny X3D", lambda classes: X3DNet(classes, (1, 2, 2), 8, 64, 0.2), TINY_INPUT),
        "s": Preset("an X3D-S", X3DNet, replace(_M, frames=13, interval=6, size=160, short_side=182)),
        "m": Preset("an X3D-M", X3DNet, _M),
        "l": Preset("an X3D-L", lambda classes: X3DNet(classes, DEPTH_L), replace(_M, size=312, short_side=356)),
    },
    layouts=LAYOUTS,
    head="fc2",
    cam=last_block,
)


@register("model", "x3d")
@dataclass(frozen=True)
class X3D(Architecture):
    """X3D (Feichtenhofer 2020); reads the checkpoints of PySlowFast, pytorchvideo and mmaction2."""

    version: ClassVar[int] = 1
    family: ClassVar[Family] = FAMILY

    preset: str = param("tiny", help="size of the network", choices=("tiny", "s", "m", "l"))
