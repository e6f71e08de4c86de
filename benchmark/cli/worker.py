"""`vbench worker`."""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import InputError

if TYPE_CHECKING:
    import torch

    from ..evaluation.engine.plan import Plan
    from ..evaluation.store import Store

WATCH = 0.5
"""Seconds between looks at the process that started this one."""


def worker(
    store: Annotated[Path, typer.Option(help="Folder of the results, with plans in its queue.")],
    plan: Annotated[str | None, typer.Option(help="Id of one plan; by default all that lie in the queue, oldest first.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...", envvar="VBENCH_DEVICE")] = "auto",
    parent: Annotated[int | None, typer.Option(hidden=True, help="End when this process does.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.", envvar="VBENCH_QUIET")] = False,
) -> None:
    """Work on the plans of a store until nothing is open, together with any number of other workers.

    A worker needs nothing but the folder: claims are files in it, so workers can be started by Slurm, by Kubernetes or by hand,
    on any host that shares the folder, and stopped at any time. What a worker that died was at is taken up by another one: at
    once on the same host, after a minute elsewhere.

    Exit codes: 0 nothing is left to do, 1 a cell failed, 2 bad input, 130 interrupted.

    Example: vbench plan --model tsm --attack pgd --store results --queue; vbench worker --store results
    """
    if parent is not None:  # before torch is imported, which takes seconds
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    from ..evaluation.api import choose_device
    from ..evaluation.store import Store
    from .stopping import INTERRUPTED, stopping

    where, failed, problems = Store(store), False, []
    paths = _paths(where, plan, parent is not None)  # first, for a wrong folder is not to be made
    where.writable()
    chosen = choose_device(device)
    try:
        with stopping(not quiet, twice=parent is None) as stopped:
            for path in paths:
                try:
                    failed |= _work(path, where, chosen, parent, stopped, quiet)
                except InputError as error:  # the other plans are worked on all the same
                    problems.append(error)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    for error in problems[1:]:
        print(f"vbench: {error}", file=sys.stderr)
    if problems:
        raise problems[0]
    if failed:
        raise typer.Exit(1)


def _paths(store: "Store", name: str | None, driven: bool) -> list[Path]:
    """The plans to work on; the one of a driver may have been finished by another driver since."""
    from ..evaluation.engine.plan import in_queue

    paths = [path for path in in_queue(store) if name is None or path.stem == name]
    if not paths and not driven:
        asked = f"no plan {name}" if name else "no plan"
        raise InputError(
            "store", f"{store.folder} has {asked} in its queue", "run vbench plan ... --store <folder> --queue first"
        )
    return paths


def _work(
    path: Path, store: "Store", device: "torch.device", parent: int | None, stopped: Callable[[], bool], quiet: bool
) -> bool:
    """Works on one plan; whether a cell failed."""
    from ..evaluation.bench import Bench
    from ..evaluation.engine.leases import Leases
    from ..evaluation.engine.plan import Plan
    from ..evaluation.engine.worker import leaves, tidy, work
    from ..evaluation.tables import write_tables

    if not path.exists():  # a driver has finished it since
        return False
    plan, failed, idle = Plan.read(path), False, True
    bench = Bench(device, plan.request.batch_size, plan.request.precision)
    bench.stopped, bench.lost = stopped, leaves
    with Leases(store.folder, _run_of(plan, store, parent)) as leases:
        for done in work(plan, store, leases, bench):
            failed |= done.result is not None and done.result["status"] != "ok"
            idle = False
            if not quiet:
                print(done.cell, file=sys.stderr, flush=True)
        if parent is None:
            tidy(store, leases)
    if idle and not quiet:
        print(f"plan {plan.id}: nothing was open", file=sys.stderr, flush=True)
    if parent is None and any(store.path(one.hash).exists() for one in plan.cells if one.hash):
        write_tables(store)
    return failed


def _run_of(plan: "Plan", store: "Store", parent: int | None) -> str:
    """Names the run within which deaths are counted: that of one driver, or the work by hand on a plan since it was queued."""
    from ..evaluation.engine.leases import born

    if parent is not None:
        return f"driver {parent} {born(parent)}"
    try:
        return f"by hand {plan.id} {plan.path(store).stat().st_mtime_ns}"
    except FileNotFoundError:
        return ""  # finished since


def _watch(parent: int) -> None:
    """Ends this process at once when the one that started it is gone: a driver that was killed leaves nobody behind."""
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(1)
