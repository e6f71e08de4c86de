"""Running cells: measure one, run a grid, keep everything."""

import functools
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..core.attack import Attack
from ..core.errors import InputError
from ..core.interfaces import Batch
from .bench import Bench
from .cell import Cell
from .checks import Sample, attack_evidence
from .components import check_threat
from .corruptions import described
from .cost import estimate
from .crafted import Crafted
from .crafting import craft
from .engine.partial import Partial, discard
from .fitting import fit
from .grid import Grid
from .journal import Journal
from .measure import Measured, flips, judge
from .memory import device_failed, lack_of_memory
from .probes import Watched
from .provenance import provenance
from .store import SCHEMA, Reuse, Store
from .threat import Pipeline

SAID = 200
"""Characters of what a failed device says."""


class Done(NamedTuple):
    """A cell of a run.

    Attributes:
        cell: The cell.
        result: The content of its file; None where `only-cache` found nothing.
        reused: Whether it came from the store.
    """

    cell: Cell
    result: dict[str, Any] | None
    reused: bool


def run_grid(
    grid: Grid | Sequence[Cell],
    bench: Bench,
    store: Store,
    reuse: Reuse = "missing",
    plan: Callable[[list[int]], None] = lambda work: None,
) -> Iterator[Done]:
    """Runs the cells of a grid in order and yields each as soon as it is stored.

    Models and data are looked at first, so that bad input ends the run before anything is computed.

    Args:
        grid: What to measure; its cells, or any others.
        bench: Device and batch size; keeps the live objects.
        store: Where results go, and come from.
        reuse: Which stored cells are taken: see `store.Reuse`.
        plan: Called once with the estimated work of each cell, 0 for those that are stored.

    Raises:
        InputError: Bad input that concerns the whole run, or a store that cannot be written.
        KeyboardInterrupt: Somebody asked to stop; what was measured is kept.
    """
    store.writable()
    cells = grid.cells() if isinstance(grid, Grid) else list(grid)
    for cell in cells:
        bench.check(cell)
    stored = [_stored(store, bench.hash(cell), reuse) for cell in cells]
    idle = reuse == "only-cache"
    bench.expect([cell for cell, found in zip(cells, stored, strict=True) if not found], {})
    made: set[str] = set()
    plan([0 if found or idle else estimate(cell, bench, made) for cell, found in zip(cells, stored, strict=True)])
    for cell, found in zip(cells, stored, strict=True):
        if found or idle:
            yield Done(cell, found, found is not None)
        else:
            if bench.stopped():
                raise KeyboardInterrupt
            keep = store.partial(bench.hash(cell))
            if reuse == "never":
                discard(keep)
            result = run_cell(cell, bench, keep)
            store.put(result)
            if not may_go_on(result):
                discard(keep)
            yield Done(cell, result, False)


def may_go_on(result: dict[str, Any]) -> bool:
    """Whether a cell that failed goes on where it was in the next run: after bad input, such as a file system that is away.

    Somebody's code that raised may be other code then, and so may what it has kept.
    """
    return result["status"] == "error" and result.get("trace") == ""


def quarantined(cell: Cell, bench: Bench, deaths: int) -> dict[str, Any]:
    """The row of a cell that is not tried again, because workers died over it."""
    result = {"schema": SCHEMA, "cell": bench.hash(cell), "spec": bench.spec(cell), "status": "error", "reports": []}
    result |= {"error": f"{deaths} workers died over this cell; it is not tried again in this run", "clips": {}, "evidence": {}}
    started = datetime.now(UTC).isoformat(timespec="seconds")
    made = provenance(bench.device) | {"started": started, "wall_s": 0.0, "batch_size": bench.batch_of(cell)}
    return result | {"provenance": made | {"threads": torch.get_num_threads()}}


def _stored(store: Store, cell: str, reuse: Reuse) -> dict[str, Any] | None:
    found = None if reuse == "never" else store.get(cell)
    return found if found and (found["status"] == "ok" or reuse != "missing") else None


