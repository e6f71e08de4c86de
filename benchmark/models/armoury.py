"""Checkpoints of trained defences: what they are called, which the package ships, and whom one belongs to.

Nothing here imports torch, so that `vbench show` can say what there is.
"""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.files import sha256
from ..core.registry import ROOT, Component, Entry, resolve
from ..core.specs import Spec
from .zoo import card_path, read_card

FOLDER = ROOT / "defenses" / "zoo"


@dataclass(frozen=True)
class Owner:
    """What a trained defence belongs to.

    Attributes:
        model: The model.
        dataset: The data set.
    """

    model: Component
    dataset: Component

    def __str__(self) -> str:
        return f"{self.model.short} on {self.dataset.entry.name}"


def file_name(defense: Component, owner: Owner) -> str:
    """Name of a trained defence's checkpoint: `cat-direction-down.tsm-tiny.shapes.safetensors`; defaults are left out."""
    return f"{plain_name(defense)}.{plain_name(owner.model)}.{plain_name(owner.dataset)}.safetensors"


def plain_name(component: Component) -> str:
    """What a component is called in the name of a file: `at-eps-4of255`, `tsm-tiny`, `mine-build` for `my/mine.py:build`."""
    entry, values = component.entry, component.values
    words = [entry.name if ".py:" not in entry.name else f"{entry.path.stem}-{entry.attribute}"]
    words += [values["preset"]] if "preset" in values else []
    changed = [field for field in entry.fields if field.identity and values[field.name] != field.default]
    words += [f"{field.name}-{field.format(values[field.name])}" for field in changed if field.name != "preset"]
    return re.sub(r"[^\w.-]+", "-", "-".join(words).replace("/", "of"))


def is_trained(entry: Entry) -> bool:
    """Whether a defence has weights."""
    return any(field.name == "weights" for field in entry.fields)


def shipped(defense: str = "") -> list[tuple[Path, dict[str, Any]]]:
    """The checkpoints that the package ships, with their cards; of one defence, or of all.

    A card that cannot be read is an empty one.
    """
    stems = sorted({path.with_suffix("") for path in FOLDER.glob("*") if path.suffix in (".safetensors", ".json")})
    found = [(stem.with_name(f"{stem.name}.safetensors"), _card(stem)) for stem in stems]
    return [(path, card) for path, card in found if not defense or _name(card.get("defense", ""), "defense") == defense]


def whose(card: dict[str, Any]) -> str:
    """The model and the data set that a card names: `tsm on shapes`."""
    return f"{_name(card.get('model', ''), 'model')} on {_name(card.get('dataset', ''), 'dataset')}"


def find(defense: Component, owner: Owner) -> tuple[Path, dict[str, Any]]:
    """The checkpoint of a trained defence, the file that it names or the shipped one, and its card; empty where it has none.

    Raises:
        InputError: There is none, or the card beside it says that it was trained otherwise.
    """
    where, named = f"defense {defense.entry.name}: weights", defense.values.get("weights", "shipped")
    path = FOLDER / file_name(defense, owner) if named == "shipped" else Path(named).expanduser()
    if not path.is_file():
        if named != "shipped":
            raise InputError(where, f"there is no file {path}", "give the .safetensors file that vbench train wrote")
        raise InputError(where, f"no checkpoint of {defense.short} is shipped for {owner}", remedy(defense, owner))
    if named != "shipped" and not card_path(path).is_file():
        return path, {}
    card = read_card(path)
    if card.get("sha256") != sha256(path):
        again = "install the package afresh" if named == "shipped" else "give the file that vbench train wrote"
        raise InputError(where, f"{path} is not the file that {card_path(path).name} describes", again)
    for what, said, asked in _claims(card, defense, owner):
        if said != asked:
            raise InputError(where, f"{path} was trained with {what} {said}, not {asked}", "name what it was trained with")
    return path, card


def remedy(defense: Component, owner: Owner) -> str:
    """Which checkpoints there are, and how to train one."""
    there = sorted({whose(card) for _, card in shipped(defense.entry.name)})
    known = f"{defense.entry.name} is shipped for {', '.join(there)}" + _variants(defense, owner) + "; " if there else ""
    take = f"write {defense.short}{',' if ':' in defense.short else ':'}weights=FILE"
    if owner.model.live is not None or owner.dataset.live is not None:
        return known + take
    return f"{known}train it by {command(defense, owner)} and {take}"


def _variants(defense: Component, owner: Owner) -> str:
    """With which values it is shipped for this model."""
    specs = [card["defense"] for _, card in shipped(defense.entry.name) if whose(card) == str(owner)]
    return f" (for {owner}: {', '.join(resolve('defense', spec).short for spec in specs)})" if specs else ""


def command(defense: Component, owner: Owner) -> str:
    """The command that trains a defence for a model on a data set."""
    model, dataset = (part.entry.canonical(part.values, brief=True) for part in (owner.model, owner.dataset))
    return shlex.join(["vbench", "train", "--model", model, "--defense", defense.short, "--dataset", dataset])


def _claims(card: dict[str, Any], defense: Component, owner: Owner) -> list[tuple[str, str, str]]:
    """What a card says of defence, model and data set, and what is asked for; a live object has no name that could tell."""
    claims = [
        ("defense", _local(str(card.get("defense"))), _local(defense.text)),
        ("version", str(card.get("version")), defense.entry.version),
    ]
    if owner.model.live is None:
        claims.append(("model", _local(str(card.get("model"))), _local(owner.model.text)))
    if owner.dataset.live is None:
        claims.append(("dataset", _local(_name(card.get("dataset", ""), "dataset")), _local(owner.dataset.entry.name)))
    return claims


def _card(stem: Path) -> dict[str, Any]:
    try:
        card = json.loads(stem.with_name(f"{stem.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}


def _name(text: str, kind: str) -> str:
    return Spec.parse(text, kind).name if text else "?"


def _local(text: str) -> str:
    """A spec of somebody's own file without its folder, which is another one from elsewhere."""
    return re.sub(r"^.*/(?=[^/]+\.py:)", "", text)
