"""How much work a cell is, in forward passes of one clip: for progress, not for results."""

from .bench import Bench
from .cell import Cell
from .checks import SAMPLE, doubled
from .measure import passes
from .target import GRADIENT_COST


def estimate(cell: Cell, bench: Bench) -> int:
    """Forward passes that a cell will take; the attack of an oblivious cell is made by its undefended neighbour."""
    clips = len(bench.records(cell))
    try:
        pipeline = bench.pipeline(cell)
    except Exception:  # somebody's defence that cannot stand: its cell will say so
        return clips
    work = clips * pipeline.draws * passes(cell, pipeline) * (1 + cell.shifts)
    if cell.attack is None or cell.threat is None or cell.threat.name == "oblivious":
        return work
    attack = bench.attack(cell)
    eot = cell.threat.eot if pipeline.stochastic else 1
    gradients, queries = attack.calls
    each = GRADIENT_COST * eot * gradients + queries * (pipeline.draws if cell.threat.name == "adaptive" else 1)
    sample = min(SAMPLE, clips) if cell.crafted_on_judged and doubled(attack) else 0
    if attack.universal:
        work += GRADIENT_COST * eot * attack.fit_calls
    return work + each * (clips + 2 * sample)
