"""From the key names of a code base to ours, and into the network: strict, with errors that say what is wrong."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import InputError

OPTIONAL = re.compile(r"(^|\.)num_batches_tracked$")
"""Keys that may be missing or superfluous: batch counters, which inference does not read."""


@dataclass(frozen=True)
class Layout:
    """How one code base names the weights of an architecture; it lives in the architecture's file.

    Attributes:
        name: The code base.
        marker: Regular expression; the layout is this one where some key matches.
        rename: Pairs (regular expression, replacement), applied to each key in order.
        drop: Regular expression of keys that the network does not need; empty drops none.
        convert: Tensor work after the renaming, such as squeezing kernels or folding a norm away; takes and gives a state.
        input: What the code base's inputs have that the preset's do not, such as mean and std; fields of `InputSpec`.
        presets: The presets whose networks compute what the code base computes; empty for all. Equal shapes do not tell it.
    """

    name: str
    marker: str
    rename: tuple[tuple[str, str], ...] = ()
    drop: str = ""
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict
    input: Mapping[str, Any] = field(default_factory=dict)
    presets: tuple[str, ...] = ()

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        """Whether a checkpoint has this layout."""
        return any(re.search(self.marker, key) for key in state)

    def translate(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same tensors under our names."""
        renamed = {}
        for key, value in state.items():
            if self.drop and re.search(self.drop, key):
                continue
            for pattern, replacement in self.rename:
                key = re.sub(pattern, replacement, key)
            renamed[key] = value
        return self.convert(renamed)


@dataclass(frozen=True)
class Sibling:
    """Another preset of the same architecture, to recognise a file that belongs to it.

    Attributes:
        preset: Its name, such as `r50`.
        spec: How to ask for it, such as `tsm:preset=r50`.
        about: What it is, such as `a ResNet-50`.
        make: Builds it for K classes.
    """

    preset: str
    spec: str
    about: str
    make: Callable[[int], nn.Module]


def fit(
    net: nn.Module,
    state: Mapping[str, Tensor],
    where: str,
    head: str,
    layouts: Sequence[Layout] = (),
    siblings: Sequence[Sibling] = (),
    preset: str = "",
) -> Layout | None:
    """Loads a checkpoint into a network; nothing may be missing or left over but `OPTIONAL` keys.

    Args:
        net: The network, built for the data set's number of classes.
        state: The checkpoint's tensors under its author's names.
        where: The argument, for messages.
        head: Name of the classifier, such as `fc`.
        layouts: Code bases whose names are understood beside our own; the first that matches counts.
        siblings: Presets that the file may belong to instead.
        preset: The network's own preset.

    Returns:
        The layout of the file; None where it is our own.

    Raises:
        InputError: The file belongs to another preset, has another number of classes, or is of another architecture.
    """
    layout = next((layout for layout in layouts if layout.matches(state)), None)
    allowed = layout.presets if layout else ()
    try:
        state = layout.translate(state) if layout else dict(state)
    except (KeyError, RuntimeError, ValueError) as error:  # tensor work on a file that only looks like the layout
        raise InputError(where, f"the checkpoint looks like {layout.name if layout else ''} but does not fit: {error}") from None
    own = net.state_dict()
    problems = _problems(own, state, head)
    if problems or allowed and preset not in allowed:
        _name_sibling(state, where, head, [one for one in siblings if not allowed or one.preset in allowed])
        raise InputError(where, "the checkpoint does not fit: " + ("; ".join(problems) or f"it is for {' or '.join(allowed)}"))
    for key in (key for key in own if key.startswith(f"{head}.")):
        given, wanted = state[key].shape[0], own[key].shape[0]
        if given != wanted:
            raise InputError(where, f"the checkpoint has {given} classes, the data set has {wanted}")
    kept = {key: state.get(key, value) for key, value in own.items()}
    net.load_state_dict(kept)
    return layout


def _problems(own: Mapping[str, Tensor], state: Mapping[str, Tensor], head: str) -> list[str]:
    missing = [key for key in own if key not in state and not OPTIONAL.search(key)]
    unexpected = [key for key in state if key not in own and not OPTIONAL.search(key)]
    # The classifier's first dimension is the number of classes, which has its own message.
    wrong = [key for key in own if key in state and _shape(own, key, head) != _shape(state, key, head)]
    lines = {"missing": missing, "unexpected": unexpected, "of another shape": wrong}
    return [f"{len(keys)} {word} ({_first_three(keys)})" for word, keys in lines.items() if keys]


def _shape(state: Mapping[str, Tensor], key: str, head: str) -> tuple[int, ...]:
    shape = tuple(state[key].shape)
    return (len(shape), *shape[1:]) if key.startswith(f"{head}.") else shape


def _first_three(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")


def _name_sibling(state: Mapping[str, Tensor], where: str, head: str, siblings: Sequence[Sibling]) -> None:
    for sibling in siblings:
        with torch.device("meta"):
            own = sibling.make(1).state_dict()
        if not _problems(own, state, head):
            raise InputError(where, f"the checkpoint looks like {sibling.about}", f"use {sibling.spec}")
