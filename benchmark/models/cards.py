"""Model cards: what is known of each architecture and of the checkpoints that others published for it.

One TOML file per model in `cards/`. They are read without torch, so that `vbench show` and `vbench weights list` answer at once.
"""

import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.registry import did_you_mean

FOLDER = Path(__file__).parent / "cards"

DATASETS = ("ucf101", "hmdb51", "kinetics400", "kinetics600", "kinetics700", "ssv1", "ssv2", "diving48", "jester")
"""The data sets that published checkpoints know, by their names in the registry."""

KNOWN_CLASSES = (*DATASETS, "shapes", "shapes-object", "shapes-motion")
"""Data sets whose classes are what their name says; those of a user's own folder or list may be anything."""

LABELS = ("official", "sorted")
"""Orders of the classes: the data set's own, or class names by code point."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that somebody published.

    Attributes:
        name: Its name, one of its model's, such as `mit-ssv2-8f`.
        model: Name of the model in the registry.
        preset: The preset that it fits.
        frames: Frames T; 0 for the preset's.
        dataset: Data set whose classes it knows.
        labels: Order of its classes, one of LABELS.
        input: Fields of `InputSpec` in which it differs from its preset and its layout.
        code: The code base that wrote it.
        licence: What it may be used for, as its publisher says.
        published: Accuracy and the protocol that it was measured by.
        url: Where it can be downloaded; empty where a person must.
        page: Page on which a person finds it.
        sha256: The first hex digits of its sha256, or all 64; empty where nobody published them.
        note: What its user should know.
        verified: Whether somebody has reproduced the published accuracy here.
    """

    name: str
    model: str
    preset: str
    frames: int
    dataset: str
    labels: str = "official"
    input: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    licence: str = ""
    published: str = ""
    url: str = ""
    page: str = ""
    sha256: str = ""
    note: str = ""
    verified: bool = False


@dataclass(frozen=True)
class Paper:
    """Where an architecture comes from."""

    title: str
    authors: str
    venue: str
    year: int

    def __str__(self) -> str:
        return f"{self.authors}: {self.title}, {self.venue} {self.year}"


@dataclass(frozen=True)
class PresetCard:
    """One size of an architecture.

    Attributes:
        input: Fields of its `InputSpec`.
        classes: Number of classes K that `parameters` and `gmacs` hold for.
        parameters: Their number.
        gmacs: Multiply-adds of one clip of the stated input, in 1e9.
        cam_layer: Module of the network whose output class activation maps are drawn on.
    """

    input: dict[str, Any]
    classes: int
    parameters: int
    gmacs: float
    cam_layer: str


@dataclass(frozen=True)
class Card:
    """What is known of one architecture.

    Attributes:
        model: Its name in the registry.
        paper: Where it comes from.
        fusion: How scores of frames, clips and crops become one in the published protocols.
        presets: Its sizes, by name.
        checkpoints: What others published.
    """

    model: str
    paper: Paper
    fusion: str
    presets: dict[str, PresetCard]
    checkpoints: tuple[Checkpoint, ...]


def models() -> list[str]:
    """The models that have a card, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


@cache
def card(model: str) -> Card:
    """The card of a model.

    Raises:
        InputError: It has none.
    """
    path = FOLDER / f"{model}.toml"
    if model not in models():
        raise InputError("model", f"{model!r} has no card", did_you_mean(model, models()))
    told = tomllib.loads(path.read_text(encoding="utf-8"))
    told["paper"] = Paper(**told["paper"])
    told["presets"] = {name: PresetCard(**values) for name, values in told["presets"].items()}
    told["checkpoints"] = tuple(Checkpoint(model=model, **values) for values in told.get("checkpoints", ()))
    return Card(model=model, **told)
