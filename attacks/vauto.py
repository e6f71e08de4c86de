"""A parameter-free standard attack on clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..benchmark.core.attack import Attack, Target
from ..benchmark.core.budget import check_eps
from ..benchmark.core.losses import margin
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from .apgd import APGD
from .flicker_fixed import FlickerFixed
from .pgd import PGD
from .square import Square
from .static import Static


@register("attack", "vauto")
@dataclass(frozen=True)
class VAuto(Attack):
    """vauto v1: five attacks one after the other, the worst case per clip; only norm and budget are to be chosen.

    The members, each on the clips that the ones before have not broken: 0 `apgd` (cross-entropy, 100 steps); 1 `apgd`
    (targeted-dlr, 100 steps towards each of 9 classes); 2 `square` (5000 queries); and two that defences of clips forget:
    3 `static` and 4 `flicker-fixed` (100 steps each, step eps/4). All have one restart and keep the same ball. A model of three
    classes meets untargeted dlr as member 1, a model of two has no member 1.

    Formula: x = x_m of the first member m with margin(x_m) <= 0, else the x_m of the lowest margin. After each member a clip is
    asked for afresh and leaves where it is misclassified. The number of the member that broke a clip is stored as `broken_by`, -1
    where none did. Of a random target no clip leaves and one answer says little: use `vauto-rand`.

    Source: after AutoAttack (Croce and Hein 2020, section 5), which it is not: FAB is left out, and the temporal attacks of Hwang
    et al. 2024 (section 4.2) and Pony et al. 2021 (section 3.1) are added. The choice of members is ours.
    """

    # Goes up with the version of any member, too: its figures are theirs.
    version: ClassVar[int] = 1
    steps: ClassVar[int] = 100
    queries: ClassVar[int] = 5000
    rechecks: ClassVar[int] = 1

    norm: str = param("linf", help="norm of the budget", choices=("linf", "l2"))
    eps: float = param(4 / 255, help="budget; absolute in [0, 1] pixel units for l2", unit=PIXEL)

    def __post_init__(self) -> None:
        check_eps(f"attack {self.registered[1]}", self.norm, self.eps)  # type: ignore[attr-defined]

    def members(self, classes: int) -> Sequence[Attack | None]:
        """The members for a model of so many classes; None: not to be run on it."""
        second = "targeted-dlr" if classes >= 4 else "dlr"
        return (
            self._apgd("ce"),
            self._apgd(second) if classes >= 3 else None,
            Square(norm=self.norm, eps=self.eps, queries=self.queries, p_init=0.8),
            *self._temporal(),
        )

    @property
    def calls(self) -> tuple[int, int]:
        """Gradient calls and queries per clip at most."""
        each = [member.calls for member in self.members(1000) if member]
        return sum(gradients for gradients, _ in each), sum(queries + self.rechecks for _, queries in each) + 1

    def single_step(self) -> PGD:
        """The one-step attack that a sound run must not be weaker than."""
        return PGD(norm=self.norm, eps=self.eps).single_step()

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Adversarial candidates (N, C, T, H, W) of clips (N, C, T, H, W) with labels (N,)."""
        worst = Worst(clips)
        for number, member in enumerate(self.members(target.logits(clips, rng).shape[1])):
            rows = torch.arange(len(clips), device=clips.device) if target.stochastic else (worst.right > 0).nonzero().flatten()
            if member is None or not len(rows):
                continue
            made = member.run(target, clips[rows], labels[rows], rng[rows])
            worst.offer(number, rows, made, self._judge(target, made, labels[rows], rng[rows]))
        target.note("broken_by", worst.by, rng)
        return worst.clips

    def _judge(self, target: Target, made: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Margins of fresh answers (answers, N)."""
        answers = self.rechecks if target.stochastic else 1
        return torch.stack([margin(target.logits(made, rng), labels) for _ in range(answers)])

    def _apgd(self, loss: str) -> APGD:
        return APGD(norm=self.norm, eps=self.eps, steps=self.steps, restarts=1, loss=loss, targets=9, rho=0.75)

    def _temporal(self) -> list[Attack]:
        return [kind(norm=self.norm, eps=self.eps, steps=self.steps, step=self.eps / 4) for kind in (Static, FlickerFixed)]


class Worst:
    """The candidate of each clip that is answered right least often, then with the lowest mean margin.

    Attributes:
        clips: The candidates, (N, C, T, H, W); the clean clips at first.
        right: Share of right answers, (N,); 1 as long as nobody has asked.
        by: The member that made a candidate which most answers get wrong, -1: none did, (N,).
    """

    def __init__(self, clips: Tensor) -> None:
        self.clips = clips.clone()
        self.right = torch.ones(len(clips), device=clips.device)
        self.by = torch.full((len(clips),), -1, device=clips.device)
        self._margin = torch.full((len(clips),), torch.inf, device=clips.device)

    def offer(self, number: int, rows: Tensor, made: Tensor, margins: Tensor) -> None:
        """Considers a member's candidates (M, C, T, H, W) of the clips `rows` (M,), with margins (answers, M)."""
        right, mean = (margins > 0).float().mean(dim=0), margins.mean(dim=0)
        was = self.right[rows]
        better = (right < was) | (right == was) & (mean < self._margin[rows])
        kept = rows[better]
        self.clips[kept], self.right[kept], self._margin[kept] = made[better], right[better], mean[better]
        self.by[kept] = torch.where(right[better] < 0.5, number, -1)
