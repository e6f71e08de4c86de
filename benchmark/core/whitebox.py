"""A model as attacks see it, without counting: for training, and one pass of it for the harness."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .attack import Gradient, State
from .cam import WithFeatures, last_maps
from .errors import InputError
from .interfaces import Scorer
from .losses import Loss
from .rng import ClipRandom


def gradient_of(scorer: Scorer, net: nn.Module | None, clips: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom) -> Gradient:
    """The gradient of a loss by one pass, one draw.

    Args:
        scorer: What is attacked.
        net: The network in it, for losses that look at feature maps; None where it is not known.
        clips: (N, C, T, H, W).
        labels: What the loss takes, (N, ...).
        loss: Of logits (N, K) and labels, (N,).
        rng: The clips' streams.

    Raises:
        InputError: The loss needs feature maps, and there are none.
    """
    clips = clips.detach().requires_grad_()
    if isinstance(loss, WithFeatures):
        if net is None:
            raise InputError("loss", "it needs the feature maps of a model")
        with last_maps(net, len(clips)) as maps:
            logits = scorer(clips, rng)
            value = loss.loss(logits, labels, maps())
    else:
        logits = scorer(clips, rng)
        value = loss(logits, labels)
    (grad,) = torch.autograd.grad(value.sum(), clips)
    return Gradient(grad, value.detach(), logits.detach())


class WhiteBox:
    """An `attack.Target` that counts nothing and keeps no notes: a training attacks its own network.

    Args:
        scorer: One pass, one draw.
        net: The network in it, for losses that look at feature maps.
    """

    stochastic = False
    until_fooled = False

    def __init__(self, scorer: Scorer, net: nn.Module | None = None) -> None:
        self._scorer, self._net = scorer, net

    def gradient(self, clips: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom) -> Gradient:
        """The gradient of one draw, finite everywhere."""
        found = gradient_of(self._scorer, self._net, clips, labels, loss, rng)
        return found._replace(grad=found.grad.nan_to_num(0.0, 0.0, 0.0))

    def logits(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """Scores (N, K) of one draw, without gradient."""
        with torch.no_grad():
            return self._scorer(clips, rng)

    def rounds(self, count: int, save: Callable[[], State], load: Callable[[State], None]) -> range:
        """All of them: nothing is kept."""
        return range(count)

    def note(self, name: str, values: Tensor, rng: ClipRandom) -> None:
        """Nothing is kept."""


def crafted(scorer: Scorer, net: nn.Module, craft: Callable[[WhiteBox], Tensor]) -> Tensor:
    """Adversarial clips for training on: made while the network stands still, in eval mode, then it learns on as before.

    Args:
        scorer: What is attacked.
        net: The network that learns in it: its norms' statistics do not move and its weights take no gradient meanwhile.
        craft: Makes the clips.
    """
    modes = [(module, module.training) for module in net.modules()]
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    net.eval().requires_grad_(False)
    try:
        return craft(WhiteBox(scorer, net)).detach()
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter in learning:
            parameter.requires_grad_(True)
