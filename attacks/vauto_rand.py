"""The standard attack on clips, for random defences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..benchmark.core.attack import Attack
from ..benchmark.core.registry import register
from .vauto import VAuto


@register("attack", "vauto-rand")
@dataclass(frozen=True)
class VAutoRand(VAuto):
    """vauto-rand v1: four attacks through 20 draws of a random defence, the worst case per clip.

    The members, each on every clip, because a random defence that errs once may be right again: 0 `apgd` (cross-entropy, 100
    steps); 1 `apgd` (dlr, 100 steps; none where the model has two classes); 2 `static` and 3 `flicker-fixed` (100 steps each,
    step eps/4). All have one restart, keep the same ball, and take each gradient as the mean over 20 draws of the defence (EOT).
    Random search is left out, as in AutoAttack's `rand`: its comparisons drown in the draws.

    Formula: x = the member's candidate with the lowest share of right answers among ten fresh answers of the deployed, averaged
    form; of equals the one with the lowest mean margin. The number of the member is stored as `broken_by`, -1 where half of the
    answers or more are right. Of a deterministic target a misclassified clip leaves, as in `vauto`.

    Source: after the version `rand` of AutoAttack (Croce and Hein 2020, section 5, and the authors' code); the ten fresh answers,
    where it asks once, and the temporal attacks are ours (see `vauto`).
    """

    version: ClassVar[int] = 1
    rechecks: ClassVar[int] = 10
    eot = 20

    def members(self, classes: int) -> Sequence[Attack | None]:
        """The members for a model of so many classes; None: not to be run on it."""
        return self._apgd("ce"), self._apgd("dlr") if classes >= 3 else None, *self._temporal()
