"""What a driver sees of its workers: the cells that appear in the store."""

import time
from collections.abc import Callable, Iterator, Sequence

from ..run import Done
from ..store import Store
from .plan import Plan, Planned
from .worker import unfinished

REST = 5
"""How many times as long as a look at the store the driver then rests: over many cells on a slow disk it takes time itself."""


def finished(
    plan: Plan,
    store: Store,
    since: float,
    pause: float,
    stopped: Callable[[], bool],
    tend: Callable[[Sequence[Planned], bool], None],
) -> Iterator[tuple[Done, int]]:
    """The plan's open cells with their numbers, in the order in which somebody stores them.

    Args:
        plan: What is being done.
        store: Where it appears.
        since: When the plan was written, on the store's clock.
        pause: Seconds between two looks, at least.
        stopped: Asked after every look; whether to end.
        tend: Looks after the workers, after every look; it is told which cells are open, and whether one was just finished.

    Raises:
        KeyboardInterrupt: It was asked to end.
    """
    waiting = {one.index: one for bundle in plan.bundles() for one in bundle}
    while waiting:
        began = time.monotonic()
        found = [one for one in waiting.values() if not unfinished(one, plan, store, since)]
        took = time.monotonic() - began
        for one in found:
            del waiting[one.index]
            yield Done(plan.cell(one), store.get(one.hash), False), one.index
        if stopped():
            raise KeyboardInterrupt
        tend(list(waiting.values()), bool(found))
        if not found:
            time.sleep(max(pause, REST * took))
