"""TPN: a temporal pyramid on two levels of TSM or SlowOnly (Yang, Xu, Shi, Dai, Zhou, CVPR 2020)."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ..core.interfaces import InputSpec
from ..core.params import param
from ..core.registry import register
from .family import TINY_INPUT, Architecture, Family, Preset
from .layouts import Layout
from .resnet import MMACTION, R50, R101, channels_last
from .resnet3d import Plan, Trunk3D
from .shift import InplaceShiftBlock, ShiftBlock
from .tpn_neck import Neck
from .tsm import DECISIONFORCE, TSMNet

_UNIFORM = InputSpec(frames=8, size=224, short_side=256, resize="bilinear")
_DENSE = InputSpec(frames=8, size=224, short_side=256, resize="bilinear", sampler="dense", interval=8)


def _flatten(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The neck's kernels over one frame lose their time."""
    flat = (key for key, value in state.items() if key.startswith("neck.") and value.dim() == 5 and value.shape[2] == 1)
    return state | {key: state[key].squeeze(2) for key in flat}


_MMACTION = Layout(
    "mmaction2",
    marker=r"^neck\.level_fusion_1\.",
    rename=(
        *MMACTION.rename,
        (r"^neck\.spatial_modulation\.spatial_modulation\.0\.0\.", "neck.spatial."),
        (r"^neck\.temporal_modulation_ops\.(\d)\.conv\.conv\.", r"neck.temporal.\1."),
        (r"^neck\.downsample_ops\.0\.conv\.conv\.", "neck.down."),
        (r"^neck\.level_fusion_1\.", "neck.top_down."),
        (r"^neck\.level_fusion_2\.", "neck.bottom_up."),
        (r"\.downsamples\.(\d)\.conv\.", r".levels.\1."),
        (r"\.fusion_conv\.", ".join."),
        (r"^neck\.pyramid_fusion\.", "neck.pyramid."),
    ),
    drop=r"^(data_preprocessor|neck\.aux_head|cls_head\.new_cls)\.",
    convert=_flatten,
    presets=("tsm-r50", "slowonly-r50"),
)

_AUTHORS = Layout(
    "decisionforce/TPN",
    marker=r"^necks\.",
    rename=(
        *DECISIONFORCE.rename,
        (r"^necks\.spatial_modulation\.spatial_modulation\.0\.0\.", "neck.spatial."),
        (r"^necks\.temporal_modulation_ops\.(\d)\.conv\.", r"neck.temporal.\1."),
        (r"^necks\.downsampling_ops\.0\.conv\.", "neck.down."),
        (r"^necks\.level_fusion_op2\.", "neck.top_down."),
        (r"^necks\.level_fusion_op\.", "neck.bottom_up."),
        (r"\.ops\.(\d)\.conv\.", r".levels.\1.conv."),
        (r"\.ops\.(\d)\.norm\.", r".levels.\1.bn."),
        (r"\.fusion_conv\.0\.", ".join.conv."),
        (r"\.fusion_conv\.1\.", ".join.bn."),
        (r"^necks\.pyramid_fusion_op\.0\.", "neck.pyramid.conv."),
        (r"^necks\.pyramid_fusion_op\.1\.", "neck.pyramid.bn."),
    ),
    drop=r"^(necks\.aux_head|cls_head\.new_cls)\.",
    convert=_flatten,
    presets=("tsm-r50-inplace", "slowonly-r50", "slowonly-r101"),
)


class TPNNet(TSMNet):
    """TSM with the pyramid: clips (N, T, 3, H, W), any T, to logits (N, K)."""

    def __init__(
        self,
        classes: int,
        width: int = 64,
        layers: Sequence[int] = R50,
        dropout: float = 0.5,
        block: Callable[..., ShiftBlock] = ShiftBlock,
    ) -> None:
        super().__init__(classes, width, layers, dropout, block)
        self.neck = Neck(self.fc.in_features)
        channels_last(self.neck)
        nn.init.normal_(self.fc.weight, std=0.01)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (N, K) of clips (N, T, 3, H, W)."""
        res4, res5 = self.features(clips, levels=2)
        return self.classify(self.neck(res4, res5, clips.shape[1]))


class SlowTPNNet(Trunk3D):
    """SlowOnly with the pyramid: clips (N, T, 3, H, W), any T, to logits (N, K)."""

    def __init__(self, classes: int, layers: Sequence[int] = R50, steps: int = 1) -> None:
        super().__init__(Plan(layers=layers, conv1=((1,), (1,), (3,), (3,))))
        self.neck = Neck(self.widths[-1], steps)
        channels_last(self.neck)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(self.widths[-1], classes)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (N, K) of clips (N, T, 3, H, W)."""
        levels = deque(self.features(clips.transpose(1, 2)), maxlen=2)
        res4, res5 = (level.transpose(1, 2).flatten(0, 1) for level in levels)
        return self.fc(self.dropout(self.neck(res4, res5, clips.shape[1]).mean((2, 3))))


FAMILY = Family(
    name="tpn",
    paper="Yang, Xu, Shi, Dai, Zhou: Temporal Pyramid Network for Action Recognition, CVPR 2020",
    presets={
        "tiny": Preset("TPN on a tiny TSM", lambda classes: TPNNet(classes, 8, (1, 1, 1), 0.2), TINY_INPUT),
        "tsm-r50": Preset("TPN on TSM", TPNNet, _UNIFORM),
        "tsm-r50-inplace": Preset("TPN on the authors' TSM", lambda classes: TPNNet(classes, block=InplaceShiftBlock), _UNIFORM),
        "slowonly-r50": Preset("TPN on SlowOnly-50", SlowTPNNet, _DENSE),
        "slowonly-r101": Preset("TPN on SlowOnly-101", lambda classes: SlowTPNNet(classes, R101, steps=2), _DENSE),
    },
    layouts=(_MMACTION, _AUTHORS),
    layout="NTCHW",
    # The last maps in which frames are apart: behind it the neck takes the maximum over time.
    cam=lambda net: "neck.temporal.0",
)


@register("model", "tpn")
@dataclass(frozen=True)
class TPN(Architecture):
    """Temporal Pyramid Network on TSM or SlowOnly (Yang et al. 2020); reads the authors' and mmaction2's checkpoints.

    The authors' TSM shifts the skip path of each stage's first block too, mmaction2's does not: tsm-r50-inplace and tsm-r50.
    """

    version: ClassVar[int] = 1
    family: ClassVar[Family] = FAMILY

    preset: str = param(
        "tiny",
        help="trunk and size of the network",
        choices=("tiny", "tsm-r50", "tsm-r50-inplace", "slowonly-r50", "slowonly-r101"),
    )
