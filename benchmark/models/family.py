"""What all architectures share: from preset, weights and data set to a ready model."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ..core.files import sha256
from ..core.interfaces import InputSpec, Model
from . import zoo
from .layouts import Layout, Sibling, fit
from .weights import load_state


@dataclass(frozen=True)
class Preset:
    """One size of an architecture.

    Attributes:
        about: What it is, for messages: `a ResNet-50`.
        make: Builds the untrained network for K classes.
        input: What it takes.
    """

    about: str
    make: Callable[[int], nn.Module]
    input: InputSpec


@dataclass(frozen=True)
class Family:
    """One architecture.

    Attributes:
        name: Its name in the registry.
        paper: Where it comes from.
        presets: Its sizes.
        layouts: Foreign checkpoints that it reads.
        head: Name of the classifier.
        layout: How the network takes clips.
    """

    name: str
    paper: str
    presets: Mapping[str, Preset]
    layouts: tuple[Layout, ...] = ()
    head: str = "fc"
    layout: Literal["NCTHW", "NTCHW"] = "NCTHW"

    def build(self, preset: str, weights: str, frames: int, dataset: str, classes: Sequence[str]) -> Model:
        """The model in eval mode.

        Args:
            preset: Name of a preset.
            weights: `auto` (the shipped file), `random`, `random-<seed>`, or a checkpoint file.
            frames: Frames T of a clip.
            dataset: Name of the data set, by which `auto` finds its file.
            classes: Its class names.

        Raises:
            InputError: The weights are not there, cannot be read, or do not fit.
        """
        size = self.presets[preset]
        seed = random_seed(weights)
        net = untrained(lambda: size.make(len(classes)), seed or 0)
        model = Model(net, replace(size.input, frames=frames), len(classes), self.layout)
        model.card = {"model": self.name, "preset": preset, "paper": self.paper, "weights": weights}
        if seed is None:
            path, card = zoo.find(self.name, preset, dataset) if weights == "auto" else (Path(weights).expanduser(), {})
            self._load(net, path, preset)
            model.weights_sha256 = sha256(path)
            model.card |= card
        return model.eval()

    def _load(self, net: nn.Module, path: Path, preset: str) -> None:
        where = f"model {self.name}: weights"
        siblings = [
            Sibling(f"{self.name}:preset={name}", other.about, other.make)
            for name, other in self.presets.items()
            if name != preset
        ]
        fit(net, load_state(path, where), where, self.head, self.layouts, siblings)


def random_seed(weights: str) -> int | None:
    """The seed that `random` (0) or `random-<seed>` asks for; None for anything else."""
    match = re.fullmatch(r"random(?:-(\d+))?", weights)
    return int(match[1] or 0) if match else None


def untrained(make: Callable[[], Any], seed: int) -> Any:
    """What `make` builds, initialised under a seed; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
