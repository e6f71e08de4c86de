"""TSM: a 2-D ResNet whose blocks look one frame ahead and one back (Lin, Gan, Han, ICCV 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from ..core.interfaces import InputSpec, Model
from ..core.params import param
from ..core.registry import register
from .family import TINY_INPUT, Family, Preset
from .folding import conv_bn
from .layouts import Layout
from .resnet import MMACTION, R50, R101, ResNet

TINY_WIDTH, TINY_LAYERS, TINY_DROPOUT = 8, (1, 1, 1), 0.2

_FULL_INPUT = InputSpec(frames=8, size=224, short_side=256)

_MIT = Layout(
    "mit-han-lab/temporal-shift-module",
    marker=r"^base_model\.",
    rename=((r"^base_model\.", ""), (r"^new_fc\.", "fc."), (r"\.net\.", ".")),
)


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


class ShiftBottleneck(Bottleneck):
    """A bottleneck with the residual shift: its first convolution sees shifted features, its skip path does not."""

    bn1: nn.BatchNorm2d
    bn2: nn.BatchNorm2d
    bn3: nn.BatchNorm2d
    downsample: Any

    def forward(self, x: Tensor, frames: int | None = None) -> Tensor:
        """(N * T, C, H, W) to (N * T, C', H', W'); without `frames` nothing is shifted."""
        out = x if frames is None else shift(x, frames)
        out = self.relu(conv_bn(self.conv1, self.bn1, out))
        out = self.relu(conv_bn(self.conv2, self.bn2, out))
        out = conv_bn(self.conv3, self.bn3, out)
        return self.relu(out + (x if self.downsample is None else conv_bn(self.downsample[0], self.downsample[1], x)))


class TSMNet(ResNet):
    """Clips (N, T, 3, H, W), any T, to logits (N, K): the mean of the frames' logits."""

    def __init__(self, classes: int, width: int = 64, layers: Sequence[int] = R50, dropout: float = 0.5) -> None:
        super().__init__(classes, width, layers, ShiftBottleneck, dropout)
        # Deep nets shift in every second block only, as the authors' code does (n_round).
        self.every = 2 if max(layers) >= 23 else 1
        nn.init.normal_(self.fc.weight, std=0.001)
        nn.init.zeros_(self.fc.bias)

    def forward(self, frames: Tensor) -> Tensor:
        """Logits (N, K) of clips (N, T, 3, H, W)."""
        length = frames.shape[1]
        # Channels go last on the way, so that clips (N, 3, T, H, W) are copied once.
        features = self.stem(frames.movedim(2, -1).flatten(0, 1).movedim(-1, 1))
        for name in self.stages:
            for index, block in enumerate(self.get_submodule(name).children()):
                features = block(features, length if index % self.every == 0 else None)
        return self.classify(features).unflatten(0, (-1, length)).mean(dim=1)


FAMILY = Family(
    name="tsm",
    paper="Lin, Gan, Han: TSM, Temporal Shift Module for Efficient Video Understanding, ICCV 2019",
    presets={
        "tiny": Preset("a tiny ResNet", lambda classes: TSMNet(classes, TINY_WIDTH, TINY_LAYERS, TINY_DROPOUT), TINY_INPUT),
        "r50": Preset("a ResNet-50", lambda classes: TSMNet(classes, layers=R50), _FULL_INPUT),
        "r101": Preset("a ResNet-101", lambda classes: TSMNet(classes, layers=R101), _FULL_INPUT),
    },
    layouts=(_MIT, MMACTION),
    layout="NTCHW",
)


@register("model", "tsm")
@dataclass(frozen=True)
class TSM:
    """Temporal Shift Module on ResNet (Lin, Gan, Han 2019); reads the authors' and mmaction2's checkpoints."""

    version: ClassVar[int] = 1

    preset: str = param("tiny", help="size of the network", choices=("tiny", "r50", "r101"))
    frames: int | None = param(None, help="frames of a clip; none: the preset's", low=1)
    size: int | None = param(None, help="height and width of the crop; none: the preset's", low=32)
    weights: str = param(
        "auto", help="auto (shipped), random, random-<seed>, or a checkpoint: file, URL or published name", identity=False
    )

    def build(self, dataset: str, classes: Sequence[str]) -> Model:
        """The model with its weights, in eval mode.

        Raises:
            InputError: The weights cannot be read or do not fit.
        """
        return FAMILY.build(self.preset, self.weights, dataset, classes, self.frames, self.size)
