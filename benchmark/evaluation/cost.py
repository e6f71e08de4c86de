"""How much work a cell is, in forward passes of one clip: for progress, not for results."""

from collections.abc import Sequence

from ..core.attack import Attack
from ..core.interfaces import Defense
from ..core.trained import Armed
from .bench import Bench
from .cell import Cell
from .checks import SAMPLE, doubled
from .measure import passes
from .target import GRADIENT_COST
from .threat import Threat


def estimate(cell: Cell, bench: Bench, made: set[str]) -> int:
    """Forward passes that a cell will take.

    Args:
        cell: The cell.
        bench: The live objects.
        made: Keys of the sets of adversarial clips that are there, or that a cell before this one makes; takes in what this one
            makes for others.
    """
    attack = bench.attack(cell) if cell.attack else None
    crafts = True
    if attack and cell.handed_on:
        # What lies in a store spares the making of clips, and not that of a universal perturbation.
        key = bench.crafted_key(cell) + (" fitted" if attack.universal else "")
        crafts = key not in made
        made.add(key)
    return work_of(len(bench.records(cell)), attack, cell.threat, bench.links(cell), crafts, cell.shifts)


def work_of(
    clips: int,
    attack: Attack | None,
    threat: Threat | None,
    links: Sequence[Defense | Armed],
    crafts: bool = True,
    shifts: int = 0,
) -> int:
    """Forward passes: judging, the attack at full strength if the cell `crafts`, and the checks of one on what is judged."""
    stochastic = any(link.stochastic for link in links)
    draws = max(link.draws for link in links) if stochastic else 1
    judging = draws * passes(attack is not None, stochastic)
    work = clips * judging * (1 + shifts)
    if attack is None or threat is None:
        return work
    eot = threat.eot if stochastic else 1

    def crafting(one: Attack) -> int:
        gradients, queries = one.calls
        return GRADIENT_COST * eot * gradients + queries * (draws if threat.name == "adaptive" else 1)

    if crafts:
        work += clips * crafting(attack) + (GRADIENT_COST * eot * attack.fit_calls if attack.universal else 0)
    if threat.on_the_judged:
        checks = filter(None, (doubled(attack), attack.single_step()))
        work += min(SAMPLE, clips) * sum(judging + crafting(one) for one in checks)
    return work
