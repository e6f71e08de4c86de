"""From a defence to a link of a pipeline: trained ones get their weights."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..core.errors import InputError
from ..core.files import sha256
from ..core.interfaces import Defense, Model
from ..core.registry import Component
from ..core.trained import Armed, Trained
from .armoury import Owner, find, remedy
from .weights import load_state


def arm(defense: Component, owner: Owner, model: Model) -> Defense | Armed:
    """The live defence; a trained one with its weights, frozen, in eval mode, on the model's device.

    Raises:
        InputError: There is no checkpoint for this model, or it cannot be read, does not fit, or was trained otherwise.
    """
    made = defense.create()
    if not isinstance(made, Trained):
        return made
    defense = as_trained(defense)
    path, card = find(defense, owner)
    where = f"defense {defense.entry.name}: weights"
    if owner.model.live is None and card.get("starts_from", model.weights_sha256) != model.weights_sha256:
        raise InputError(where, f"{path} was trained for other weights of {owner.model.short}", remedy(defense, owner))
    network = made.network(model)
    _load(made.saved(network), load_state(path, where), path, where, owner)
    return Armed(made, network.to(model.device).eval().requires_grad_(False), sha256(path))


def as_trained(defense: Component) -> Component:
    """A trained defence with the defaults of what its training does not look at, so that its checkpoint serves all values."""
    deployment = defense.create().deployment
    defaults = {field.name: field.default for field in defense.entry.fields if field.name in deployment}
    return replace(defense, values=defense.values | defaults)


def _load(net: nn.Module, state: Mapping[str, Tensor], path: Path, where: str, owner: Owner) -> None:
    def refused(problem: str) -> InputError:
        return InputError(where, f"{path} does not fit {owner.model.short}: {problem}", "give a checkpoint of this defence")

    own: dict[str, Any] = net.state_dict()
    for key in sorted(own.keys() ^ state.keys()):
        raise refused(f"{key} is missing" if key in own else f"it has {key}, the network has not")
    for key, value in own.items():
        if value.shape != state[key].shape:
            raise refused(f"{key} has shape {tuple(state[key].shape)}, not {tuple(value.shape)}")
        if not state[key].isfinite().all():
            raise refused(f"{key} has numbers that are not finite")
    net.load_state_dict(state)
