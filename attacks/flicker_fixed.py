"""One colour offset per frame, at a fixed thickness."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..benchmark.core.registry import register
from .static import Static


@register("attack", "flicker-fixed")
@dataclass(frozen=True)
class FlickerFixed(Static):
    """Flickering at a fixed thickness: one colour offset per frame, added to all of its pixels.

    Formula: x = clip(clean + p, 0, 1) with p (3, T, 1, 1), |p| <= eps; p <- P(p + step * sign(sum over the frame of grad loss))
    for L-inf, the sum scaled to L2 norm 1 for L2, where P brings p into the eps-ball of the whole clip. It keeps the published
    perturbation and replaces the published search, which trades thickness for success and has no budget, by the strongest attack
    under one, so that its rows compare with other attacks of the same eps. The published search is `flicker`.

    Source: Pony et al. 2021, Over-the-Air Adversarial Flickering Attacks against Video Recognition Networks, section 3.1
    (perturbation); Madry et al. 2018 (search).
    """

    version: ClassVar[int] = 1
    reports: ClassVar[tuple[str, ...]] = ("thickness", "roughness")

    def _shape(self, clips: Tensor) -> tuple[int, int, int, int]:
        """Of one clip's pattern."""
        return clips.shape[1], clips.shape[2], 1, 1
