"""The loop of every worker, whoever started it: claim a cell, run it, store it, give it back."""

import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import NoReturn

from ...core.errors import InputError
from ..bench import Bench
from ..cell import Cell
from ..run import Done, may_go_on, quarantined, run_cell
from ..shelf import Shelf
from ..store import Store
from .artifacts import Artifacts
from .leases import Lease, Leases
from .partial import discard
from .plan import Plan, Planned, in_queue, stays

DEATHS = 2
"""Workers of one run that a cell may kill before it is given up."""

RUNS = 5
"""Workers of earlier runs. A driver that works itself takes its run with it when it is killed, and that need not be the cell's
doing."""

PAUSE = 0.2
"""Seconds between looks while every open cell is in other hands; twice as many each time, up to LONGEST."""

LONGEST = 2.0

DEVICE_FAILED = 3
"""Exit code of a worker whose device has failed."""

ABANDONED = 3600.0
"""Seconds after which a temporary file has no writer any more."""


def work(plan: Plan, store: Store, leases: Leases, bench: Bench) -> Iterator[Done]:
    """Runs what is open of a plan until nothing is, together with other workers.

    Bundles are taken from the longest to the shortest; one that another worker is in is left to it, until nothing else is open.

    Raises:
        InputError: The store cannot be written.
        KeyboardInterrupt: Somebody asked to stop; what was measured is kept.
    """
    try:
        since = plan.path(store).stat().st_mtime
    except FileNotFoundError:  # whoever takes a plan away has seen it finished
        return
    bench.keeper = artifacts = Artifacts(plan, store, leases, bench)
    several = plan.request.executor != "inline" or bool(stays(plan.path(store)))
    shelf = Shelf(store.clips, several)
    with suppress(IndexError, InputError):  # another version's plan, or bad input: both are refused at their first cell
        coming = [one for one in plan.cells if one.state == "open" and unfinished(one, plan, store, since)]
        bench.expect([plan.cell(one) for one in coming], plan.inputs, shelf)
    bundles = plan.bundles() if plan.request.reuse != "only-cache" else []
    cells, pause, idle = {one.hash: one for one in plan.cells}, PAUSE, False
    while bundles:
        helping, idle = idle, True
        for bundle in bundles:
            first = bundle[0]
            for done in _bundle(bundle, plan, store, leases, bench, since, helping):
                idle = False
                yield done
            if not bundle:
                artifacts.release(lambda name: not unfinished(cells[name], plan, store, since))
                bench.footage.sharing.release(_cell(first, plan))
        bundles = [bundle for bundle in bundles if bundle]
        if bundles and bench.stopped():
            raise KeyboardInterrupt
        pause = min(LONGEST, 2 * pause) if idle else PAUSE
        if bundles and idle:
            _rest(pause * random.uniform(0.5, 1), bench)
    artifacts.discard()
    clear(store, plan)


def leaves(problem: str) -> NoReturn:
    """Ends a process whose device has failed as if it had been killed: its cell is another worker's, and counts a death."""
    print(f"vbench: {problem}", file=sys.stderr, flush=True)
    os._exit(DEVICE_FAILED)


def _rest(seconds: float, bench: Bench) -> None:
    """Waits, but not for long once somebody asked to stop."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not bench.stopped():
        time.sleep(PAUSE / 2)


def _bundle(
    bundle: list[Planned], plan: Plan, store: Store, leases: Leases, bench: Bench, since: float, helping: bool
) -> Iterator[Done]:
    """Works on a bundle until it is done, or another worker is found to be in it; what is done is taken out of it.

    With nothing else to do it is `helping`: it goes past the cells that others are at.
    """
    place = 0
    while place < len(bundle):
        planned = bundle[place]
        with leases.holding(planned.hash) if unfinished(planned, plan, store, since) else nullcontext() as lease:
            # Looked at once more: it may have been stored between the look and the claim.
            if unfinished(planned, plan, store, since):
                if lease is None and helping and not _is_fitted(planned, plan, bench):
                    place += 1
                    continue
                if lease is None:
                    return
                if bench.stopped():
                    raise KeyboardInterrupt
                yield _run(planned, plan, store, bench, lease, since)
            bundle.pop(place)


def _is_fitted(planned: Planned, plan: Plan, bench: Bench) -> bool:
    """Whether the cell's perturbation is made for all clips at once, which a second worker would do all over again."""
    cell = _cell(planned, plan)
    return cell.attack is not None and bench.attack(cell).universal


