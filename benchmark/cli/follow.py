"""Running cells under a progress bar."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..evaluation.bench import Bench
    from ..evaluation.cell import Cell
    from ..evaluation.run import Done
    from ..evaluation.store import Reuse, Store
    from .progress import RunProgress


def follow(
    cells: "Sequence[Cell]", bench: "Bench", store: "Store", progress: "RunProgress", reuse: "Reuse" = "missing"
) -> "list[Done]":
    """Runs cells; whatever ends it, the tables are made of what is stored."""
    from ..evaluation.run import run_grid
    from ..evaluation.tables import write_tables

    done: list[Done] = []
    names = [str(cell) for cell in cells]
    try:
        with progress:
            bench.tick = progress.tick
            for one in run_grid(cells, bench, store, reuse, lambda work: progress.plan(work, names)):
                done.append(one)
                progress.finish(one)
    except KeyboardInterrupt:
        print(f"vbench: interrupted; {len(done)} of {len(names)} cells are stored, the same command goes on", file=sys.stderr)
        raise
    finally:
        if any(one.result for one in done):
            write_tables(store)
    return done
