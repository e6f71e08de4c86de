"""SlowFast: a slow pathway for what is there and a thin fast one for how it moves (Feichtenhofer et al., ICCV 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..core.interfaces import InputSpec
from ..core.params import param
from ..core.registry import register
from .family import TINY_INPUT, Architecture, Family, Preset, last_block
from .folding import conv_bn
from .layouts import Layout
from .resnet import R50, R101
from .resnet3d import FACEBOOK_INPUT, MMACTION_3D, MMACTION_INPUT, PYTORCHVIDEO_BLOCK, Plan, Trunk3D


@dataclass(frozen=True)
class Pathways:
    """What tells one SlowFast from another.

    Attributes:
        alpha: Frames of the fast pathway per frame of the slow one.
        beta: Channels of the slow pathway per channel of the fast one (the paper's 1 / beta).
        kernel: Temporal kernel of the lateral convolutions.
        slow: Blocks per stage of the slow pathway.
        fast: Likewise.
        third: Temporal kernels of the blocks of the third stage, repeated over them.
        width: Channels of the slow stem.
        facebook: Whether lateral connections end in a norm and ReLU and slow frames go from the first to the last (PySlowFast),
            or neither (mmaction2).
    """

    alpha: int = 4
    beta: int = 8
    kernel: int = 7
    slow: Sequence[int] = R50
    fast: Sequence[int] = R50
    third: Sequence[int] = (3,)
    width: int = 64
    facebook: bool = False


class Lateral(nn.Module):
    """From the fast to the slow pathway: a convolution over time with the slow one's stride (the paper's "T-conv")."""

    def __init__(self, channels: int, paths: Pathways) -> None:
        super().__init__()
        kernel, stride, padding = (paths.kernel, 1, 1), (paths.alpha, 1, 1), (paths.kernel // 2, 0, 0)
        self.conv = nn.Conv3d(channels, 2 * channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm3d(2 * channels) if paths.facebook else None
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, fast: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, 2 * C, T / alpha, H, W)."""
        return self.conv(fast) if self.bn is None else conv_bn(self.conv, self.bn, fast).relu_()


