"""R(2+1)D: 3-D convolutions split into one over space and one over time (Tran et al., CVPR 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from ..core.interfaces import InputSpec
from ..core.params import param
from ..core.registry import register
from .family import TINY_INPUT, Architecture, Family, Preset, last_block
from .folding import conv_bn
from .layouts import Layout

R18, R34 = (2, 2, 2, 2), (3, 4, 6, 3)

_KINETICS = InputSpec(
    frames=16,
    size=112,
    short_side=128,
    sampler="dense",
    interval=2,
    mean=(0.43216, 0.394666, 0.37645),
    std=(0.22803, 0.22145, 0.216989),
    rate=30.0,
    resize="stretch",
    long_side=171,
)

_MMACTION = Layout(
    "mmaction2",
    marker=r"^backbone\.conv1\.conv\.conv_s\.",
    rename=(
        (r"^backbone\.", ""),
        (r"^cls_head\.fc_cls\.", "fc."),
        (r"^conv1\.conv\.conv_s\.", "stem.0."),
        (r"^conv1\.conv\.bn_s\.", "stem.1."),
        (r"^conv1\.conv\.conv_t\.", "stem.3."),
        (r"^conv1\.bn\.", "stem.4."),
        (r"\bconv\.conv_s\.", "0.0."),
        (r"\bconv\.bn_s\.", "0.1."),
        (r"\bconv\.conv_t\.", "0.3."),
        (r"\b(conv\d|downsample)\.bn\.", r"\1.1."),
    ),
    drop=r"^data_preprocessor\.",
    presets=("r34",),
)


@dataclass(frozen=True)
class Variant:
    """In what the published R(2+1)D networks differ beside depth and width; the defaults are torchvision's.

    Attributes:
        shared_middle: Whether a block computes the middle width once, for its first convolution, and its second shares it.
        split_skip: Whether the convolutions of the skip paths are split too.
        stem_middle: Middle width of the stem's 7x7 convolution.
        pool: Whether a max-pool follows the stem.
        eps: Of the batch norms.
        inner_eps: Of the batch norms between the halves of a split convolution.
    """

    shared_middle: bool = True
    split_skip: bool = False
    stem_middle: int = 45
    pool: bool = False
    eps: float = 1e-5
    inner_eps: float = 1e-5


MMACTION = Variant(shared_middle=False, split_skip=True, stem_middle=83, pool=True, eps=1e-3)
IG65M = Variant(shared_middle=False, eps=1e-3, inner_eps=1e-3)
"""The port of the Caffe2 networks (moabitcoin/ig65m-pytorch)."""


def middle(channels: int, out: int, kernel: int) -> int:
    """Width between the halves of a split convolution of `kernel` x `kernel` x 3: as many weights as unsplit (Sec. 3.5)."""
    return 3 * kernel**2 * channels * out // (kernel**2 * channels + 3 * out)


def split(channels: int, out: int, inner: int, kernel: int, stride: int, eps: float, taps: int = 3) -> nn.Sequential:
    """1 x kernel x kernel, batch norm, ReLU, taps x 1 x 1; the first half strides over space, the second over time."""
    return nn.Sequential(
        nn.Conv3d(channels, inner, (1, kernel, kernel), (1, stride, stride), (0, kernel // 2, kernel // 2), bias=False),
        nn.BatchNorm3d(inner, eps),
        nn.ReLU(inplace=True),
        nn.Conv3d(inner, out, (taps, 1, 1), (stride, 1, 1), (taps // 2, 0, 0), bias=False),
    )


def split_bn(halves: Any, norm: Any, x: Tensor) -> Tensor:
    """A split convolution and the batch norm after it."""
    return conv_bn(halves[3], norm, F.relu_(conv_bn(halves[0], halves[1], x)))


class Block(nn.Module):
    """Two split 3x3x3 convolutions beside a skip path (the basic block of ResNet-18 and -34)."""

    conv1: Any
    conv2: Any
    downsample: Any

    def __init__(self, channels: int, out: int, stride: int, variant: Variant) -> None:
        super().__init__()
        first = middle(channels, out, 3)
        second = first if variant.shared_middle else middle(out, out, 3)
        self.conv1 = nn.Sequential(split(channels, out, first, 3, stride, variant.inner_eps), nn.BatchNorm3d(out, variant.eps))
        self.conv2 = nn.Sequential(split(out, out, second, 3, 1, variant.inner_eps), nn.BatchNorm3d(out, variant.eps))
        self.downsample = None
        if stride != 1 or channels != out:
            skip: nn.Module = nn.Conv3d(channels, out, 1, stride, bias=False)
            if variant.split_skip:
                skip = split(channels, out, middle(channels, out, 1), 1, stride, variant.inner_eps, taps=1)
            self.downsample = nn.Sequential(skip, nn.BatchNorm3d(out, variant.eps))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, C', T', H', W')."""
        out = F.relu_(split_bn(self.conv1[0], self.conv1[1], x))
        out = split_bn(self.conv2[0], self.conv2[1], out)
        if self.downsample is not None:
            skip, norm = self.downsample
            x = conv_bn(skip, norm, x) if isinstance(skip, nn.Conv3d) else split_bn(skip, norm, x)
        return F.relu_(out + x)


