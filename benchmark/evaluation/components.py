"""What is wrong with a cell's components, found before anything is computed."""

from typing import Any

from ..core.corruption import Pixels, Stream, Timeline
from ..core.errors import InputError
from ..core.registry import Component
from .cell import Cell
from .parts import Parts


def check_links(cell: Cell, bench: Parts) -> None:
    """Refuses defences that are none, and what a defence does not allow of the model's clips.

    Raises:
        InputError: Which one, and what is wrong.
    """
    for component, link in zip(cell.defense, bench.links(cell), strict=True):
        _promised(component, link, ("stochastic", "gradient", "draws", "protect"))
        check = getattr(component.create(), "check", None)  # optional: what this model's clips do not allow
        if check:
            check(bench.model(cell).input)


def check_attack(cell: Cell, bench: Parts) -> None:
    """Refuses an attack that is none, and what it does not allow of the clips and classes of the model and of its source.

    Raises:
        InputError: What is wrong.
    """
    assert cell.attack is not None
    _promised(cell.attack, bench.attack(cell), ("norm", "eps", "run", "limits"))
    for model in filter(None, (bench.model(cell), bench.source(cell))):
        bench.attack(cell).check(model.input, model.classes)


def check_threat(cell: Cell, bench: Parts) -> None:
    """Refuses what the cell's attacker cannot do, whatever the clips are.

    Raises:
        InputError: The threat needs a gradient that the defence does not give, or a source model of another input.
    """
    if cell.attack is None or cell.threat is None:
        return
    by_gradient = cell.threat.name == "adaptive" and not bench.attack(cell).black_box
    if by_gradient and any(link.gradient == "none" for link in bench.links(cell)):
        raise InputError(f"defense {cell.defense_text}", "lets no gradient pass", "use a transfer or black-box attack")
    source, model = bench.source(cell), bench.model(cell)
    if source and (source.input.frames, source.input.size) != (model.input.frames, model.input.size):
        raise InputError(
            f"threat {cell.threat}",
            f"the source takes {source.input.frames} frames of {source.input.size} px, "
            f"the model {model.input.frames} of {model.input.size}",
            "use a source model of the same input",
        )


def check_corruption(cell: Cell, bench: Parts) -> None:
    """Refuses a corruption that is none, and a severity that it has not.

    Raises:
        InputError: What is wrong.
    """
    assert cell.corruption is not None
    made = bench.corruption(cell)
    if not isinstance(made, (Pixels, Timeline, Stream)):
        problem, remedy = "is no Pixels, Timeline or Stream", "see CONTRIBUTING.md for these base classes"
        raise InputError(f"corruption {cell.corruption.entry.name}", problem, remedy)
    made.setting(cell.severity)


def _promised(component: Component, made: Any, names: tuple[str, ...]) -> None:
    missing = [name for name in names if not hasattr(made, name)]
    if missing:
        raise InputError(
            f"{component.entry.kind} {component.entry.name}",
            f"has no {', '.join(missing)}",
            "see CONTRIBUTING.md for its base class",
        )