class SlowFastNet(nn.Module):
    """Clips (N, 3, T, H, W), T a multiple of alpha, to logits (N, K)."""

    def __init__(self, classes: int, paths: Pathways, dropout: float = 0.5) -> None:
        super().__init__()
        self.alpha, self.facebook = paths.alpha, paths.facebook
        # A lateral connection brings twice the fast channels.
        slow = Plan(paths.slow, paths.width, conv1=((1,), (1,), paths.third, (3,)), joining=2 / paths.beta)
        fast = Plan(paths.fast, paths.width // paths.beta, stem=(5, 1), conv1=((3,), (3,), paths.third, (3,)))
        self.slow_path, self.fast_path = Trunk3D(slow), Trunk3D(fast)
        self.lateral = nn.ModuleList(Lateral(channels, paths) for channels in self.fast_path.widths[:-1])
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(self.slow_path.widths[-1] + self.fast_path.widths[-1], classes)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (N, K): the classifier on both pathways' means over time and space."""
        slow, fast = self.slow_path.stem(self.slow_frames(clips)), self.fast_path.stem(clips)
        for name, lateral in zip(self.slow_path.stages, self.lateral, strict=True):
            slow = self.slow_path.get_submodule(name)(torch.cat((slow, lateral(fast)), dim=1))
            fast = self.fast_path.get_submodule(name)(fast)
        return self.fc(self.dropout(torch.cat((slow.mean((2, 3, 4)), fast.mean((2, 3, 4))), dim=1)))

    def slow_frames(self, clips: Tensor) -> Tensor:
        """The frames (N, 3, T / alpha, H, W) that the slow pathway sees."""
        frames = clips.shape[2]
        if not self.facebook:
            return clips[:, :, :: self.alpha]
        return clips[:, :, torch.linspace(0, frames - 1, frames // self.alpha).long()]


def _slow_first(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Mmaction2's classifier reads the fast pathway first, a ninth of its columns."""
    weight = state["fc.weight"]
    return state | {"fc.weight": weight.roll(-(weight.shape[1] // 9), dims=1)}


_MMACTION = replace(
    MMACTION_3D,
    marker=r"^backbone\.slow_path\.",
    rename=(
        *MMACTION_3D.rename,
        (r"^slow_path\.conv1_lateral\.", "lateral.0."),
        (r"^slow_path\.layer(\d)_lateral\.", r"lateral.\1."),
    ),
    convert=_slow_first,
    presets=("8x8", "4x16", "r101-8x8", "r101-r50-4x16"),
)

_PYTORCHVIDEO = Layout(
    "pytorchvideo",
    marker=r"^blocks\.0\.multipathway_blocks\.",
    rename=(
        (r"^blocks\.(\d)\.multipathway_fusion\.conv_fast_to_slow\.", r"lateral.\1.conv."),
        (r"^blocks\.(\d)\.multipathway_fusion\.norm\.", r"lateral.\1.bn."),
        (r"^blocks\.(\d)\.multipathway_blocks\.0\.", r"slow_path.layer\1."),
        (r"^blocks\.(\d)\.multipathway_blocks\.1\.", r"fast_path.layer\1."),
        (r"\.layer0\.conv\.", ".conv1."),
        (r"\.layer0\.norm\.", ".bn1."),
        (r"\.res_blocks\.", "."),
        *PYTORCHVIDEO_BLOCK,
        (r"^blocks\.6\.proj\.", "fc."),
    ),
    presets=("8x8-facebook", "4x16-facebook", "r101-8x8-facebook", "r101-16x8-facebook"),
)


def _preset(about: str, paths: Pathways, input: InputSpec, dropout: float = 0.5) -> Preset:
    return Preset(about, lambda classes: SlowFastNet(classes, paths, dropout), input, frames_step=paths.alpha)


_8X8 = Pathways()
_4X16 = Pathways(alpha=8, kernel=5)
_FACEBOOK_R101 = Pathways(kernel=5, slow=R101, fast=R101, facebook=True)
_FACEBOOK_16X8 = replace(_FACEBOOK_R101, third=(3,) * 6 + (1,) * 17)
_TINY = Pathways(beta=2, kernel=5, slow=(1, 1, 1), fast=(1, 1, 1), width=8)

FAMILY = Family(
    name="slowfast",
    paper="Feichtenhofer, Fan, Malik, He: SlowFast Networks for Video Recognition, ICCV 2019",
    presets={
        "tiny": _preset("a tiny SlowFast", _TINY, TINY_INPUT, 0.2),
        "8x8": _preset("mmaction2's SlowFast 8x8", _8X8, MMACTION_INPUT),
        "4x16": _preset("mmaction2's SlowFast 4x16", _4X16, MMACTION_INPUT),
        "r101-8x8": _preset("mmaction2's SlowFast-101 8x8", replace(_8X8, slow=R101, fast=R101), MMACTION_INPUT),
        "r101-r50-4x16": _preset("mmaction2's SlowFast-101/50 4x16", replace(_4X16, slow=R101), MMACTION_INPUT),
        "8x8-facebook": _preset("Facebook's SlowFast 8x8", replace(_8X8, facebook=True), FACEBOOK_INPUT),
        "4x16-facebook": _preset("Facebook's SlowFast 4x16", replace(_4X16, facebook=True), FACEBOOK_INPUT),
        "r101-8x8-facebook": _preset("Facebook's SlowFast-101 8x8", _FACEBOOK_R101, FACEBOOK_INPUT),
        "r101-16x8-facebook": _preset("Facebook's SlowFast-101 16x8", _FACEBOOK_16X8, replace(FACEBOOK_INPUT, frames=64)),
    },
    layouts=(_MMACTION, _PYTORCHVIDEO),
    # The fast pathway sees every frame, the slow one few.
    cam=lambda net: f"fast_path.{last_block(net.fast_path)}",
)


@register("model", "slowfast")
@dataclass(frozen=True)
class SlowFast(Architecture):
    """SlowFast, slow frames x their distance (Feichtenhofer et al. 2019); reads mmaction2's and pytorchvideo's checkpoints."""

    version: ClassVar[int] = 1
    family: ClassVar[Family] = FAMILY

    preset: str = param(
        "tiny",
        help="size of the network, and whose",
        choices=(
            "tiny",
            "8x8",
            "4x16",
            "r101-8x8",
            "r101-r50-4x16",
            "8x8-facebook",
            "4x16-facebook",
            "r101-8x8-facebook",
            "r101-16x8-facebook",
        ),
    )
