"""The tiny checkpoints that the package ships: one safetensors file and one card per model, preset and data set."""

import json
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.files import sha256

FOLDER = Path(__file__).parent / "zoo"


def file_name(model: str, preset: str, dataset: str) -> str:
    """Name of a checkpoint of the zoo: `tsm-tiny.shapes.safetensors`."""
    return f"{model}-{preset}.{dataset}.safetensors"


def spec(model: str, preset: str) -> str:
    """The shortest spec of a model: tiny is the default."""
    return model if preset == "tiny" else f"{model}:preset={preset}"


def shipped() -> list[tuple[str, str, str]]:
    """Model, preset and data set of all checkpoints in the folder, also of those of which only the card is left."""
    stems = {path.stem for path in FOLDER.iterdir() if path.suffix in (".safetensors", ".json")}
    parts = [(*stem.partition(".")[0].rpartition("-")[::2], stem.partition(".")[2]) for stem in sorted(stems)]
    return [(model, preset, dataset) for model, preset, dataset in parts]


def find(model: str, preset: str, dataset: str) -> tuple[Path, dict[str, Any]]:
    """The shipped checkpoint of a model on a data set, and its card.

    Raises:
        InputError: None is shipped, or the file is not the one that its card describes.
    """
    path = FOLDER / file_name(model, preset, dataset)
    where = f"model {model}: weights"
    if not path.is_file():
        raise InputError(where, f"{spec(model, preset)} has no shipped weights for data set {dataset}", "give weights=FILE")
    card = read_card(path)
    if card.get("sha256") != sha256(path):
        raise InputError(where, f"{path} is not the file that {card_path(path).name} describes", "install the package afresh")
    return path, card


def card_path(checkpoint: Path) -> Path:
    """Where the card of a checkpoint lies: beside it."""
    return checkpoint.with_suffix(".json")


def read_card(checkpoint: Path) -> dict[str, Any]:
    """The card beside a checkpoint.

    Raises:
        InputError: It is missing or no JSON object.
    """
    path = card_path(checkpoint)
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("weights", f"the card {path} cannot be read ({type(error).__name__})") from None
    if not isinstance(card, dict):
        raise InputError("weights", f"the card {path} is no JSON object")
    return card
