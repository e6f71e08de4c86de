"""Published checkpoints: which there are, and how a text becomes a file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that somebody published.

    Attributes:
        name: Its name, one of its model's, such as `mit-ssv2-8f`.
        model: Name of the model in the registry.
        preset: The preset that it fits.
        frames: Frames T; 0 for the preset's.
        dataset: Data set whose classes it knows.
        labels: Order of its classes: `official` (the data set's own) or `sorted` (class names by code point).
        input: Fields of `InputSpec` in which it differs from its preset and its layout.
    """

    name: str
    model: str
    preset: str
    frames: int
    dataset: str
    labels: str = "official"
    input: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Located:
    """A checkpoint file on this machine, and what is known of it where it is a published one."""

    path: Path
    checkpoint: Checkpoint | None = None


def locate(text: str, model: str) -> Located:
    """The file that `weights=` names."""
    return Located(Path(text).expanduser())
