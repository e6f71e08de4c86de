"""TSM: a 2-D ResNet whose blocks look one frame ahead and one back (Lin, Gan, Han, ICCV 2019)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from ..core.interfaces import InputSpec
from ..core.params import param
from ..core.registry import register
from .family import TINY_INPUT, Architecture, Family, Preset, last_block
from .layouts import Layout
from .nonlocal_block import NonLocal, Pairing
from .resnet import MMACTION, R50, R101, ResNet, channels_last
from .resnet3d import MMACTION_3D
from .shift import InplaceShiftBlock, ShiftBlock

TINY_WIDTH, TINY_LAYERS, TINY_DROPOUT = 8, (1, 1, 1), 0.2

_FULL_INPUT = InputSpec(frames=8, size=224, short_side=256)

_PLAIN = ("tiny", "r50", "r101")

NON_LOCAL = ((1, 0), (1, 2), (2, 0), (2, 2), (2, 4))
"""(stage, block), counted from 0, that a non-local block follows in the nets that have them."""


def _fold_bias(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A bias in front of a norm is the same as a smaller mean in the norm."""
    folded = dict(state)
    for key in [key for key in state if key.endswith(".non_local.out.bias")]:
        norm = key.replace(".out.bias", ".norm.running_mean")
        folded[norm] = state[norm] - folded.pop(key)
    return folded


_MIT_NON_LOCAL = Layout(
    "mit-han-lab/temporal-shift-module",
    marker=r"^base_model\.layer2\.0\.nl\.",
    rename=(
        (r"^base_model\.", ""),
        (r"^new_fc\.", "fc."),
        (r"\.(net|block)\.", "."),
        (r"\.nl\.W\.0\.", ".non_local.out."),
        (r"\.nl\.W\.1\.", ".non_local.norm."),
        (r"\.nl\.(\w+)(\.0)?\.", r".non_local.\1."),
    ),
    convert=_fold_bias,
    presets=("r50-nl-embedded",),
)
_MIT = Layout(
    "mit-han-lab/temporal-shift-module",
    marker=r"^base_model\.",
    rename=_MIT_NON_LOCAL.rename[:3],
    presets=_PLAIN,
)
_MMACTION = replace(MMACTION, presets=_PLAIN)
# Dot products and embedded Gaussians have the same keys and shapes: the preset must say which.
_MMACTION_NON_LOCAL = Layout(
    "mmaction2",
    marker=r"\.non_local_block\.",
    rename=((r"\.block\.", "."), *MMACTION_3D.rename),
    drop=MMACTION.drop,
    input=MMACTION.input,
    presets=("r50-nl-embedded", "r50-nl-dot", "r50-nl-gaussian"),
)
DECISIONFORCE = Layout(
    "decisionforce/TPN",
    marker=r"^backbone\.bn1\.",
    rename=((r"^backbone\.", ""), (r"^cls_head\.fc_cls\.", "fc.")),
    drop=r"^cls_head\.new_cls\.",
    input=MMACTION.input,
    presets=("r50-inplace",),
)
"""TSM as the authors of TPN trained it; its first blocks shift the skip path too."""


class TSMNet(ResNet):
    """Clips (N, T, 3, H, W), any T, to logits (N, K): the mean of the frames' logits."""

    def __init__(
        self,
        classes: int,
        width: int = 64,
        layers: Sequence[int] = R50,
        dropout: float = 0.5,
        block: Callable[..., ShiftBlock] = ShiftBlock,
        pairing: Pairing | None = None,
    ) -> None:
        """Builds the network.

        Args:
            classes: Number of classes K.
            width: Channels of the stem.
            layers: Blocks per stage.
            dropout: Probability in front of the classifier.
            block: The bottleneck to stack.
            pairing: How non-local blocks at `NON_LOCAL` compare positions; None for no such blocks.
        """
        super().__init__(classes, width, layers, block, dropout)
        # Deep nets shift in every second block only, as the authors' code and mmaction2 do (n_round).
        every = 2 if max(layers) >= 23 else 1
        for name in self.stages:
            for index, module in enumerate(self.get_submodule(name).children()):
                assert isinstance(module, ShiftBlock)
                module.shifted = index % every == 0
        if pairing:
            self._compare(pairing)

    def _compare(self, pairing: Pairing) -> None:
        for stage, index in NON_LOCAL:
            module = self.get_submodule(f"{self.stages[stage]}.{index}")
            assert isinstance(module, ShiftBlock)
            module.non_local = NonLocal(module.bn3.num_features, pairing)
        channels_last(self)


def _non_local(pairing: Pairing, name: str) -> Preset:
    return Preset(f"a ResNet-50 with {name} non-local blocks", lambda classes: TSMNet(classes, pairing=pairing), _FULL_INPUT)


FAMILY = Family(
    name="tsm",
    paper="Lin, Gan, Han: TSM, Temporal Shift Module for Efficient Video Understanding, ICCV 2019",
    presets={
        "tiny": Preset("a tiny ResNet", lambda classes: TSMNet(classes, TINY_WIDTH, TINY_LAYERS, TINY_DROPOUT), TINY_INPUT),
        "r50": Preset("a ResNet-50", lambda classes: TSMNet(classes, layers=R50), _FULL_INPUT),
        "r101": Preset("a ResNet-101", lambda classes: TSMNet(classes, layers=R101), _FULL_INPUT),
        "r50-inplace": Preset(
            "a ResNet-50 with TPN's shift", lambda classes: TSMNet(classes, block=InplaceShiftBlock), _FULL_INPUT
        ),
        "r50-nl-embedded": _non_local("embedded", "embedded Gaussian"),
        "r50-nl-dot": _non_local("dot", "dot-product"),
        "r50-nl-gaussian": _non_local("gaussian", "Gaussian"),
    },
    layouts=(_MIT_NON_LOCAL, _MIT, _MMACTION_NON_LOCAL, _MMACTION, DECISIONFORCE),
    layout="NTCHW",
    cam=last_block,
)


@register("model", "tsm")
@dataclass(frozen=True)
class TSM(Architecture):
    """Temporal Shift Module on ResNet (Lin, Gan, Han 2019); reads the authors' and mmaction2's checkpoints."""

    version: ClassVar[int] = 1
    family: ClassVar[Family] = FAMILY

    preset: str = param(
        "tiny",
        help="size of the network, and what its blocks do",
        choices=("tiny", "r50", "r101", "r50-inplace", "r50-nl-embedded", "r50-nl-dot", "r50-nl-gaussian"),
    )
