"""From a defence to a link of a pipeline: trained ones get their weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..core.errors import InputError
from ..core.files import sha256
from ..core.interfaces import Defense, Model
from ..core.registry import ROOT, Component
from ..core.trained import Armed, Trained
from .weights import load_state
from .zoo import read_card

FOLDER = ROOT / "defenses" / "zoo"


@dataclass(frozen=True)
class Owner:
    """What a trained defence belongs to.

    Attributes:
        model: Component of the model.
        dataset: Name of the data set.
    """

    model: Component
    dataset: str

    def __str__(self) -> str:
        return f"{self.model.entry.name} on {self.dataset}"


def file_name(defense: Component, owner: Owner) -> str:
    """Name of a trained defence's checkpoint: `cat-direction-down.tsm-tiny.shapes.safetensors`; defaults are left out."""
    own = defense.short.replace(":", "-").replace("=", "-").replace(",", "-").replace("/", "of")
    preset = f"-{owner.model.values['preset']}" if "preset" in owner.model.values else ""
    return f"{own}.{owner.model.entry.name}{preset}.{owner.dataset}.safetensors"


def shipped() -> list[tuple[Path, dict[str, Any]]]:
    """All checkpoints of defences that the package ships, with their cards."""
    return [(path, read_card(path)) for path in sorted(FOLDER.glob("*.safetensors"))]


def arm(defense: Component, owner: Owner, model: Model) -> Defense | Armed:
    """The live defence; a trained one with its weights, frozen, in eval mode, on the model's device.

    Raises:
        InputError: There is no checkpoint for this model, or it cannot be read, does not fit, or was trained otherwise.
    """
    made = defense.create()
    if not isinstance(made, Trained):
        return made
    path = find(defense, owner)
    network = made.network(model)
    where = f"defense {defense.entry.name}: weights"
    try:
        made.saved(network).load_state_dict(load_state(path, where))
    except RuntimeError as error:
        line = str(error).strip().splitlines()[-1].strip()
        raise InputError(where, f"{path} does not fit {owner.model}: {line}", "give a checkpoint of this model") from None
    device = next(iter(model.parameters()), torch.empty(0)).device
    return Armed(made, network.to(device).eval().requires_grad_(False), sha256(path))


def find(defense: Component, owner: Owner) -> Path:
    """The checkpoint of a trained defence: the file that it names, or the shipped one.

    Raises:
        InputError: There is none, or the card beside it says that it was trained otherwise.
    """
    where = f"defense {defense.entry.name}: weights"
    if defense.values["weights"] != "shipped":
        path = Path(defense.values["weights"]).expanduser()
        if path.with_suffix(".json").is_file():
            _check_card(read_card(path), path, defense, owner)
        return path
    for path, card in shipped():
        if (card.get("defense"), card.get("model"), card.get("dataset")) == (defense.text, owner.model.text, owner.dataset):
            if card.get("sha256") != sha256(path):
                raise InputError(where, f"{path} is not the file that its card describes", "install the package afresh")
            return path
    raise InputError(where, f"no checkpoint of {defense.short} is shipped for {owner}", _remedy(defense, owner))


def _check_card(card: dict[str, Any], path: Path, defense: Component, owner: Owner) -> None:
    where = f"defense {defense.entry.name}: weights"
    if card.get("sha256") != sha256(path):
        raise InputError(where, f"{path} is not the file that its card describes", "give the file that vbench train wrote")
    for what, asked in (("defense", defense.text), ("model", owner.model.text), ("dataset", owner.dataset)):
        if card.get(what) != asked:
            raise InputError(
                where, f"{path} was trained with {what} {card.get(what)}, not {asked}", "name what it was trained with"
            )


def _remedy(defense: Component, owner: Owner) -> str:
    """Which checkpoints there are, and how to train one."""
    mine = [card for _, card in shipped() if str(card.get("defense")).partition(":")[0] == defense.entry.name]
    there = sorted({f"{str(card['model']).partition(':')[0]} on {card['dataset']}" for card in mine})
    known = f"{defense.entry.name} is shipped for {', '.join(there)}; " if there else ""
    command = f"vbench train --model {owner.model} --defense {defense.short} --dataset {owner.dataset}"
    return f"{known}train it by {command} and write {defense.entry.name}:weights=FILE"