class R2Plus1DNet(nn.Module):
    """Clips (N, 3, T, H, W), any T, to logits (N, K); stages two to four halve time and space."""

    stem: Any

    def __init__(
        self, classes: int, layers: Sequence[int] = R18, variant: Variant = Variant(), width: int = 64, dropout: float = 0.0
    ) -> None:
        """Builds the network; `layers=R18` has exactly the keys, shapes and sums of torchvision's `r2plus1d_18`.

        Args:
            classes: Number of classes K.
            layers: Blocks per stage.
            variant: Whose network it is.
            width: Channels of the stem and the first stage; they double from stage to stage.
            dropout: Probability in front of the classifier.
        """
        super().__init__()
        stem = split(3, width, variant.stem_middle, 7, 1, variant.inner_eps)
        stem[0] = nn.Conv3d(3, variant.stem_middle, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
        self.stem = nn.Sequential(*stem, nn.BatchNorm3d(width, variant.eps))
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)) if variant.pool else nn.Identity()
        channels = width
        self.stages = [f"layer{index + 1}" for index in range(len(layers))]
        for index, (name, depth) in enumerate(zip(self.stages, layers, strict=True)):
            out, stride = width * 2**index, 1 if index == 0 else 2
            first = Block(channels, out, stride, variant)
            self.add_module(name, nn.Sequential(first, *(Block(out, out, 1, variant) for _ in range(depth - 1))))
            channels = out
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (N, K) of clips (N, 3, T, H, W)."""
        x = self.pool(F.relu_(split_bn(self.stem, self.stem[4], clips)))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return self.fc(self.dropout(x.mean(dim=(2, 3, 4))))


FAMILY = Family(
    name="r2plus1d",
    paper="Tran, Wang, Torresani, Ray, LeCun, Paluri: A Closer Look at Spatiotemporal Convolutions, CVPR 2018",
    presets={
        "tiny": Preset(
            "a tiny R(2+1)D",
            lambda classes: R2Plus1DNet(classes, (1, 1, 1), Variant(shared_middle=False, stem_middle=16, pool=True), 8, 0.2),
            TINY_INPUT,
        ),
        "r18": Preset("torchvision's R(2+1)D-18", R2Plus1DNet, _KINETICS),
        "r34": Preset(
            "mmaction2's R(2+1)D-34",
            lambda classes: R2Plus1DNet(classes, R34, MMACTION, dropout=0.5),
            InputSpec(frames=8, size=224, short_side=256, sampler="dense", interval=8, resize="bilinear"),
        ),
        "r34-ig65m": Preset(
            "an R(2+1)D-34 as it was trained on IG-65M",
            lambda classes: R2Plus1DNet(classes, R34, IG65M),
            replace(_KINETICS, frames=32, interval=1, rate=0.0),
        ),
    },
    layouts=(_MMACTION,),
    cam=last_block,
)


@register("model", "r2plus1d")
@dataclass(frozen=True)
class R2Plus1D(Architecture):
    """R(2+1)D (Tran et al. 2018); reads the checkpoints of torchvision, mmaction2 and the IG-65M port."""

    version: ClassVar[int] = 1
    family: ClassVar[Family] = FAMILY

    preset: str = param("tiny", help="size of the network", choices=("tiny", "r18", "r34", "r34-ig65m"))
