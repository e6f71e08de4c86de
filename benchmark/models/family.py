"""What all architectures share: from preset, weights and data set to a ready model."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from ..core.errors import InputError
from ..core.files import sha256
from ..core.interfaces import InputSpec, Model
from ..core.params import param
from . import zoo
from .layouts import Layout, Sibling, fit
from .published import Located, locate
from .weights import load_state

TINY_INPUT = InputSpec(frames=8, size=64, short_side=64, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
"""What every tiny preset takes: the same, so that an attack can be carried from one to another."""


@dataclass(frozen=True)
class Preset:
    """One size of an architecture.

    Attributes:
        about: What it is, for messages: `a ResNet-50`.
        make: Builds the untrained network for K classes.
        input: What it takes.
        frames_step: The number of frames must be a multiple of it.
        fixed: Whether frames and size must be those of `input`.
    """

    about: str
    make: Callable[[int], nn.Module]
    input: InputSpec
    frames_step: int = 1
    fixed: bool = False

    def sized(self, owner: str, frames: int | None, size: int | None) -> InputSpec:
        """The input with other frames or another crop, None standing for the preset's; videos are resized only to fit it.

        Raises:
            InputError: The network does not take them; `owner` names it.
        """
        own = self.input
        frames, size = frames or own.frames, size or own.size
        if self.fixed and (frames, size) != (own.frames, own.size):
            problem = f"it takes {own.frames} frames of {own.size} pixels, not {frames} of {size}"
            raise InputError(owner, problem, "leave frames and size out, or choose another preset")
        if frames % self.frames_step:
            raise InputError(
                f"{owner}: frames", f"{frames} is not a multiple of {self.frames_step}", f"write frames={own.frames}"
            )
        grown = max(1.0, size / own.short_side)
        sides = {"short_side": round(own.short_side * grown), "long_side": round(own.long_side * grown)}
        return replace(own, frames=frames, size=size, **sides)


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
        cam: Name of the layer whose output are a network's last feature maps (`Model.cam`); None for a network without such.
    """

    name: str
    paper: str
    presets: Mapping[str, Preset]
    layouts: tuple[Layout, ...] = ()
    head: str = "fc"
    layout: Literal["NCTHW", "NTCHW"] = "NCTHW"
    cam: Callable[[Any], str] | None = None

    def build(
        self,
        preset: str,
        weights: str,
        dataset: str,
        classes: Sequence[str],
        frames: int | None = None,
        size: int | None = None,
    ) -> Model:
        """The model in eval mode.

        Args:
            preset: Name of a preset.
            weights: `auto` (the shipped file), `random`, `random-<seed>`, or what `published.locate` takes.
            dataset: Name of the data set, by which `auto` finds its file.
            classes: Its class names.
            frames: Frames T of a clip; None for the preset's.
            size: Height and width of the crop, pixels; None for the preset's.

        Raises:
            InputError: The weights are not there, cannot be read, or do not fit; or frames or size do not.
        """
        chosen = self.presets[preset]
        spec = chosen.sized(f"model {self.name}:preset={preset}", frames, size)
        seed = random_seed(weights)
        net = untrained(lambda: chosen.make(len(classes)), seed or 0)
        card: dict[str, Any] = {"model": self.name, "preset": preset, "paper": self.paper, "weights": weights}
        digest = ""
        if seed is None:
            if weights == "auto":
                path, shipped = zoo.find(self.name, preset, dataset)
                found, card = Located(path), card | shipped
            else:
                found = locate(weights, self.name, dataset)
                card |= {"checkpoint": asdict(found.checkpoint)} if found.checkpoint else {}
            spec = self._load(net, found, preset, classes, spec)
            digest = sha256(found.path)
        model = Model(net, spec, len(classes), self.layout)
        model.card, model.weights_sha256 = card, digest
        model.cam = self.cam(net) if self.cam else ""
        return model.eval()

    def _load(self, net: nn.Module, found: Located, preset: str, classes: Sequence[str], spec: InputSpec) -> InputSpec:
        """Loads a file and gives the input that belongs to it."""
        where = f"model {self.name}: weights"
        siblings = [
            Sibling(name, f"{self.name}:preset={name}", other.about, other.make)
            for name, other in self.presets.items()
            if name != preset
        ]
        layout = fit(net, load_state(found.path, where), where, self.head, self.layouts, siblings, preset)
        if layout:
            spec = replace(spec, **layout.input)
        if found.checkpoint:
            spec = replace(spec, **found.checkpoint.input)
            if found.checkpoint.labels == "sorted":
                _unsort(net.get_submodule(self.head), classes)
        return spec


@dataclass(frozen=True)
class Architecture:
    """What the component of every architecture has; a subclass gives its family, and `preset` its choices."""

    family: ClassVar[Family]

    preset: str = param("tiny", help="size of the network")
    frames: int | None = param(None, help="frames of a clip; none: the preset's", low=1)
    size: int | None = param(None, help="height and width of the crop; none: the preset's", low=32)
    weights: str = param(
        "auto", help="auto (shipped), random, random-<seed>, or a checkpoint: file, URL or published name", identity=False
    )

    def build(self, dataset: str, classes: Sequence[str]) -> Model:
        """The model with its weights, in eval mode.

        Raises:
            InputError: The weights cannot be read or do not fit, or frames or size are none that the preset takes.
        """
        return self.family.build(self.preset, self.weights, dataset, classes, self.frames, self.size)


def last_block(net: Any) -> str:
    """Name of the last block of the last stage, for `Family.cam`: its output is the last that has space and time."""
    last = net.stages[-1]
    return f"{last}.{len(net.get_submodule(last)) - 1}"


def _unsort(head: nn.Module, classes: Sequence[str]) -> None:
    """Moves the rows of a classifier from sorted class names to the data set's order."""
    place = {name: row for row, name in enumerate(sorted(classes))}
    rows = [place[name] for name in classes]
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(parameter[rows].clone())


def random_seed(weights: str) -> int | None:
    """The seed that `random` (0) or `random-<seed>` asks for; None for anything else."""
    match = re.fullmatch(r"random(?:-(\d+))?", weights)
    return int(match[1] or 0) if match else None


def untrained(make: Callable[[], Any], seed: int) -> Any:
    """What `make` builds, initialised under a seed; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
