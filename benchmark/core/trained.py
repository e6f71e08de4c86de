"""Defences that are trained for a model: what they are made of, how they stand in a pipeline, and how they learn."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from .defense import Plain
from .interfaces import Model, Scorer
from .params import param, pixel_text
from .rng import ClipRandom


class Trial(NamedTuple):
    """What a defence is tried by on the validation clips after every epoch, besides clean clips.

    Attributes:
        kind: `attack` or `corruption`.
        spec: Of the attack, which is crafted through the whole defence, or of the corruption at the recipe's severity.
    """

    kind: Literal["attack", "corruption"]
    spec: str

    @classmethod
    def pgd(cls, eps: float, steps: int) -> "Trial":
        """PGD with an L-inf budget, a fraction of the pixel range."""
        return cls("attack", f"pgd:eps={pixel_text(eps)},steps={steps}")


class Learner(nn.Module):
    """A network that learns: its loss, and what changes from epoch to epoch. This one learns to classify, and nothing else.

    What a learner needs to go on after a kill is in its `state_dict`: keep tensors in buffers and submodules, everything else in
    `get_extra_state`.

    Args:
        network: What is trained and, in the end, saved.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def learning(self) -> Iterable[nn.Parameter]:
        """The parameters that the optimiser moves."""
        return self.network.parameters()

    def switch(self, training: bool) -> None:
        """Makes the network ready to learn, or to be tried: only what learns may change its norms' statistics."""
        self.network.train(training).requires_grad_(training)

    def begin(self, epoch: int, epochs: int) -> None:
        """Called before epoch `epoch` of `epochs`, counted from 1."""

    def loss(self, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """What is minimised, a scalar: here the mean cross-entropy.

        Args:
            clips: Float (N, 3, T, H, W) in [0, 1].
            labels: (N,).
            rng: The clips' streams, fresh in every epoch.
        """
        return F.cross_entropy(self.network(clips), labels)

    def score(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """Logits (N, K) of the defence as it is deployed, one draw: what is tried, and what an attacker attacks."""
        return self.network(clips)

    def end(self, epoch: int, epochs: int, batches: Callable[[], Iterator[tuple[Tensor, Tensor, ClipRandom]]]) -> None:
        """Called after an epoch; `batches` gives the validation clips, float, with labels and streams, as often as asked."""


@dataclass(frozen=True)
class Trained(Plain, ABC):
    """Base of defences that are trained for one model on one data set.

    The fields of a subclass say how it is trained, so a checkpoint serves only the values that it was trained with.

    Attributes:
        replaces: Whether it answers in the model's place, so that it must be the last link of a chain.
        deployment: Fields that training does not look at: a checkpoint serves any value of them.
        recipe: Values of `training.entries.Recipe` that it is trained with unless another is asked for.
    """

    replaces: ClassVar[bool] = False
    deployment: ClassVar[tuple[str, ...]] = ()
    recipe: ClassVar[dict[str, Any]] = {}

    weights: str = param("shipped", help="shipped, or the checkpoint that vbench train wrote: a file", identity=False)

    @property
    def trial(self) -> Trial | None:
        """What it is tried by after every epoch, so that the best epoch is kept; None: clean clips alone."""
        return None

    @abstractmethod
    def network(self, model: Model) -> nn.Module:
        """The network that is trained, before its training; `model` stays as it is."""

    @abstractmethod
    def learner(self, model: Model) -> Learner:
        """How it is trained, starting from a trained model."""

    @abstractmethod
    def guard(self, network: nn.Module, model: Scorer) -> Scorer:
        """The defended model: one draw.

        Args:
            network: What was trained.
            model: What comes next in the pipeline.
        """

    def inside(self, network: nn.Module) -> Model | None:
        """The classifier that answers in the model's place, without what may stand before it; None where it replaces none."""
        return None

    def saved(self, network: nn.Module) -> nn.Module:
        """The part of the network whose state a checkpoint holds."""
        return network

    def protect(self, model: Scorer) -> Scorer:
        """Refuses: it needs its weights.

        Raises:
            TypeError: Always; see `Armed`.
        """
        raise TypeError(f"{type(self).__name__} needs its weights: Armed(defence, network).protect(model)")


@dataclass(frozen=True)
class Retrained(Trained, ABC):
    """Base of defences that are the same network with other weights; their checkpoints can also be given to the model itself."""

    replaces: ClassVar[bool] = True

    def network(self, model: Model) -> Model:
        """A copy of the model."""
        return copy.deepcopy(model)

    def guard(self, network: nn.Module, model: Scorer) -> Scorer:
        """The other weights answer."""
        return lambda clips, rng: network(clips)

    def inside(self, network: nn.Module) -> Model | None:
        """The network itself."""
        return network if isinstance(network, Model) else None

    def saved(self, network: nn.Module) -> nn.Module:
        """The network without the wrapper, as the zoo's checkpoints are."""
        assert isinstance(network, Model)
        return network.net


class Armed:
    """A trained defence with its weights: a link of a pipeline.

    Args:
        defense: The defence.
        network: Its trained network, frozen, in eval mode.
        sha256: Hash of its weights.
    """

    def __init__(self, defense: Trained, network: nn.Module, sha256: str = "") -> None:
        self.defense, self.network, self.sha256 = defense, network, sha256
        self.version, self.stochastic, self.gradient = defense.version, defense.stochastic, defense.gradient
        self.draws, self.replaces = defense.draws, defense.replaces

    @property
    def inside(self) -> Model | None:
        """The classifier that answers in the model's place; None where it replaces none."""
        return self.defense.inside(self.network)

    def protect(self, model: Scorer) -> Scorer:
        """The defended model: one draw."""
        return self.defense.guard(self.network, model)
