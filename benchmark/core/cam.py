"""The last feature maps of a network, for losses that look inside it (class activation mapping)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from .errors import InputError

FeatureLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of logits (N, K), labels (N, ...) and feature maps (N, t, C, h, w), still attached to the graph, to (N,)."""


class WithFeatures:
    """A loss that also wants the last feature maps; a target hands them over.

    Args:
        loss: It may differentiate the logits by the maps, with `create_graph=True`.
    """

    def __init__(self, loss: FeatureLoss) -> None:
        self.loss = loss

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Refuses: it needs the maps.

        Raises:
            InputError: Always.
        """
        raise InputError("loss", "it needs the feature maps of the model", "attack the model, not a function of its scores")


@contextmanager
def last_maps(net: nn.Module, clips: int) -> Iterator[Callable[[], Tensor]]:
    """Remembers, of each pass inside the block, the output of the last module that returns maps over space.

    Works whatever the network is made of: (N*t, C, h, w) of a 2-D network and (N, C, t, h, w) of a 3-D one.

    Args:
        net: The network.
        clips: How many clips a pass takes.

    Yields:
        A function that returns the maps of the last pass as (N, t, C, h, w).
    """
    seen: list[Tensor] = []

    def remember(module: nn.Module, given: object, out: object) -> None:
        if isinstance(out, Tensor) and out.dim() in (4, 5) and out.shape[-1] > 1 and out.shape[-2] > 1 and out.requires_grad:
            seen[:] = [out]

    hooks = [module.register_forward_hook(remember) for module in net.modules()]

    def maps() -> Tensor:
        if not seen:
            raise InputError(
                "model", "it has no convolutional feature maps", "class activation maps need a convolutional network"
            )
        last = seen[0]
        return last.transpose(1, 2) if last.dim() == 5 else last.view(clips, -1, *last.shape[1:])

    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()
