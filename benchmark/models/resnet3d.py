"""3-D bottleneck ResNets: one trunk for I3D, SlowOnly, SlowFast, CSN and the 3-D ResNeXts, with torchvision's key names."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.interfaces import InputSpec
from .depthwise import DepthwiseConv3d
from .folding import conv_bn
from .layouts import Layout
from .nonlocal_block import NonLocal, Pairing
from .resnet import MMACTION, R50

R152 = (3, 8, 36, 3)

MMACTION_3D = Layout(
    "mmaction2",
    marker=r"^backbone\.",
    rename=(
        *MMACTION.rename,
        (r"\bnon_local_block\.conv_out\.conv\.", "non_local.out."),
        (r"\bnon_local_block\.conv_out\.bn\.", "non_local.norm."),
        (r"\bnon_local_block\.(\w+)(\.0)?\.conv\.", r"non_local.\1."),
    ),
    drop=MMACTION.drop,
)
"""The 3-D ResNets of mmaction2 1.x and 0.x."""

MMACTION_INPUT = InputSpec(frames=32, size=224, short_side=256, sampler="dense", interval=2, resize="bilinear")
"""What its 3-D ResNets take: 32 frames, every second one."""

FACEBOOK_INPUT = replace(MMACTION_INPUT, mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225), rate=30.0)
"""What pytorchvideo's take: the same at 30 frames a second, normalised otherwise."""


def pytorchvideo(stages: Sequence[int], head: int) -> Layout:
    """Facebook's pytorchvideo: a list of blocks, the stem first.

    Args:
        stages: Places of the residual stages in that list.
        head: Place of the classifier.
    """
    return Layout(
        "pytorchvideo",
        marker=r"^blocks\.",
        rename=(
            (r"^blocks\.0\.conv\.", "conv1."),
            (r"^blocks\.0\.norm\.", "bn1."),
            *((rf"^blocks\.{place}\.res_blocks\.", f"layer{number}.") for number, place in enumerate(stages, 1)),
            *PYTORCHVIDEO_BLOCK,
            (rf"^blocks\.{head}\.proj\.", "fc."),
        ),
    )


PYTORCHVIDEO_BLOCK = (
    (r"\bbranch1_conv\.", "downsample.0."),
    (r"\bbranch1_norm\.", "downsample.1."),
    *((rf"\bbranch2\.conv_{letter}\.", f"conv{number}.") for number, letter in enumerate("abc", 1)),
    *((rf"\bbranch2\.norm_{letter}\.", f"bn{number}.") for number, letter in enumerate("abc", 1)),
)
"""The names within one of its residual blocks."""


@dataclass(frozen=True)
class Plan:
    """What tells one 3-D ResNet from another; the defaults are a ResNet-50 that looks at every frame by itself.

    Attributes:
        layers: Blocks per stage; three or four stages.
        width: Channels of the stem.
        planes: Channels within the blocks of the first stage, doubled from stage to stage; 0 for `width`.
        expansion: Channels between blocks, in units of those within.
        stem: Temporal kernel and stride of the 7x7 stem convolution.
        pool: Temporal kernel and stride of the 3x3 max-pooling behind it.
        halve: Whether every two time steps are max-pooled into one behind the first stage.
        conv1: Temporal kernels of the blocks' first convolutions: per stage a pattern, repeated over its blocks.
        conv2: Temporal kernel of the blocks' 3x3 convolutions, which also carry the strides.
        stride: Temporal stride of every stage but the first; the spatial one is 2.
        groups: Groups of the 3x3 convolutions; 0 for one per channel.
        interact: Whether a 1x1x1 convolution goes before the 3x3 one (ip-CSN).
        eps: The batch norms' epsilon.
        joining: Channels that join from elsewhere in front of every stage, as a part of its own.
        non_local: (stage, block) pairs, counted from 0, that a non-local block follows.
        pairing: How its positions are compared.
    """

    layers: Sequence[int] = R50
    width: int = 64
    planes: int = 0
    expansion: int = 4
    stem: tuple[int, int] = (1, 1)
    pool: tuple[int, int] = (1, 1)
    halve: bool = False
    conv1: Sequence[Sequence[int]] = ((1,), (1,), (1,), (1,))
    conv2: int = 1
    stride: int = 1
    groups: int = 1
    interact: bool = False
    eps: float = 1e-5
    joining: float = 0.0
    non_local: Sequence[tuple[int, int]] = ()
    pairing: Pairing = "dot"


