"""The loop of every worker, whoever started it: claim a cell, run it, store it, give it back."""

import random
import time
from collections.abc import Iterator
from contextlib import nullcontext

from ...core.errors import InputError
from ..bench import Bench
from ..run import Done, quarantined, run_cell
from ..store import Store
from .leases import Lease, Leases
from .plan import Plan, Planned

DEATHS = 2
"""Workers that a cell may kill before it is given up."""

PAUSE = 0.2
"""Seconds between looks while every open cell is in other hands."""


def work(plan: Plan, store: Store, leases: Leases, bench: Bench) -> Iterator[Done]:
    """Runs what is open of a plan until nothing is, together with other workers.

    Bundles are taken from the longest to the shortest; one that another worker is in is left to it, until nothing else is open.

    Raises:
        InputError: The store cannot be written.
        KeyboardInterrupt: Somebody asked to stop; what was measured is kept.
    """
    since = plan.path(store).stat().st_mtime
    bundles = plan.bundles()
    while bundles:
        idle = True
        for bundle in bundles:
            for done in _bundle(bundle, plan, store, leases, bench, since):
                idle = False
                yield done
        bundles = [bundle for bundle in bundles if bundle]
        if bench.stopped():
            raise KeyboardInterrupt
        if bundles and idle:
            time.sleep(PAUSE * (1 + random.random()))


def _bundle(bundle: list[Planned], plan: Plan, store: Store, leases: Leases, bench: Bench, since: float) -> Iterator[Done]:
    """Works on a bundle until it is done, or another worker is found to be in it; what is done is taken out of it."""
    while bundle:
        planned = bundle[0]
        with leases.holding(planned.hash) if unfinished(planned, plan, store, since) else nullcontext() as lease:
            # Looked at once more: it may have been stored between the look and the claim.
            if unfinished(planned, plan, store, since):
                if lease is None:
                    return
                if bench.stopped():
                    raise KeyboardInterrupt
                yield _run(planned, plan, store, bench, lease)
            bundle.pop(0)


def _run(planned: Planned, plan: Plan, store: Store, bench: Bench, lease: Lease) -> Done:
    cell = plan.cell(planned)
    if bench.hash(cell) != planned.hash:
        problem = f"{planned.name} has hash {bench.hash(cell)} here and {planned.hash} in the plan"
        raise InputError("store", problem, "use the same version, weights and data as the plan was made with")
    keep = store.partial(planned.hash)
    result = quarantined(cell, bench, lease.deaths) if lease.deaths >= DEATHS else run_cell(cell, bench, keep)
    store.put(result)
    keep.unlink(missing_ok=True)
    return Done(cell, result, False)


def unfinished(planned: Planned, plan: Plan, store: Store, since: float) -> bool:
    """Whether a cell is still to be computed; what was stored after the time `since` belongs to this run."""
    try:
        mine = store.path(planned.hash).stat().st_mtime >= since
    except FileNotFoundError:
        return True
    if mine or plan.request.reuse == "always":
        return False
    return plan.request.reuse == "never" or store.state(planned.hash) != "ok"
