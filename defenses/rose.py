"""The training of the winner of the ROSE challenge 2022."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..benchmark.core.corruption import Corruption
from ..benchmark.core.interfaces import Model
from ..benchmark.core.params import param
from ..benchmark.core.registry import register, resolve
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.trained import Learner, Retrained, Trial
from .trades import divergence


@register("defense", "rose")
@dataclass(frozen=True)
class Rose(Retrained):
    """ROSE 2022's winner: the model learns on clean and corrupted clips, to be right on both and to say the same of both.

    Formula (TRADES++): J(f(X), y) + J(f(Xc), y) + balance * KL(f(X) || f(Xc)). J is the cross-entropy; Xc is X after the
    corruption rose_mixture: every frame with probability `rate` through one of twenty corruptions. Then mixup: X, Xc and the
    labels of a clip become lambda of its own and 1 - lambda of another one's, with lambda drawn from Beta(mixup, mixup).

    For natural corruptions, not for attacks. The paper does not print the balance: ours is 1. Nor does it say where mixup and
    corruption meet: here both X and Xc are mixed, with the same partner and lambda (drawn per clip), so that the divergence
    compares the same contents. Left out is what belongs to the input and not to the weights: the enlarged frame interval and the
    several scales (choose them by the model; a sampler over the whole video has no interval to enlarge), three crops (tta), and
    random crops and mirroring of whole clips, for which the paper's data, not every data set's classes, stand still. The epoch
    with the best accuracy on validation clips with all frames corrupted, at the recipe's severity, is kept.

    Source: Yu et al. 2022, The 1st Place Solution for ROSE Challenge 2022, Eq. 1, sections 3.2, 3.4 and 3.5, Tables 2 to 4.
    """

    version: ClassVar[int] = 1
    recipe: ClassVar[dict[str, Any]] = {"epochs": 6, "lr": 2e-3, "keep": "best"}

    rate: float = param(0.5, help="probability that a frame is corrupted", low=0.0, high=1.0)
    severity: int = param(2, help="severity of the corruptions; the paper also tried 3", low=1, high=5)
    mixup: float = param(0.2, help="both parameters of mixup's Beta distribution; 0: no mixup", low=0.0)
    balance: float = param(1.0, help="weight of the KL divergence", low=0.0)

    @property
    def trial(self) -> Trial:
        """The same mixture on every frame."""
        return Trial("corruption", "rose_mixture:rate=1")

    def learner(self, model: Model) -> "RoseLearner":
        """Starts from the model's weights."""
        return RoseLearner(self.network(model), self)


class RoseLearner(Learner):
    """Learns by TRADES++ and mixup.

    Args:
        network: The model that learns.
        defense: Says how.
    """

    def __init__(self, network: Model, defense: Rose) -> None:
        super().__init__(network)
        self.defense = defense
        self.mixture: Corruption = resolve("corruption", f"rose_mixture:rate={defense.rate}").create()

    def corrupted(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """Float clips in [0, 1] through the mixture, which knows whole grey levels."""
        made = self.mixture.apply((255 * clips).round_().to(torch.uint8), self.defense.severity, rng)
        return made.to(clips.dtype).div_(255)

    def loss(self, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """TRADES++, Eq. 1, of mixed clips."""
        corrupted = self.corrupted(clips, rng)
        if not self.defense.mixup:
            return trades_plus_plus(self.network(clips), self.network(corrupted), labels, self.defense.balance)
        share, partner = draw_mixup(self.defense.mixup, rng)
        clips, corrupted = (mixed(values, share, partner) for values in (clips, corrupted))
        clean, other = self.network(clips), self.network(corrupted)
        # In the clips' precision: on a GPU the answers come in half of it, in which shares are coarse.
        targets = mixed(F.one_hot(labels, clean.shape[1]).to(clips.dtype), share, partner)
        return trades_plus_plus(clean, other, targets, self.defense.balance)


def trades_plus_plus(clean: Tensor, corrupted: Tensor, labels: Tensor, balance: float) -> Tensor:
    """Eq. 1, the mean over the clips.

    Args:
        clean: Logits (N, K) of clean clips.
        corrupted: Those of corrupted ones.
        labels: Classes (N,), or their shares (N, K).
        balance: Weight of the divergence.
    """
    both = F.cross_entropy(clean, labels) + F.cross_entropy(corrupted, labels)
    return both + balance * divergence(corrupted, clean).mean()


def draw_mixup(alpha: float, rng: ClipRandom) -> tuple[Tensor, Tensor]:
    """Each clip's share of itself, drawn from Beta(alpha, alpha), and the row of the clip that gives the rest; both (N,)."""
    seeds = rng.integers(0, 2**62).tolist()
    share = torch.tensor([np.random.default_rng(seed).beta(alpha, alpha) for seed in seeds], dtype=torch.float32)
    return share.to(rng.device), rng.uniform(()).argsort()


def mixed(values: Tensor, share: Tensor, partner: Tensor) -> Tensor:
    """Mixup (Zhang et al. 2018, section 2): values (N, ...) of each row and of its partner, by the row's share (N,)."""
    share = share.to(values.dtype).view(-1, *[1] * (values.dim() - 1))
    return share * values + (1 - share) * values[partner]
