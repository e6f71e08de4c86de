"""What an attack promises, and what it may ask of the model that it attacks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor

from .budget import Limits
from .interfaces import InputSpec
from .losses import Loss, check_classes
from .rng import ClipRandom

State = dict[str, Any]
"""Tensors, numbers, texts, and lists and dictionaries of such."""


class Gradient(NamedTuple):
    """Gradient of the summed loss to the clips, with what the same pass says of them.

    Attributes:
        grad: (N, C, T, H, W).
        loss: (N,).
        logits: (N, K).
    """

    grad: Tensor
    loss: Tensor
    logits: Tensor


class Target(Protocol):
    """What an attack may ask of the model it attacks; every call is counted, per clip.

    Attributes:
        stochastic: Whether two passes over the same clips may differ.
        until_fooled: Whether a clip that is already fooled may leave the batch.
    """

    stochastic: bool
    until_fooled: bool

    def gradient(self, clips: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom) -> Gradient:
        """One gradient, averaged over draws where the target is random (EOT).

        Args:
            clips: (N, C, T, H, W) in [0, 1].
            labels: (N, ...), what the loss takes: true classes (N,), or true and target classes (N, 2).
            loss: Of logits (N, K) and labels to (N,). Passes may hold several draws of a clip, or a part of the clips, so it must
                not close over tensors of the batch. A `cam.WithFeatures` loss also gets the last feature maps.
            rng: The clips' streams.
        """
        ...

    def logits(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """Scores (N, K) as the deployed model gives them, without gradient: one query per clip."""
        ...

    def rounds(self, count: int, save: Callable[[], State], load: Callable[[State], None]) -> Iterable[int]:
        """`range(count)` for the rounds of `fit`, asked for once in it; where they were interrupted before, from there on.

        Args:
            count: How many rounds.
            save: Gives all that the rounds to come depend on.
            load: Takes that in, on the CPU, before the first of them.
        """
        ...

    def note(self, name: str, values: Tensor, rng: ClipRandom) -> None:
        """Keeps numbers (N, ...) that the attack found out about the clips of `rng`; they are stored with the cell."""
        ...


class Attack(ABC):
    """What `@register("attack", ...)` marks: a frozen dataclass with the fields or class attributes `norm` and `eps`.

    Attributes:
        version: Goes up when the same parameters give other numbers.
        norm: `linf`, `l2`, `l1`, `l21` (sum over frames of the frames' L2 norms), or `append` for clips that get other frames.
        eps: The budget, in the norm's unit.
        black_box: Whether it asks for scores alone, never for a gradient.
        reports: Measured columns that belong beside its accuracy: of `frames`, `area`, `thickness`, `roughness`, `queries`.
        eot: Draws per gradient that it is defined with, where the target is random; the threat may ask for more.
        universal: Whether one perturbation serves all clips, so that `fit` must make it on others first.
        fit_split: Split that `fit` is shown; None: the data set's validation or training clips.
        fit_clips: How many clips of it.
    """

    version: ClassVar[int] = 1
    norm: str
    eps: float
    black_box: ClassVar[bool] = False
    reports: ClassVar[tuple[str, ...]] = ()
    eot: int = 1
    universal: bool = False
    fit_split: str | None = None
    fit_clips: int = 64

    @property
    def limits(self) -> Limits:
        """What the harness checks besides the norm."""
        return Limits()

    @property
    def files(self) -> tuple[Path, ...]:
        """Files whose content its result depends on."""
        return ()

    @property
    def calls(self) -> tuple[int, int]:
        """Gradient calls and queries per clip at most, for progress."""
        return getattr(self, "steps", 1) * getattr(self, "restarts", 1), 0

    @property
    def fit_calls(self) -> int:
        """Gradient calls in all that `fit` makes, for progress."""
        return 0

    def check(self, input: InputSpec, classes: int) -> None:
        """Refuses, before anything is computed, what a model's clips or classes do not allow: frames or pixels beyond them.

        Raises:
            InputError: Which parameter, what is wrong, what would be right.
        """
        check_classes(getattr(self, "loss", ""), classes)

    def single_step(self) -> "Attack | None":
        """The one-step attack that a sound iterative run must not be weaker than."""
        return None

    def fit(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> "Attack":
        """The attack with its universal perturbation, made on clips (M, C, T, H, W) that it will not be judged on."""
        return self

    @abstractmethod
    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Candidates (N, C, T, H, W); the harness projects, measures and verifies them."""
