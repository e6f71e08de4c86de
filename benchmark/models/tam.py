"""TAM: a 2-D ResNet whose blocks first blend each frame with its neighbours (Fan et al., NeurIPS 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..core.interfaces import InputSpec
from ..core.params import param
from ..core.registry import register
from .family import TINY_INPUT, Architecture, Family, Preset, last_block
from .layouts import Layout
from .resnet import R50, R101, Block, ResNet

_FULL_INPUT = InputSpec(frames=8, size=224, short_side=256)

_IBM = Layout(
    "IBM/action-recognition-pytorch",
    marker=r"\.tam\.prev_se\.fc1\.",
    rename=((r"\.tam\.(prev|curr|next)_se\.fc1\.weight$", r".tam.\1"),),
)


class _Blend(torch.autograd.Function):
    """A weighted sum of the previous, the current and the next frame, each channel with its own three weights.

    Autograd through the slices would allocate each frame's gradient once per slice.
    """

    @staticmethod
    def forward(clips: Tensor, previous: Tensor, current: Tensor, following: Tensor) -> Tensor:
        out = clips * current
        out[:, 1:].addcmul_(clips[:, :-1], previous)
        out[:, :-1].addcmul_(clips[:, 1:], following)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        clips, *taps = inputs
        # An attack needs no gradient of the weights, and then the clips need not be kept.
        ctx.save_for_backward(clips if any(ctx.needs_input_grad[1:]) else None, *taps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        (grad,) = gradients
        clips, previous, current, following = ctx.saved_tensors
        # What a frame gave to the next one as its previous frame comes back from there.
        back: Any = _Blend.apply(grad, following, current, previous)
        if clips is None:
            return back, None, None, None
        return back, _sums(clips[:, :-1] * grad[:, 1:]), _sums(clips * grad), _sums(clips[:, 1:] * grad[:, :-1])


def _sums(products: Tensor) -> Tensor:
    return products.sum(dim=(0, 1, 3, 4)).view(-1, 1, 1)


class Aggregation(nn.Module):
    """The temporal aggregation module: a depthwise filter over three frames, then ReLU.

    Zeros stand for frames before the first and after the last (Fan et al.'s "depthwise temporal aggregation").
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        # Depthwise 1x1 kernels, as the authors keep them. At the start a frame is itself and a little of its neighbours.
        self.prev = nn.Parameter(torch.randn(channels, 1, 1, 1) * 0.3)
        self.curr = nn.Parameter(torch.ones(channels, 1, 1, 1))
        self.next = nn.Parameter(torch.randn(channels, 1, 1, 1) * 0.3)

    def forward(self, features: Tensor, frames: int) -> Tensor:
        """(N * T, C, H, W) with T = `frames` to the same shape."""
        taps = (weight.squeeze(-1) for weight in (self.prev, self.curr, self.next))
        blended: Any = _Blend.apply(features.unflatten(0, (-1, frames)), *taps)
        return self.relu(blended).flatten(0, 1)


class AggregationBlock(Block):
    """A bottleneck whose first convolution sees aggregated features; its skip path does not."""

    def __init__(self, channels: int, planes: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__(channels, planes, stride, downsample)
        self.tam = Aggregation(channels)

    def mix(self, x: Tensor, frames: int) -> Tensor:
        """Aggregated features."""
        return self.tam(x, frames)


def _net(classes: int, width: int = 64, layers: Sequence[int] = R50, dropout: float = 0.5) -> ResNet:
    """A ResNet with TAM in front of every bottleneck and no temporal pooling, as IBM's checkpoints have it."""
    return ResNet(classes, width, layers, AggregationBlock, dropout)


FAMILY = Family(
    name="tam",
    paper="Fan et al.: More Is Less, Big-Little Network and Depthwise Temporal Aggregation, NeurIPS 2019",
    presets={
        "tiny": Preset("a tiny ResNet with TAM", lambda classes: _net(classes, 8, (1, 1, 1), 0.2), TINY_INPUT),
        "r50": Preset("a ResNet-50 with TAM", lambda classes: _net(classes), _FULL_INPUT),
        "r101": Preset("a ResNet-101 with TAM", lambda classes: _net(classes, layers=R101), _FULL_INPUT),
    },
    layouts=(_IBM,),
    layout="NTCHW",
    cam=last_block,
)


@register("model", "tam")
@dataclass(frozen=True)
class TAM(Architecture):
    """Temporal Aggregation Module on ResNet (Fan et al. 2019); reads IBM's checkpoints.

    Not Liu et al.'s temporal adaptive module (TANet), which shares the letters. IBM's published files take 32 frames.
    """

    version: ClassVar[int] = 1
    family: ClassVar[Family] = FAMILY

    preset: str = param("tiny", help="size of the network", choices=("tiny", "r50", "r101"))
