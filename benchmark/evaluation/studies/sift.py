"""From the cells that a paper's table needs to those that can be run."""

from collections.abc import Sequence

from ...core.errors import InputError
from ...core.registry import Component
from ..bench import Bench
from ..cell import Cell
from ..threat import Threat
from .places import Key, Want


def sift(wants: Sequence[Want], bench: Bench) -> tuple[list[Cell], dict[Key, str]]:
    """The cells, and of those that cannot be run why, by their keys: no checkpoint, a parameter that the clips do not allow.

    Raises:
        InputError: The data set cannot be read, which concerns them all, or a checkpoint that the user gave.
    """
    cells, refused = [], {}
    for want in wants:
        cell = as_cell(want)
        bench.records(cell)
        if _given(want.model):
            bench.model(cell)
            if any(map(_given, want.defense)):
                bench.links(cell)
        try:
            bench.model(cell)  # a clean cell's is not built by the check
            bench.check(cell)
        except InputError as error:
            refused[want.key] = str(error)
        else:
            cells.append(cell)
    return cells, refused


def _given(part: Component) -> bool:
    return part.values.get("weights", "auto") not in ("auto", "shipped")


def as_cell(want: Want) -> Cell:
    """The engine's cell; attacks run to full strength, for most are handed on to a defence."""
    threat = None if want.threat == "none" else Threat.parse(want.threat)
    place = want.dataset, want.split, want.limit, want.model
    made_by = {"attack": want.attack, "defense": want.defense, "threat": threat, "seed": want.seed}
    return Cell(*place, **made_by, corruption=want.corruption, severity=want.severity)