def _cell(planned: Planned, plan: Plan) -> Cell:
    try:
        return plan.cell(planned)
    except IndexError:
        raise InputError("store", f"{planned.name} is no cell of the plan's request here", "plan it again") from None


def _run(planned: Planned, plan: Plan, store: Store, bench: Bench, lease: Lease, since: float) -> Done:
    cell = _cell(planned, plan)
    if bench.hash(cell) != planned.hash:
        problem = f"{planned.name} has hash {bench.hash(cell)} here and {planned.hash} in the plan"
        raise InputError("store", problem, "use the same version, weights and data as the plan was made with")
    keep = store.partial(planned.hash)
    if plan.request.reuse == "never":
        discard(keep, since)  # of an earlier run, of which nothing is to be taken
    given_up = lease.deaths >= DEATHS or lease.earlier >= RUNS
    result = quarantined(cell, bench, lease.deaths + lease.earlier) if given_up else run_cell(cell, bench, keep)
    store.put(result)
    if not may_go_on(result):
        with suppress(OSError):  # it is stored, whatever becomes of this
            discard(keep)
    return Done(cell, result, False)


def clear(store: Store, besides: Plan | None = None) -> None:
    """Takes away the clips that memory did not hold, if no plan of the queue needs them; `besides`: one that is done.

    Whose plan cannot be read here, or whose cells, is of another version, and decodes again where it must.
    """
    mine = besides and besides.path(store)
    if not any(plan_is_open(path, store) for path in in_queue(store) if path != mine):
        Shelf(store.clips).discard()


def plan_is_open(path: Path, store: Store) -> bool | None:
    """Whether something is left to do of the plan in a file; None where that cannot be told."""
    try:
        plan, since = Plan.read(path), path.stat().st_mtime
        return any(one.to_run and unfinished(one, plan, store, since) for one in plan.cells)
    except (InputError, OSError):  # gone since, or of another version, which may be at work
        return None


def tidy(store: Store, leases: Leases) -> None:
    """Takes away what killed workers have left: leases and kept batches of cells that are stored, and old temporary files.

    Raises:
        InputError: The store cannot be written.
    """
    left = {path.stem for kind in ("leases", "partial") for path in (store.folder / kind).glob("[!.]*")}
    for name in left:
        with leases.holding(name) if store.path(name).exists() else nullcontext() as lease:
            if lease and _is_done(store, name):
                discard(store.partial(name))
    now = leases.now()
    for path in store.folder.rglob(".*"):
        with suppress(OSError):  # its writer lives, and was faster
            if path.suffix in (".tmp", ".dead", ".clock", ".probe") and now - path.stat().st_mtime > ABANDONED:
                path.unlink()


def _is_done(store: Store, name: str) -> bool:
    with suppress(InputError):  # another version's is its own matter
        return store.state(name) == "ok"
    return False


def unfinished(planned: Planned, plan: Plan, store: Store, since: float) -> bool:
    """Whether a cell is still to be computed; what was stored after the time `since` belongs to this run."""
    try:
        mine = store.path(planned.hash).stat().st_mtime >= since
    except FileNotFoundError:
        return True
    except OSError as error:
        raise InputError("store", f"cannot read {store.path(planned.hash)}: {error.strerror or error}") from None
    if mine or plan.request.reuse == "always":
        return False
    return plan.request.reuse == "never" or store.state(planned.hash) != "ok"
