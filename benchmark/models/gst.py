"""GST: a ResNet whose 3x3 convolutions are split into a spatial and a spatio-temporal group (Luo, Yuille, ICCV 2019)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..core.interfaces import InputSpec
from ..core.params import param
from ..core.registry import register
from .family import TINY_INPUT, Architecture, Family, Preset, last_block
from .folding import conv_bn
from .layouts import Layout
from .resnet import R50, R101, Block, ResNet

ALPHA = 4
"""One in so many of a block's 3x3 outputs is spatio-temporal in the published nets."""

_FULL_INPUT = InputSpec(frames=8, size=224, short_side=256)
_PAPER = "Luo, Yuille: Grouped Spatial-Temporal Aggregation for Efficient Action Recognition, ICCV 2019"


def _flatten(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Kernels over one frame lose their time; the norm after both groups becomes one for each."""
    out = {}
    for key, value in state.items():
        if re.search(r"\.bn2\.(weight|bias|running_\w+)$", key):
            spatial = len(value) - len(value) // ALPHA
            out[key], out[key.replace(".bn2.", ".tbn.")] = value[:spatial], value[spatial:]
        elif value.dim() == 5 and value.shape[2] == 1:
            out[key] = value.squeeze(2)
        else:
            out[key] = value
    return out


_AUTHORS = Layout(
    "chenxuluo/GST-video",
    marker=r"\.Tconv\.",
    rename=((r"^base_model\.", ""), (r"^new_fc\.", "fc."), (r"\.Tconv\.", ".tconv.")),
    convert=_flatten,
)


class GroupedBlock(Block):
    """A bottleneck whose 3x3 convolution is a spatial one and a 3x3x3 one side by side (the paper's Fig. 3)."""

    def __init__(
        self, channels: int, planes: int, stride: int = 1, downsample: nn.Module | None = None, *, beta: int = 2
    ) -> None:
        """Builds the block.

        Args:
            channels: Of the input.
            planes: Between the 1x1 convolutions.
            stride: Of the 3x3 convolution.
            downsample: What the skip path does; None for nothing.
            beta: 2 feeds half of the channels to each group, 1 all of them to both.
        """
        super().__init__(channels, planes, stride, downsample)
        temporal, seen = planes // ALPHA, planes // beta
        self.seen = seen
        self.conv2 = nn.Conv2d(seen, planes - temporal, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes - temporal)
        self.tconv = nn.Conv3d(seen, temporal, 3, (1, stride, stride), 1, bias=False)
        self.tbn = nn.BatchNorm3d(temporal)
        nn.init.kaiming_normal_(self.tconv.weight, mode="fan_out", nonlinearity="relu")

    def middle(self, x: Tensor, frames: int) -> Tensor:
        """Both groups with their norms, spatial channels first."""
        spatial = conv_bn(self.conv2, self.bn2, x[:, : self.seen])
        clips = x[:, -self.seen :].unflatten(0, (-1, frames)).transpose(1, 2)
        temporal = conv_bn(self.tconv, self.tbn, clips)
        return torch.cat((spatial, temporal.transpose(1, 2).flatten(0, 1)), dim=1)


def _net(classes: int, beta: int, width: int = 64, layers: Sequence[int] = R50, dropout: float = 0.3) -> ResNet:
    return ResNet(classes, width, layers, partial(GroupedBlock, beta=beta), dropout)


def _family(name: str, beta: int, short: str) -> Family:
    return Family(
        name=name,
        paper=_PAPER,
        presets={
            "tiny": Preset(f"a tiny {short}", lambda classes: _net(classes, beta, 8, (1, 1, 1), 0.2), TINY_INPUT),
            "r50": Preset(f"a ResNet-50 {short}", lambda classes: _net(classes, beta), _FULL_INPUT),
            "r101": Preset(f"a ResNet-101 {short}", lambda classes: _net(classes, beta, layers=R101), _FULL_INPUT),
        },
        layouts=(_AUTHORS,),
        layout="NTCHW",
        cam=last_block,
    )


FAMILY = _family("gst", 2, "GST")
LARGE = _family("gst-large", 1, "GST-Large")


@register("model", "gst")
@dataclass(frozen=True)
class GST(Architecture):
    """Grouped Spatial-Temporal Aggregation on ResNet, half of the channels to each group (Luo, Yuille 2019)."""

    version: ClassVar[int] = 1
    family: ClassVar[Family] = FAMILY

    preset: str = param("tiny", help="size of the network", choices=("tiny", "r50", "r101"))


@register("model", "gst-large")
@dataclass(frozen=True)
class GSTLarge(Architecture):
    """GST-Large: both groups see all channels (Luo, Yuille 2019)."""

    version: ClassVar[int] = 1
    family: ClassVar[Family] = LARGE

    preset: str = param("tiny", help="size of the network", choices=("tiny", "r50", "r101"))
