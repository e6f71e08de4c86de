"""What most defences share: the model looks at other clips than it is given, at one or at several."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .interfaces import Scorer
from .rng import ClipRandom


class Plain:
    """What a defence is unless it says otherwise: always the same, differentiable, deployed as one pass.

    Attributes:
        version: Goes up when the same parameters give other numbers.
        stochastic: Whether two passes may differ.
        gradient: `exact`, `bpda` or `none`; see `interfaces.Defense`.
    """

    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False
    gradient: ClassVar[Literal["exact", "bpda", "none"]] = "exact"

    @property
    def draws(self) -> int:
        """How many passes the deployed defence averages."""
        return 1


class Preprocessing(Plain, ABC):
    """Base of defences that change clips before the model sees them.

    Their gradient is `exact` where `purify` is differentiable; `bpda`: the attacker's gradient passes it as if it did nothing
    (Athalye et al. 2018, section 4.1).
    """

    @abstractmethod
    def purify(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """What the model gets to see of clips (N, C, T, H, W) in [0, 1]: the same shape and range; the input stays as it is."""

    def protect(self, model: Scorer) -> Scorer:
        """The model behind one draw of the defence."""

        def defended(clips: Tensor, rng: ClipRandom) -> Tensor:
            if self.gradient == "exact":
                return model(self.purify(clips, rng), rng)
            with torch.no_grad():
                made = self.purify(clips.detach(), rng)
            return model(straight_through(clips, made), rng)

        return defended


class Views(Plain, ABC):
    """Base of defences whose answer is the mean of the model's scores of several views of a clip, always the same ones."""

    @abstractmethod
    def views(self, clips: Tensor) -> Iterator[Tensor]:
        """Views of clips (N, C, T, H, W), of the same shape; the input stays as it is."""

    def protect(self, model: Scorer) -> Scorer:
        """The ensemble: logarithms of the mean softmax scores, which are logits of the same scores."""

        def ensemble(clips: Tensor, rng: ClipRandom) -> Tensor:
            # One view after the other: together they would take the memory of as many more clips.
            scores = torch.stack([model(view, rng).log_softmax(dim=1) for view in self.views(clips)])
            return scores.logsumexp(dim=0) - math.log(len(scores))

        return ensemble


def straight_through(clips: Tensor, made: Tensor) -> Tensor:
    """`made`, with the gradient of the identity to `clips` (BPDA; Athalye et al. 2018, section 4.1)."""
    return _StraightThrough.apply(clips, made)  # type: ignore[return-value]


class _StraightThrough(torch.autograd.Function):
    """Exactly `made`: `clips + (made - clips)` would round."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, clips: Tensor, made: Tensor) -> Tensor:  # type: ignore[override]
        return made.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad, None
