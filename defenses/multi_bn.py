"""Batch norms of their own for every kind of clip."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..benchmark.core.attack import Attack
from ..benchmark.core.branches import Branches
from ..benchmark.core.budget import check_eps
from ..benchmark.core.errors import InputError
from ..benchmark.core.interfaces import Model
from ..benchmark.core.params import PIXEL, param, pixel_text
from ..benchmark.core.registry import register, resolve
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.trained import Learner, Retrained, Trial
from ..benchmark.core.whitebox import crafted

KINDS = ("clean", "pgd", "patch")
"""The kinds of clips, and the branches of the batch norms."""


@register("defense", "multi-bn")
@dataclass(frozen=True)
class MultiBN(Retrained):
    """Multiple batch norms: some for clean clips, some for PGD's, some for a patch's, and a module that selects by the clip.

    Formula: min over weights of the mean over kinds k of CE(f_k(x_k), y) + CE(s(x_k), k), with x_0 the clean clip, x_1 after
    PGD within eps, x_2 with a patch of any pixel values. f_k is the model with the batch norms of branch k; all other weights
    are shared, and each attack is made through its own branch. Deployed: every batch norm gives the sum over k of p_k BN_k, with
    p the softmax of s(x).

    The authors' code detects the kind and takes that branch alone, through which no gradient reaches the detector. The mixture
    lets it, so an adaptive attack deceives the selection too; where the selection is certain, both are the same. Their detector
    is a deep network, ours three convolutions per frame, without norms, which would hide how strong a noise is. Their patch goes
    where it harms most, ours stands at a random place. PGD takes 5 steps, as in the code, of the size of our attack's and not
    from corner to corner. It starts from a trained model, and the epoch with the best accuracy under PGD through the whole
    defence is kept. The answer is no plain network's: a checkpoint is not one of the model.

    Source: Lo and Patel 2020, Defending Against Multiple and Unforeseen Adversarial Videos, arXiv 2009.05244, and its code.
    """

    version: ClassVar[int] = 1
    recipe: ClassVar[dict[str, Any]] = {"epochs": 2, "lr": 2e-3, "keep": "best"}

    eps: float = param(4 / 255, help="L-inf budget of the training's PGD", unit=PIXEL)
    ratio: float = param(0.07, help="share of a frame's area that the training's patch takes", low=0, high=1)
    steps: int = param(5, help="gradient steps of both", low=1)

    def __post_init__(self) -> None:
        check_eps("defense multi-bn", "linf", self.eps)

    @property
    def trial(self) -> Trial:
        """PGD of ten steps with the budget, through the selection."""
        return Trial.pgd(self.eps, steps=10)

    @property
    def attacks(self) -> tuple[Attack, ...]:
        """What makes the clips of each kind but the first."""
        patch = f"masked-pgd:ratio={self.ratio},steps={self.steps},step=0.2,position=random"
        specs = (f"pgd:eps={pixel_text(self.eps)},steps={self.steps}", patch)
        return tuple(resolve("attack", spec).create() for spec in specs)

    def network(self, model: Model) -> Model:
        """A copy of the model whose network has the branches and the selection in it."""
        copied = copy.deepcopy(model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            selector = Selector(flat=copied.layout == "NTCHW")
        copied.net = Selecting(copied.net, selector.to(copied.scale.device))
        copied.cam = f"net.{model.cam}" if model.cam else ""
        return copied

    def learner(self, model: Model) -> "Jointly":
        """Starts from the model's weights, on every branch.

        Raises:
            InputError: The model has no batch norms.
        """
        return Jointly(self.network(model), self)


class Selector(nn.Module):
    """Logits (N, 3) of the kinds of clips, from the clips as the network takes them.

    Args:
        flat: Whether it takes (N, T, 3, H, W), not (N, 3, T, H, W).
    """

    def __init__(self, flat: bool) -> None:
        super().__init__()
        self._flat = flat
        self.conv1 = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(32, 32, 3, stride=2, padding=1)
        self.fc = nn.Linear(32, len(KINDS))
        for conv in (self.conv1, self.conv2, self.conv3):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")

    def forward(self, clips: Tensor) -> Tensor:
        """The mean over frames."""
        frames = (clips if self._flat else clips.transpose(1, 2)).flatten(0, 1)
        frames = frames.contiguous(memory_format=torch.channels_last)
        for conv in (self.conv1, self.conv2, self.conv3):
            frames = F.relu_(conv(frames))
        return self.fc(frames.mean(dim=(2, 3)).unflatten(0, (len(clips), -1)).mean(dim=1))


class Selecting(nn.Module):
    """A network whose batch norms are mixed by a selector; on request it is one branch, or the selector alone.

    Args:
        net: The network.
        selector: Gives logits of the kinds.
    """

    def __init__(self, net: nn.Module, selector: Selector) -> None:
        super().__init__()
        self.net, self.selector = net, selector
        self.branches = Branches(net, len(KINDS))
        self._asked: int | Literal["kinds"] | None = None

    @contextmanager
    def asked(self, what: int | Literal["kinds"]) -> Iterator[None]:
        """Inside the block it answers as one branch, or gives the logits of the kinds."""
        self._asked = what
        try:
            yield
        finally:
            self._asked = None

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (N, K) of clips in the network's layout; of the kinds (N, 3)."""
        if self._asked == "kinds":
            return self.selector(clips)
        if self._asked is not None:
            with self.branches.use(self._asked):
                return self.net(clips)
        with self.branches.mix(self.selector(clips).softmax(dim=1)):
            return self.net(clips)


class Jointly(Learner):
    """Learns every kind of clip through its own branch, and the kinds.

    Args:
        network: The model that learns.
        defense: Gives the attacks.

    Raises:
        InputError: The model has no batch norms.
    """

    network: Model

    def __init__(self, network: Model, defense: MultiBN) -> None:
        super().__init__(network)
        self.attacks = defense.attacks
        if not len(self._selecting.branches):
            raise InputError("defense multi-bn: model", f"{network.name} has no batch norms", "choose one that has, such as tsm")

    @property
    def _selecting(self) -> Selecting:
        assert isinstance(self.network.net, Selecting)
        return self.network.net

    def loss(self, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """The mean over the kinds of both cross-entropies."""
        seen = [clips, *(self.attacked(branch, clips, labels, rng) for branch in range(1, len(KINDS)))]
        terms = []
        for kind, batch in enumerate(seen):
            with self._selecting.asked(kind):
                terms.append(F.cross_entropy(self.network(batch), labels))
            with self._selecting.asked("kinds"):
                terms.append(F.cross_entropy(self.network(batch), torch.full_like(labels, kind)))
        return torch.stack(terms).sum() / len(KINDS)

    def attacked(self, branch: int, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Clips of one kind, made through its branch."""

        def scorer(clips: Tensor, rng: ClipRandom) -> Tensor:
            with self._selecting.asked(branch):
                return self.network(clips)

        return crafted(scorer, self.network, lambda target: self.attacks[branch - 1].run(target, clips, labels, rng))
