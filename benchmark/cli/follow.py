"""Running cells under a progress bar."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .stopping import INTERRUPTED, stopping

if TYPE_CHECKING:
    from ..evaluation.bench import Bench
    from ..evaluation.cell import Cell
    from ..evaluation.engine.plan import Plan, Planned
    from ..evaluation.run import Done
    from ..evaluation.store import Store
    from .progress import RunProgress


def follow(cells: "Sequence[Cell]", bench: "Bench", store: "Store", progress: "RunProgress") -> "list[Done]":
    """Runs any cells, in this process."""
    from ..evaluation.run import run_grid

    names = [str(cell) for cell in cells]
    bench.tick = progress.tick
    coming = run_grid(cells, bench, store, plan=lambda work: progress.plan(work, names))
    return _followed(((one, None) for one in coming), bench, store, progress, len(cells))


def follow_plan(plan: "Plan", bench: "Bench", store: "Store", progress: "RunProgress") -> "list[Done]":
    """Runs a plan with the executor that its request names; the results are in the order of the grid."""
    from ..evaluation.run import Done

    stored = [one for one in plan.cells if one.state == "stored"]
    todo = [] if plan.request.reuse == "only-cache" else [one for bundle in plan.bundles() for one in bundle]
    progress.plan([one.work for one in (*stored, *todo)], [one.name for one in (*stored, *todo)])

    def coming() -> "Iterator[tuple[Done, int | None]]":
        for one in stored:
            yield Done(plan.cell(one), store.get(one.hash), True), None
        if todo:
            places = {one.index: number for number, one in enumerate((*stored, *todo))}
            with _queued(plan, store):
                for done, index in _executed(plan, bench, store, progress):
                    yield done, None if index is None else places[index]

    found = {one.result["cell"]: one for one in _followed(coming(), bench, store, progress, len(plan.cells)) if one.result}

    def there(one: "Planned") -> "Done":
        """What another process of the same store did meanwhile is taken from there."""
        kept = store.get(one.hash)
        return Done(plan.cell(one), kept, kept is not None)

    return [found.get(one.hash) or there(one) for one in plan.cells]


@contextmanager
def _queued(plan: "Plan", store: "Store") -> "Iterator[None]":
    """Keeps the plan in the queue while it is worked on: one that lies there already may be somebody else's, who needs it.

    It is written anew all the same: what failed before is this run's to try again. Whoever wrote it last takes it away, and the
    clips that it needed; after Ctrl-C they stay, as the same command goes on with them.
    """
    from ..evaluation.engine.plan import stays
    from ..evaluation.engine.worker import clear

    path = plan.path(store)
    before = stays(path)
    mine = plan.write(store, stays=bool(before)).stat().st_mtime_ns
    finished = interrupted = False
    try:
        yield
        finished = True
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        if not before and (finished or before is None):
            with suppress(OSError):
                if path.stat().st_mtime_ns == mine:
                    path.unlink()
        if not interrupted:
            clear(store)


def _executed(plan: "Plan", bench: "Bench", store: "Store", progress: "RunProgress") -> "Iterator[tuple[Done, int | None]]":
    from ..evaluation.engine.leases import Leases
    from ..evaluation.engine.worker import tidy, work

    if plan.request.executor == "local":
        from ..evaluation.engine.local import Local, slots

        with Local(plan, store, slots(plan.request.device, plan.request.workers)) as local:
            yield from local.results(lambda: bench.stopped())
    elif plan.request.executor == "ray":
        from ..evaluation.engine.cluster import Cluster

        def say(line: str) -> None:
            print(f"vbench: {line}", file=sys.stderr)

        with Cluster(plan, store, plan.request.address, plan.request.workers, say) as cluster:
            yield from cluster.results(lambda: bench.stopped())
    else:
        bench.tick = progress.tick
        with Leases(store.folder) as leases:
            yield from ((done, None) for done in work(plan, store, leases, bench))
    with Leases(store.folder) as leases:
        tidy(store, leases)


def _followed(
    coming: "Iterator[tuple[Done, int | None]]", bench: "Bench", store: "Store", progress: "RunProgress", total: int
) -> "list[Done]":
    """Takes results as they come; whatever ends it, the tables are made of what is stored."""
    from ..evaluation.tables import write_tables

    done: list[Done] = []
    try:
        with stopping() as stopped, progress:
            bench.stopped = stopped
            for one, index in coming:
                done.append(one)
                progress.finish(one, index)
    except KeyboardInterrupt:
        print(f"vbench: interrupted; {len(done)} of {total} cells are stored, the same command goes on", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    finally:
        if any(one.result for one in done):
            write_tables(store)
    return done