class Bottleneck3D(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a skip path, in space and time."""

    def __init__(self, channels: int, planes: int, plan: Plan, kernel: int, stride: tuple[int, int]) -> None:
        """Builds the block.

        Args:
            channels: Of its input.
            planes: Within it.
            plan: The network's.
            kernel: Temporal kernel of `conv1`.
            stride: In time and in space.
        """
        super().__init__()
        out = planes * plan.expansion
        self.conv1 = conv3d(channels, planes, kernel, 1)
        self.bn1 = nn.BatchNorm3d(planes, plan.eps)
        self.mix = nn.Conv3d(planes, planes, kernel_size=1, bias=False) if plan.interact else None
        self.mix_bn = nn.BatchNorm3d(planes, plan.eps) if plan.interact else None
        if plan.groups:
            self.conv2 = conv3d(planes, planes, plan.conv2, 3, stride, plan.groups)
        else:
            self.conv2 = DepthwiseConv3d(planes, (plan.conv2, 3, 3), (stride[0], stride[1], stride[1]))
        self.bn2 = nn.BatchNorm3d(planes, plan.eps)
        self.conv3 = conv3d(planes, out, 1, 1)
        self.bn3 = nn.BatchNorm3d(out, plan.eps)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: Any = None
        if channels != out or stride != (1, 1):
            self.downsample = nn.Sequential(conv3d(channels, out, 1, 1, stride), nn.BatchNorm3d(out, plan.eps))
        self.non_local: NonLocal | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, C', T', H', W')."""
        out = self.relu(conv_bn(self.conv1, self.bn1, x))
        if self.mix is not None and self.mix_bn is not None:
            out = conv_bn(self.mix, self.mix_bn, out)
        out = self.relu(conv_bn(self.conv2, self.bn2, out))
        out = conv_bn(self.conv3, self.bn3, out)
        out = self.relu(out + (x if self.downsample is None else conv_bn(self.downsample[0], self.downsample[1], x)))
        return out if self.non_local is None else self.non_local(out)


class Trunk3D(nn.Module):
    """A 3-D ResNet without its classifier.

    Attributes:
        stages: Names of the residual stages.
        widths: Channels behind the stem and behind every stage.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        kernel, stride = plan.stem
        self.conv1 = conv3d(3, plan.width, kernel, 7, (stride, 2))
        self.bn1 = nn.BatchNorm3d(plan.width, plan.eps)
        self.relu = nn.ReLU(inplace=True)
        kernel, stride = plan.pool
        self.maxpool = nn.MaxPool3d((kernel, 3, 3), (stride, 2, 2), (kernel // 2, 1, 1))
        self.halve = plan.halve
        self.stages = tuple(f"layer{index + 1}" for index in range(len(plan.layers)))
        widths = [plan.width]
        for index, name in enumerate(self.stages):
            channels = widths[-1] + round(widths[-1] * plan.joining)
            planes = (plan.planes or plan.width) * 2**index
            self.add_module(name, _stage(channels, planes, plan, index))
            widths.append(planes * plan.expansion)
        self.widths = tuple(widths)
        _initialise(self)

    def stem(self, clips: Tensor) -> Tensor:
        """(N, 3, T, H, W) to (N, width, T', H/4, W/4)."""
        # With channels last a CPU's convolutions of clips are up to three times faster, forward and backward. The kernels stay as
        # they are: large ones with channels last take twice as long.
        clips = clips.contiguous(memory_format=torch.channels_last_3d)
        return self.maxpool(self.relu(conv_bn(self.conv1, self.bn1, clips)))

    def features(self, clips: Tensor) -> Iterator[Tensor]:
        """The maps (N, C, T', H', W') behind every stage: res2, res3, ..."""
        x = self.stem(clips)
        for index, name in enumerate(self.stages):
            x = self.get_submodule(name)(x)
            if index == 0 and self.halve:
                x = F.max_pool3d(x, (2, 1, 1))
            yield x


class ResNet3D(Trunk3D):
    """Clips (N, 3, T, H, W), of any T, H and W that the strides leave something of, to logits (N, K)."""

    def __init__(self, classes: int, plan: Plan, dropout: float = 0.5) -> None:
        super().__init__(plan)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(self.widths[-1], classes)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (N, K): the classifier on the mean over time and space."""
        last = deque(self.features(clips), maxlen=1).pop()
        return self.fc(self.dropout(last.mean((2, 3, 4))))


def conv3d(channels: int, out: int, time: int, space: int, stride: tuple[int, int] = (1, 1), groups: int = 1) -> nn.Conv3d:
    """A padded convolution without bias; kernel `time` x `space` x `space`, strides in time and in space."""
    padding = (time // 2, space // 2, space // 2)
    strides = (stride[0], stride[1], stride[1])
    return nn.Conv3d(channels, out, (time, space, space), strides, padding, groups=groups, bias=False)


def _stage(channels: int, planes: int, plan: Plan, index: int) -> nn.Sequential:
    stride = (1, 1) if index == 0 else (plan.stride, 2)
    kernels = plan.conv1[index]
    blocks = []
    for number in range(plan.layers[index]):
        blocks.append(Bottleneck3D(channels, planes, plan, kernels[number % len(kernels)], stride))
        channels, stride = planes * plan.expansion, (1, 1)
        if (index, number) in plan.non_local:
            blocks[-1].non_local = NonLocal(channels, plan.pairing)
    return nn.Sequential(*blocks)


def _initialise(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