def run_cell(cell: Cell, bench: Bench, keep: Path | None = None) -> dict[str, Any]:
    """Measures a cell. An error becomes a result with status `error`.

    Args:
        cell: What to measure.
        bench: The live objects.
        keep: File of what was measured so far, which an interrupted cell is gone on with; None: nothing is kept.

    Returns:
        The content of the cell's file: schema, cell (its hash), spec, status, error, reports
        (columns that belong beside the accuracy), clips (per-clip vectors), failed (clips that
        could not be decoded), evidence, notes (per-clip vectors that only this attack knows), declared (what the
        defence says of itself), provenance.

    Raises:
        InputError: The device has failed, if `bench.lost` says so.
        KeyboardInterrupt: Somebody asked to stop; what was measured is kept.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    result = {"schema": SCHEMA, "cell": bench.hash(cell), "spec": bench.spec(cell), "status": "ok", "error": ""}
    partial = Partial(keep)
    try:
        result["reports"] = list(bench.attack(cell).reports) if cell.attack else []
        if cell.corruption:
            result["corruption"] = described(cell.corruption, bench.corruption(cell))
        if cell.defense:
            result["declared"] = _declared(bench.pipeline(cell))
        check_threat(cell, bench)  # before clips are decoded or a perturbation is fitted
        result |= _measure(cell, bench, partial)
    except Exception as error:  # a failing cell is a row, and the run goes on
        if device_failed(error):
            bench.lost(f"{bench.device} has failed over {cell}: {' '.join(str(error).split())[:SAID]}")
        known = isinstance(error, InputError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        result |= {"status": "error", "error": " ".join(reason.split()), "clips": {}, "evidence": {}}
        result["trace"] = "" if known else traceback.format_exc()
    result["provenance"] = provenance(bench.device) | {
        "started": started.isoformat(timespec="seconds"),
        "wall_s": round(partial.spent + time.perf_counter() - clock, 3),
        "batch_size": partial.batch_size or bench.batch_of(cell),
        "threads": torch.get_num_threads(),
    }
    return result


def _measure_batch(
    cell: Cell,
    bench: Bench,
    attack: Attack | None,
    number: int,
    batch: Batch,
    measured: Measured,
    sample: Sample,
    journal: Journal,
) -> None:
    clips, labels = bench.clips(batch)
    pipeline = bench.pipeline(cell)
    if attack is None:
        measured.add(batch, judge(cell, bench, pipeline, batch, clips, labels), None)
        return

    def make() -> Crafted:
        # Whoever makes clips that are handed on watches, so that the cell that asks for it finds the margins with them.
        watched = attack if sample.full or not (cell.crafted_on_judged or cell.handed_on) else Watched(attack, labels)
        # A universal perturbation was made by as many draws as the threat has, so there even the first gradient may differ.
        first = None if attack.universal else functools.partial(bench.first_draws.once, cell, batch.ids)
        journal.turn(f"{number} {batch.ids}")
        made = craft(cell, bench, watched, batch, clips, labels, cell.full, first, journal)
        return replace(made, margins=watched.margins) if isinstance(watched, Watched) else made

    made = bench.crafted_once(cell, number, batch, make)
    judged = judge(cell, bench, pipeline, batch, made.clips, labels)
    measured.add(batch, judged, made)
    sample.add(batch, judged, made.margins)


def _declared(pipeline: Pipeline) -> dict[str, Any]:
    """What a chain of defences says of itself: whether two passes may differ, how many are averaged, whose gradient passes."""
    gradient = "none" if not pipeline.gradient else "bpda" if pipeline.surrogate else "exact"
    return {"stochastic": pipeline.stochastic, "draws": pipeline.draws, "gradient": gradient}


def _evidence(cell: Cell, bench: Bench, sample: Sample, attack: Attack | None, journal: Journal) -> dict[str, Any]:
    """What is known besides the accuracy: see `checks`."""
    found: dict[str, Any] = attack_evidence(cell, bench, sample, journal) if cell.crafted_on_judged else {}
    if cell.threat and cell.threat.name == "adaptive" and bench.pipeline(cell).surrogate and attack and not attack.black_box:
        found["surrogate"] = True
    said = _on_its_card(cell, bench) if cell.kind == "clean" and not cell.defense else None
    return found if said is None else found | {"card": said}


def _on_its_card(cell: Cell, bench: Bench) -> float | None:
    """The accuracy in [0, 1] that the model's card names for these clips; None where it speaks of another input or data set."""
    card = bench.model(cell).card
    if (card.get("model"), card.get("dataset")) != (cell.model.text, cell.dataset.text):
        return None
    return card.get(f"{cell.split.replace('-', '_')}_accuracy")


def _measure(cell: Cell, bench: Bench, partial: Partial) -> dict[str, Any]:
    """Measures a cell. Passes fit by themselves; where memory runs out all the same, it is measured in smaller batches.

    Later cells of the model have them too, but where not even one clip fits: that says nothing of other cells.
    """
    room = bench.room(cell)
    known = room.rows, room.batch
    while True:
        try:
            with partial.as_begun(room) if bench.batch_size is None else nullcontext(), lack_of_memory():
                return _measure_batches(cell, bench, partial)
        except torch.OutOfMemoryError:
            if room.batch == 1:
                room.rows, room.batch = known
                raise
        # Only here is the failed attempt's memory free: while the error is handled it holds on to it.
        bench.resize(cell, room.batch // 2)
        torch.cuda.empty_cache()


def _measure_batches(cell: Cell, bench: Bench, partial: Partial) -> dict[str, Any]:
    measured, sample, scene = Measured(), Sample(), bench.scene(cell)
    done = partial.load(scene.batch, measured, sample)
    attack, fitting, number = None, {}, -1
    if cell.attack:
        attack, fitting, _ = fit(cell, bench, partial)
    for number, batch in enumerate(bench.ahead.batches(bench.footage.batches(scene))):
        if number < done:
            partial.seen(batch, measured, sample)
            continue
        _measure_batch(cell, bench, attack, number, batch, measured, sample, partial.journal)
        stop = bench.stopped()
        partial.save(number + 1, measured, sample, now=stop or partial.journal.holds)
        if stop:
            raise KeyboardInterrupt
    partial.check(measured)
    failed = [{"id": failure.record.id, "reason": failure.reason} for failure in bench.footage.failures(scene)]
    if not measured.records:
        raise InputError("dataset", f"none of {len(failed)} clips could be decoded", f"the first: {failed[0]['reason']}")
    try:
        evidence = _evidence(cell, bench, sample, attack, partial.journal) | ({"fit": fitting} if fitting else {})
        if cell.shifts:
            save = functools.partial(partial.save, number + 1, measured, sample)
            measured.vectors["flips"] = flips(cell, bench, measured, partial.later, save)
    except KeyboardInterrupt:  # between two checks, or at a later moment
        partial.save(number + 1, measured, sample, now=True)
        raise
    notes = {"notes": measured.notes} if measured.notes else {}
    return {"clips": measured.clips(), "failed": failed, "evidence": measured.evidence | evidence, **notes}
