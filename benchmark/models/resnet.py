"""Frame-wise ResNets of any width and depth, on torchvision's bottleneck and with torchvision's names."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from .folding import conv_bn, folded, folds
from .layouts import Layout

R50 = (3, 4, 6, 3)
R101 = (3, 4, 23, 3)

MMACTION = Layout(
    "mmaction2",
    marker=r"^backbone\.conv1\.conv\.",
    rename=(
        (r"^backbone\.", ""),
        (r"^cls_head\.fc_cls\.", "fc."),
        (r"\.net\.", "."),
        (r"\bconv(\d)\.conv\.", r"conv\1."),
        (r"\bconv(\d)\.bn\.", r"bn\1."),
        (r"\bdownsample\.conv\.", "downsample.0."),
        (r"\bdownsample\.bn\.", "downsample.1."),
    ),
    drop=r"^data_preprocessor\.",
    input={"resize": "bilinear"},
)
"""The 2-D ResNets of mmaction2 1.x and 0.x: every convolution sits in a ConvModule with its norm."""


class Block(Bottleneck):
    """A bottleneck over the frames of clips; a subclass says what it sees of other frames.

    Maps are (N * T, C, H, W), the frames of a clip in a row.
    """

    bn1: nn.BatchNorm2d
    bn2: nn.BatchNorm2d
    bn3: nn.BatchNorm2d
    downsample: Any

    def mix(self, x: Tensor, frames: int) -> Tensor:
        """What the first convolution sees of the block's input; the same shape."""
        return x

    def middle(self, x: Tensor, frames: int) -> Tensor:
        """The 3x3 convolution with its norm."""
        return conv_bn(self.conv2, self.bn2, x)

    def skip(self, x: Tensor, mixed: Tensor) -> Tensor:
        """The skip path of the input `x`, of which the first convolution saw `mixed`."""
        return x if self.downsample is None else conv_bn(self.downsample[0], self.downsample[1], x)

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        """(N * T, C, H, W) with T = `frames` to (N * T, C', H', W')."""
        mixed = self.mix(x, frames)
        out = self.relu(conv_bn(self.conv1, self.bn1, mixed))
        out = self.relu(self.middle(out, frames))
        out = conv_bn(self.conv3, self.bn3, out)
        return self.relu(out + self.skip(x, mixed))


class ResNet(nn.Module):
    """A bottleneck ResNet over the frames of clips (He et al. 2016, Table 1; stride in the 3x3 convolution as in torchvision).

    `width=64, layers=R50` has exactly the keys and shapes of torchvision's `resnet50`.
    """

    def __init__(
        self,
        classes: int,
        width: int = 64,
        layers: Sequence[int] = R50,
        block: Callable[..., Block] = Block,
        dropout: float = 0.0,
    ) -> None:
        """Builds the network with torchvision's initialisation, the classifier with TSN's.

        Args:
            classes: Number of classes K.
            width: Channels of the stem; stage i works with `width * 2**i`, and four times that between blocks.
            layers: Blocks per stage; three or four stages.
            block: Builds a bottleneck from its channels, planes, stride and downsampling path.
            dropout: Probability in front of the classifier.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        channels = width
        self.stages = [f"layer{index + 1}" for index in range(len(layers))]
        for index, (name, depth) in enumerate(zip(self.stages, layers, strict=True)):
            planes = width * 2**index
            self.add_module(name, _stage(block, channels, planes, depth, stride=1 if index == 0 else 2))
            channels = planes * Block.expansion
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, classes)
        _initialise(self)
        nn.init.normal_(self.fc.weight, std=0.001)
        nn.init.zeros_(self.fc.bias)
        channels_last(self)

    def stem(self, frames: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, width, H/4, W/4)."""
        return self.maxpool(self.relu(self._first(frames)))

    def _first(self, frames: Tensor) -> Tensor:
        if not folds(self.bn1) or frames.shape[2] % 2 or frames.shape[3] % 2:
            return conv_bn(self.conv1, self.bn1, frames.contiguous(memory_format=torch.channels_last))
        # Three input channels waste a CPU's vector units. A 7x7 convolution of stride 2 is a 4x4 one of stride 1 over 2x2 pixels
        # folded into 12 channels: the same sums, a quarter less time for a gradient at the tiny size, a tenth at the full one.
        weight, bias = folded(self.conv1, self.bn1)
        out, channels = weight.shape[:2]
        weight = F.pad(weight, (1, 0, 1, 0)).view(out, channels, 4, 2, 4, 2).permute(0, 3, 5, 1, 2, 4).reshape(out, -1, 4, 4)
        blocks = frames.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 4, 3, 5, 1)
        pixels = F.pad(blocks.flatten(3), (0, 0, 2, 1, 2, 1)).permute(0, 3, 1, 2)  # channels last in memory
        return F.conv2d(pixels, weight.contiguous(memory_format=torch.channels_last), bias)

    def features(self, clips: Tensor, levels: int = 1) -> list[Tensor]:
        """Maps (N * T, C, h, w) after each of the last `levels` stages, of clips (N, T, 3, H, W)."""
        # Channels go last on the way, so that clips (N, 3, T, H, W) are copied once.
        out = self.stem(clips.movedim(2, -1).flatten(0, 1).movedim(-1, 1))
        kept = []
        for name in self.stages:
            for block in self.get_submodule(name).children():
                out = block(out, clips.shape[1])
            if name in self.stages[-levels:]:
                kept.append(out)
        return kept

    def classify(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to logits (N, K)."""
        return self.fc(self.dropout(self.avgpool(features).flatten(1)))

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (N, K) of clips (N, T, 3, H, W), any T: the mean of the frames' logits."""
        return self.classify(self.features(clips)[0]).unflatten(0, (-1, clips.shape[1])).mean(dim=1)


def _stage(block: Callable[..., Block], channels: int, planes: int, depth: int, stride: int) -> nn.Sequential:
    out = planes * Block.expansion
    downsample = None
    if stride != 1 or channels != out:
        downsample = nn.Sequential(nn.Conv2d(channels, out, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(out))
    return nn.Sequential(block(channels, planes, stride, downsample), *(block(out, planes) for _ in range(depth - 1)))


def channels_last(net: nn.Module) -> None:
    """Puts the channels of all kernels last in memory: a quarter faster on a CPU, at the tiny and the full size."""
    for parameter in net.parameters():
        if parameter.dim() in (4, 5):
            layout = torch.channels_last if parameter.dim() == 4 else torch.channels_last_3d
            parameter.data = parameter.data.contiguous(memory_format=layout)


def _initialise(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
