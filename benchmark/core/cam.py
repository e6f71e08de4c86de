"""The last feature maps of a network, for losses that look inside it (class activation mapping)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .errors import InputError
from .interfaces import Model
from .losses import cross_entropy, margin
from .rng import ClipRandom

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
    """Remembers, of each pass inside the block, the last feature maps that still have space and time.

    They are those of the layer that a model declares (`Model.cam`). Where it declares none, or time has become a single step
    there, they are found, whatever the network is made of, from what its modules return: (N*t, C, h, w) in a 2-D network,
    (N, C, t, h, w) in a 3-D one. Maps with a single time step are passed over: they tell nothing of frames. Maps that are then
    taken apart into one vector per position, as a transformer's patches are, do not count.

    Args:
        net: The network; a declaration is one of a `Model`.
        clips: How many clips a pass takes.

    Yields:
        A function that returns the maps of the last pass as (N, t, C, h, w); it raises InputError where there are none.

    Raises:
        InputError: The declared layer does not exist.
    """
    seen: list[Tensor] = []
    declared, settled = _declared(net), False

    def remember(module: nn.Module, given: object, out: object) -> Tensor | None:
        nonlocal settled
        if not isinstance(out, Tensor) or not out.requires_grad or (settled and module is not declared):
            return None
        if out.dim() == 3 and seen and out[..., 0].numel() >= seen[0][:, :, 0].numel():
            seen.clear()
        if out.dim() == 5 and len(out) == clips:
            maps = out.transpose(1, 2)
        elif out.dim() == 4 and len(out) % clips == 0:
            maps = out.view(clips, -1, *out.shape[1:])
        else:
            return None
        if min(maps.shape[1], *maps.shape[3:]) == 1:
            return None
        seen[:], settled = [maps], settled or module is declared
        # The network goes on from the maps as they are handed over: only so has its answer a gradient to them.
        return maps.transpose(1, 2) if out.dim() == 5 else maps.flatten(0, 1)

    hooks = [module.register_forward_hook(remember) for module in net.modules()]

    def maps() -> Tensor:
        if not seen:
            problem = "it has no convolutional feature maps over space and time"
            raise InputError("model", problem, "class activation maps need a convolutional network")
        return seen[0]

    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def _declared(net: nn.Module) -> nn.Module | None:
    """The layer that a model declares."""
    if not isinstance(net, Model) or not net.cam:
        return None
    try:
        return net.net.get_submodule(net.cam)
    except AttributeError:
        problem = f"the network has no submodule {net.cam!r}"
        raise InputError("model: cam", problem, "name the one whose output are the last feature maps") from None


def activation_maps(loss: Tensor, maps: Tensor) -> Tensor:
    """Gradient-weighted class activation maps (Selvaraju et al. 2017), differentiable, without rectification.

    Args:
        loss: Of class scores, per clip, (N,).
        maps: Feature maps (N, t, C, h, w) that it depends on.

    Returns:
        (N, t, h, w): the maps, each channel times its mean gradient over space.
    """
    (slope,) = torch.autograd.grad(loss.sum(), maps, create_graph=True)
    return (slope.mean(dim=(3, 4), keepdim=True) * maps).sum(dim=2)


def over_largest(maps: Tensor) -> Tensor:
    """Activation maps (N, t, h, w) less their smallest value, over their largest, per clip (Duan et al. 2023, TAF, Eq. 3).

    The divisor is the largest value, as printed, and not the range; where it is 0 the maps are only shifted.
    """
    low, high = maps.amin(dim=(1, 2, 3), keepdim=True), maps.amax(dim=(1, 2, 3), keepdim=True)
    return (maps - low) / torch.where(high == 0, torch.ones_like(high), high)


def least_attended(maps: Tensor, frames: int) -> Tensor:
    """Mean over the `frames` frames with the smallest sums of activation maps (N, t, h, w), (N,) (TAF, Eq. 4 and 5)."""
    return maps.mean(dim=(2, 3)).topk(frames, dim=1, largest=False).values.mean(dim=1)


def asked_classes(logits: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
    """The class of each clip that the maps are of, (N,): a random wrong one where the clip is right, else the true one.

    Args:
        logits: Of the clean clips, (N, K).
        labels: True classes (N,).
        rng: The clips' streams.
    """
    drawn = rng.integers(0, logits.shape[1] - 1)
    other = drawn + (drawn >= labels).long()
    return torch.where(margin(logits, labels) > 0, other, labels)


def attention(logits: Tensor, labels: Tensor, maps: Tensor, frames: int | None, owner: str) -> Tensor:
    """How much the network attends to the time steps that it attends to least, (N,) (TAF, Eq. 2 to 5).

    Args:
        logits: (N, K).
        labels: True classes and those that the maps are of, (N, 2).
        maps: Last feature maps (N, t, C, h, w).
        frames: How many time steps count; None: all.
        owner: How messages name who asks.

    Raises:
        InputError: The maps have fewer steps.
    """
    steps = maps.shape[1]
    if frames is not None and frames > steps:
        problem = f"{frames} is more than the {steps} time steps of the model's last feature maps"
        raise InputError(f"{owner}: frames", problem, f"it must be from 1 to {steps}")
    seen = over_largest(activation_maps(cross_entropy(logits, labels[:, 1]), maps))
    return least_attended(seen, frames or steps)
