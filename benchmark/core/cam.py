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

    def remember(module: nn.Module, given: object, out: object) -> Tensor | None:
        if not isinstance(out, Tensor) or out.dim() not in (4, 5) or min(out.shape[-2:]) < 2 or not out.requires_grad:
            return None
        maps = out.transpose(1, 2) if out.dim() == 5 else out.view(clips, -1, *out.shape[1:])
        seen[:] = [maps]
        # The network goes on from the maps, so that its scores can be differentiated by them.
        return maps.transpose(1, 2) if out.dim() == 5 else maps.view(out.shape)

    hooks = [module.register_forward_hook(remember) for module in net.modules()]

    def maps() -> Tensor:
        if not seen:
            raise InputError(
                "model", "it has no convolutional feature maps", "class activation maps need a convolutional network"
            )
        return seen[0]

    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()
