"""I3D on ResNet, plain and non-local: a 2-D ResNet inflated in time (Wang, Girshick, Gupta, He, CVPR 2018, Sec. 4)."""

from dataclasses import dataclass, replace
from typing import ClassVar

from ..core.interfaces import InputSpec
from ..core.params import param
from ..core.registry import register
from .family import TINY_INPUT, Architecture, Family, Preset, last_block
from .resnet import R101
from .resnet3d import FACEBOOK_INPUT, MMACTION_3D, MMACTION_INPUT, Plan, ResNet3D, pytorchvideo

# In the later stages every other block looks along time. mmaction2's r50 never sees the last of its 32 frames: the pooling behind
# the stem takes every second output of a convolution of stride 2 that looks two frames ahead.
_R50 = Plan(stem=(5, 2), pool=(1, 2), halve=True, conv1=((3,), (3, 1), (3, 1), (1, 3)))
_NON_LOCAL = replace(_R50, non_local=((1, 1), (1, 3), (2, 1), (2, 3), (2, 5)))
_HEAVY = replace(_R50, stem=(5, 1), pool=(1, 1), conv1=((3,),) * 4)
_FACEBOOK = replace(_R50, stem=(5, 1), pool=(1, 1))
_IBM = Plan(stem=(3, 1), conv2=3)
_TINY = Plan(layers=(1, 1, 1), width=8, stem=(5, 2), halve=True, conv1=((3,),) * 3)


def _preset(about: str, plan: Plan, input: InputSpec = MMACTION_INPUT, dropout: float = 0.5) -> Preset:
    # Where time is halved, an odd step would be dropped.
    step = plan.stem[1] * plan.pool[1] * 2 if plan.halve else 1
    return Preset(about, lambda classes: ResNet3D(classes, plan, dropout), input, frames_step=step)


FAMILY = Family(
    name="i3d",
    paper="Wang, Girshick, Gupta, He: Non-local Neural Networks, CVPR 2018 (I3D on ResNet)",
    presets={
        "tiny": _preset("a tiny I3D", _TINY, TINY_INPUT, 0.2),
        "tiny-nl": _preset("a tiny non-local I3D", replace(_TINY, non_local=((1, 0), (2, 0))), TINY_INPUT, 0.2),
        "r50": _preset("mmaction2's I3D", _R50),
        "r50-heavy": _preset("mmaction2's I3D that looks along time in every block", _HEAVY),
        "r50-nl": _preset("mmaction2's non-local I3D with dot products", _NON_LOCAL),
        "r50-nl-embedded": _preset("mmaction2's non-local I3D, embedded Gaussian", replace(_NON_LOCAL, pairing="embedded")),
        "r50-nl-gauss": _preset("mmaction2's non-local I3D, Gaussian", replace(_NON_LOCAL, pairing="gaussian")),
        "r50-8x8": _preset("pytorchvideo's I3D", _FACEBOOK, replace(FACEBOOK_INPUT, frames=8, interval=8)),
        "r50-ibm": _preset("IBM's I3D on ResNet-50", _IBM, replace(MMACTION_INPUT, resize="antialias")),
        "r101-ibm": _preset("IBM's I3D on ResNet-101", replace(_IBM, layers=R101), replace(MMACTION_INPUT, resize="antialias")),
    },
    layouts=(
        replace(MMACTION_3D, presets=("r50", "r50-heavy", "r50-nl", "r50-nl-embedded", "r50-nl-gauss")),
        replace(pytorchvideo(stages=(1, 3, 4, 5), head=6), presets=("r50-8x8",)),
    ),
    cam=last_block,
)


@register("model", "i3d")
@dataclass(frozen=True)
class I3D(Architecture):
    """I3D on ResNet, plain and non-local (Wang et al. 2018); reads mmaction2's, pytorchvideo's and IBM's checkpoints."""

    version: ClassVar[int] = 1
    family: ClassVar[Family] = FAMILY

    preset: str = param(
        "tiny",
        help="size of the network, its non-local blocks and whose strides",
        choices=(
            "tiny",
            "tiny-nl",
            "r50",
            "r50-heavy",
            "r50-nl",
            "r50-nl-embedded",
            "r50-nl-gauss",
            "r50-8x8",
            "r50-ibm",
            "r101-ibm",
        ),
    )
