"""CSN: 3-D convolutions within channels, 1x1x1 ones between them (Tran, Wang, Torresani, Feiszli, ICCV 2019)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from ..core.params import param
from ..core.registry import register
from .family import TINY_INPUT, Architecture, Family, Preset, last_block
from .resnet import R101
from .resnet3d import FACEBOOK_INPUT, MMACTION_3D, MMACTION_INPUT, R152, Plan, ResNet3D, pytorchvideo

_R50 = Plan(stem=(3, 1), conv2=3, stride=2, groups=0, eps=1e-3)
_TINY = replace(_R50, layers=(1, 1, 1), width=8)


def _net(plan: Plan, dropout: float = 0.5) -> Callable[[int], nn.Module]:
    return lambda classes: ResNet3D(classes, plan, dropout)


# mmaction2 keeps the convolutions between conv1 and conv3 in a list: one, or in ip-CSN the mixing one first.
_IP = replace(
    MMACTION_3D,
    marker=r"^backbone\.layer1\.0\.conv2\.1\.",
    rename=(
        (r"\bconv2\.0\.conv\.", "mix."),
        (r"\bconv2\.0\.bn\.", "mix_bn."),
        (r"\bconv2\.1\.", "conv2."),
        *MMACTION_3D.rename,
    ),
    presets=("ip-r152",),
)
_IR = replace(MMACTION_3D, rename=((r"\bconv2\.0\.", "conv2."), *MMACTION_3D.rename), presets=("r50", "r152"))

FAMILY = Family(
    name="ircsn",
    paper="Tran, Wang, Torresani, Feiszli: Video Classification with Channel-Separated Convolutional Networks, ICCV 2019",
    presets={
        "tiny": Preset("a tiny ir-CSN", _net(_TINY, 0.2), TINY_INPUT),
        "r50": Preset("mmaction2's ir-CSN-50", _net(_R50), MMACTION_INPUT),
        "r152": Preset("mmaction2's ir-CSN-152", _net(replace(_R50, layers=R152)), MMACTION_INPUT),
        "ip-r152": Preset("mmaction2's ip-CSN-152", _net(replace(_R50, layers=R152, interact=True)), MMACTION_INPUT),
        "r101": Preset("pytorchvideo's ir-CSN-101", _net(replace(_R50, layers=R101, eps=1e-5)), FACEBOOK_INPUT),
    },
    layouts=(_IP, _IR, replace(pytorchvideo(stages=(1, 2, 3, 4), head=5), presets=("r101",))),
    cam=last_block,
)


@register("model", "ircsn")
@dataclass(frozen=True)
class IrCSN(Architecture):
    """Interaction-reduced (and -preserved) CSN (Tran et al. 2019); reads mmaction2's and pytorchvideo's checkpoints."""

    version: ClassVar[int] = 1
    family: ClassVar[Family] = FAMILY

    preset: str = param("tiny", help="size of the network", choices=("tiny", "r50", "r152", "ip-r152", "r101"))
