"""3-D ResNeXt and ResNet with full 3x3x3 convolutions (Hara, Kataoka, Satoh, CVPR 2018; Kataoka et al. 2020)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from ..core.interfaces import InputSpec
from ..core.params import param
from ..core.registry import register
from .family import TINY_INPUT, Architecture, Family, Preset, last_block
from .resnet import R50, R101
from .resnet3d import R152, Plan, ResNet3D

R200 = (3, 24, 36, 3)

# 2018: 16 frames in a row, 0 to 255, less ActivityNet's mean. 2020: scaled by Kinetics' mean and deviation.
_INPUT_2018 = InputSpec(
    frames=16,
    size=112,
    short_side=112,
    sampler="dense",
    mean=(114.7748 / 255, 107.7354 / 255, 99.4750 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
)
_INPUT_2020 = replace(_INPUT_2018, mean=(0.4345, 0.4051, 0.3775), std=(0.2768, 0.2713, 0.2737))

_RESNET = Plan(stem=(7, 1), pool=(3, 2), conv2=3, stride=2)
_RESNEXT = replace(_RESNET, layers=R101, planes=128, expansion=2, groups=32)
_TINY = replace(_RESNEXT, layers=(1, 1, 1), width=8, planes=16, groups=4)


def _net(plan: Plan, dropout: float = 0.0) -> Callable[[int], nn.Module]:
    return lambda classes: ResNet3D(classes, plan, dropout)


FAMILY = Family(
    name="resnext3d",
    paper="Hara, Kataoka, Satoh: Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?, CVPR 2018",
    presets={
        "tiny": Preset("a tiny 3-D ResNeXt", _net(_TINY, 0.2), TINY_INPUT),
        "r101": Preset("a 3-D ResNeXt-101", _net(_RESNEXT), _INPUT_2018),
        "r3d50": Preset("a 3-D ResNet-50", _net(replace(_RESNET, layers=R50)), _INPUT_2020),
        "r3d101": Preset("a 3-D ResNet-101", _net(replace(_RESNET, layers=R101)), _INPUT_2020),
        "r3d152": Preset("a 3-D ResNet-152", _net(replace(_RESNET, layers=R152)), _INPUT_2020),
        "r3d200": Preset("a 3-D ResNet-200", _net(replace(_RESNET, layers=R200)), _INPUT_2020),
    },
    cam=last_block,
)
"""The authors' checkpoints have our names, so there is no layout."""


@register("model", "resnext3d")
@dataclass(frozen=True)
class ResNeXt3D(Architecture):
    """3-D ResNeXt-101 (Hara et al. 2018; its 64-frame files want frames=64) and 3-D ResNets (2020); reads the authors' files."""

    version: ClassVar[int] = 1
    family: ClassVar[Family] = FAMILY

    preset: str = param("tiny", help="size of the network", choices=("tiny", "r101", "r3d50", "r3d101", "r3d152", "r3d200"))
