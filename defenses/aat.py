"""Adaptive adversarial training."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..benchmark.core.attack import Attack
from ..benchmark.core.budget import check_eps
from ..benchmark.core.interfaces import InputSpec, Model
from ..benchmark.core.params import PIXEL, param, pixel_text
from ..benchmark.core.registry import register, resolve
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.trained import Trial
from ..benchmark.core.whitebox import crafted
from .adversarial_training import Adversarial, AdversarialTraining, step_size

XI = 10
"""Epochs between two updates of the probabilities at most (section 5.1)."""

RATIO = 0.15
"""Share of a frame that the training's patch and border take; at 32 pixels the border is one pixel thick."""

Attacker = Callable[[Tensor, Tensor, ClipRandom], Tensor]
"""Clips (N, 3, T, H, W), labels (N,) and streams to attacked clips."""


@register("defense", "aat")
@dataclass(frozen=True)
class AAT(AdversarialTraining):
    """Adaptive adversarial training: each batch meets an attack that is drawn, the likelier the more it still hurts.

    Formula: P(i) = sum_n CE(f(x_n + d_n^i), y_n) / sum_j sum_n CE(f(x_n + d_n^j), y_n), over the validation clips, where d_n^i is
    the attack i on clip n. Attack i is PGD with step size alpha(eps_i) and budget eps_i of {0, ..., eps}, `levels` of them evenly
    apart: 0, 2, ..., 12 grey levels. A batch draws its attack from P, which is renewed after every min(10, K/|E|) of K epochs.

    `over=attacks` draws from four attacks instead of budgets: masked PGD at a random place and frame border, both on at most 15 %
    of a frame with any pixel value, and one-shot and iterative frame saliency on at most half of the frames, with budget eps.
    Flickering is left out, as in section 5.3, to be met as an unseen attack. Every attack takes `steps` gradient steps, the
    one-shot one a single step, of size alpha(its budget). The paper prints none of this; its released code has the same four and
    the 15 %, draws them evenly, and takes 100 to 300 steps.

    Decided: P starts uniform (the paper: at random); K/|E| is cut to a whole number, at least 1; the last epoch renews nothing,
    for nothing would be drawn from it. A batch's draw belongs to its first clip's stream. Eq. 8 does not say over which clips:
    ours is over all validation clips, under the attacks that are learnt from; the released code has the last batch's loss, under
    other step sizes.
    Epochs are compared under PGD with the largest budget; with `over=attacks` under masked PGD, so one of the four decides.

    Source: Kinfu and Vidal 2022, Analysis and Extensions of Adversarial Training for Video Classification, section 4.1, Eq. 8,
    Algorithm 1, sections 5.1 and 5.3.
    """

    version: ClassVar[int] = 1

    over: str = param("budgets", help="what is drawn: budgets of PGD, or attacks of four kinds", choices=("budgets", "attacks"))
    eps: float = param(12 / 255, help="largest budget of PGD, and the one of frame saliency", unit=PIXEL)
    levels: int = param(7, help="number of budgets, from 0 to eps", low=2)

    def __post_init__(self) -> None:
        check_eps("defense aat", "linf", self.eps)

    @property
    def hardest(self) -> float:
        """The largest budget."""
        return self.eps

    @property
    def budgets(self) -> list[float]:
        """The set E, as fractions of the pixel range."""
        return [self.eps * level / (self.levels - 1) for level in range(self.levels)]

    @property
    def trial(self) -> Trial:
        """Ten steps of PGD with the largest budget, or of masked PGD where attacks are drawn."""
        return super().trial if self.over == "budgets" else Trial("attack", f"{_patch()},steps=10,step=0.25")

    def attacks(self, input: InputSpec, classes: int) -> list[Attack]:
        """The set T for a model.

        Raises:
            InputError: Its frames are too small for a patch or a border.
        """
        step, sticker = step_size(self.eps, self.rule), f"steps={self.steps},step={step_size(1.0, self.rule):.12g}"
        salient = f"saliency:frames={max(1, input.frames // 2)},eps={pixel_text(self.eps)},step={step:.12g}"
        specs = [
            f"{salient},method=oneshot,steps=1",
            f"{salient},method=iterative,steps={self.steps}",
            f"{_patch()},{sticker}",
            f"frame-border:ratio={RATIO},{sticker}",
        ]
        made: list[Attack] = [resolve("attack", spec).create() for spec in specs]
        for attack in made:
            attack.check(input, classes)
        return made

    def learner(self, model: Model) -> "Adaptive":
        """Starts from the model's weights.

        Raises:
            InputError: The model's frames are too small for the attacks.
        """
        return Adaptive(self.network(model), self)


def _patch() -> str:
    return f"masked-pgd:position=random,ratio={RATIO}"


def proportional(losses: Sequence[float]) -> Tensor:
    """Probabilities in proportion to losses (Eq. 8), float64; equal ones where the losses say nothing, all 0 or not finite."""
    total = sum(losses)
    if not 0 < total < math.inf:
        return torch.full((len(losses),), 1 / len(losses), dtype=torch.float64)
    return torch.tensor(losses, dtype=torch.float64) / total


def interval(epochs: int, choices: int) -> int:
    """Epochs from one update of the probabilities to the next: line 10 of Algorithm 1, whole and at least 1."""
    return max(1, min(XI, epochs // choices))


class Adaptive(Adversarial):
    """Learns on clips under an attack that is drawn for each batch.

    Attributes:
        attackers: The attacks.
        probabilities: Of each, float64.

    Args:
        network: The model that learns.
        defense: Gives the attacks.
    """

    probabilities: Tensor

    def __init__(self, network: Model, defense: AAT) -> None:
        super().__init__(network, defense)
        if defense.over == "budgets":
            self.attackers: list[Attacker] = [partial(self.against, eps) for eps in defense.budgets]
        else:
            self.attackers = [partial(self._under, attack) for attack in defense.attacks(network.input, network.classes)]
        self.register_buffer("probabilities", proportional([1.0] * len(self.attackers)))

    def draw(self, rng: ClipRandom) -> int:
        """Which attack a batch meets, by its first clip's stream: fresh in every epoch, so a resumed training draws the same."""
        # Both to the CPU: the probabilities move with the learner, and a GPU might add them up in another order.
        point = rng[torch.zeros(1, dtype=torch.long)].uniform(()).cpu().double()
        bounds = self.probabilities.cpu().cumsum(0)
        return min(int(torch.searchsorted(bounds, point, right=True)), len(self.attackers) - 1)

    def attacked(self, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """The clips to learn from."""
        return self.attackers[self.draw(rng)](clips, labels, rng)

    def end(self, epoch: int, epochs: int, batches: Callable[[], Iterator[tuple[Tensor, Tensor, ClipRandom]]]) -> None:
        """Renews the probabilities when it is time to, and something is still to be drawn from them."""
        if epoch < epochs and epoch % interval(epochs, len(self.attackers)) == 0:
            # Fresh batches for each: all attacks start from the same draws.
            self.probabilities.copy_(proportional([self._hurt(attacker, batches()) for attacker in self.attackers]))

    def _hurt(self, attacker: Attacker, batches: Iterator[tuple[Tensor, Tensor, ClipRandom]]) -> float:
        """Cross-entropy summed over the validation clips under an attack."""
        total = 0.0
        for clips, labels, rng in batches:
            made = attacker(clips, labels, rng)
            with torch.no_grad():
                total += float(F.cross_entropy(self.score(made, rng), labels, reduction="sum"))
        return total

    def _under(self, attack: Attack, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        return crafted(self.score, self.network, lambda target: attack.run(target, clips, labels, rng))
