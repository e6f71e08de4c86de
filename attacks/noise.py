"""Random noise, the floor below every attack."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..benchmark.core.attack import Attack, Target
from ..benchmark.core.budget import Ball, check_eps
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.search import Search


@register("attack", "noise")
@dataclass(frozen=True)
class Noise(Attack):
    """Uniform draws from the budget's ball, the strongest kept: the sanity floor.

    Formula: x' = argmin over q = 1..queries of margin(clip(x + d_q)), d_q uniform in the eps-ball (L-inf: each value uniform in
    [-eps, eps]; L2: direction of a normal draw, radius eps * U^(1/d) with d numbers per clip), clip to [0, 1]. The margin is the
    true class's score less the best other one. A clip that is fooled takes no further draws where clips may leave.

    A model that noise fools is brittle; a gradient attack that noise beats is broken, or meets masked gradients. Where the
    target is random, each draw is judged by one answer of the deployed, averaged form.

    Source: Carlini et al. 2019, On Evaluating Adversarial Robustness (its checklist asks for random noise of the same budget).
    """

    version: ClassVar[int] = 1
    black_box: ClassVar[bool] = True
    reports: ClassVar[tuple[str, ...]] = ("queries",)

    norm: str = param("linf", help="norm of the budget", choices=("linf", "l2"))
    eps: float = param(4 / 255, help="budget; absolute in [0, 1] pixel units for l2, over the whole clip", unit=PIXEL)
    queries: int = param(100, help="draws per clip at most", low=1)

    def __post_init__(self) -> None:
        check_eps("attack noise", self.norm, self.eps)

    @property
    def calls(self) -> tuple[int, int]:
        """No gradients, `queries` scores per clip at most."""
        return 0, self.queries

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """The strongest draws (N, C, T, H, W) around clips (N, C, T, H, W) with labels (N,)."""
        search, ball = Search(target, clips, labels, rng, self.queries), Ball(clips, self.norm, self.eps)
        around = ball
        while search.goes_on():
            if len(search.rows) < len(around.clean):
                around = ball[search.rows]
            search.ask(around.random(search.rng))
        return search.best.clips
