"""`vbench run`."""

import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..evaluation.request import Request
from ..models.published import prefetch, resolve_model
from .follow import follow_plan
from .options import with_options

if TYPE_CHECKING:
    from ..evaluation.bench import Bench
    from ..evaluation.grid import Grid


@with_options(Request)
def run(
    given: dict[str, Any],
    grid: Annotated[Path | None, typer.Option(help="TOML file with any of these options; the command line wins over it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON instead of a table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.", envvar="VBENCH_QUIET")] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.", envvar="VBENCH_NO_PROGRESS")] = False,
) -> None:
    """Measure models on clean, attacked or corrupted clips, with and without defences.

    Each option can also be set as VBENCH_<OPTION>. Results are stored as they are made: run it again and it goes on where it
    stopped. Exit codes: 0 fine, 1 a cell failed, 2 bad input, 130 interrupted.

    Example: vbench run --model tsm --attack pgd:eps=4/255,steps=50 --defense shuffle

    Example: vbench run --model tsm --corruption 'noise/*' --severity 1-5
    """
    if quiet or no_progress:
        os.environ["VBENCH_NO_PROGRESS"] = "1"  # for bars below this floor, such as that of clips made on demand
    request = Request.merge(given, grid)
    request.check()

    # torch is imported only now.
    from ..evaluation.api import bench_of, choose_reuse
    from ..evaluation.engine.plan import grid_of, plan
    from ..evaluation.engine.summary import Summary
    from ..evaluation.store import Store
    from ..evaluation.tables import cells_table
    from .progress import RunProgress
    from .view import print_rows

    asked = grid_of(request)
    choose_reuse(request.reuse)
    if request.executor == "ray":
        from ..evaluation.engine import nodes

        nodes.check(request.address)  # now, rather than after planning and downloads
    bench, store = bench_of(request), Store(Path(request.store))
    with redirect_stdout(sys.stderr):  # a model that prints must not get between the rows
        if "grey-box" in (request.threat or []) and not any(str(cell.threat) == "grey-box" for cell in asked.cells()):
            print("grey-box is no setting of its own for these defences: there are no such rows", file=sys.stderr)
        _tell_missing(asked, bench, quiet)  # first, so that a wrong root does not cost a download
        for component in (*asked.models, *(resolve_model(threat.source) for threat in asked.threats if threat.source)):
            prefetch(component, asked.dataset.entry.name)  # before the run's own progress bar
        store.writable()
        found = plan(request, bench, store, strict=True)
        if not quiet:
            print(Summary.of(found, bench), file=sys.stderr)
        done = follow_plan(found, bench, store, RunProgress(bar=not (quiet or no_progress), lines=not quiet))
    print_rows(cells_table([cell.result for cell in done if cell.result]), json)
    if not quiet:
        lacking = sum(cell.result is None for cell in done)
        said = f"{len(done)} cells, {sum(cell.reused for cell in done)} of them stored before"
        said += f", {lacking} not stored" if lacking else ""
        said += f"; {store.folder}/cells.csv, clips.csv" if lacking < len(done) else ""
        print(said, file=sys.stderr)
    if any(cell.result is None or cell.result["status"] != "ok" for cell in done):
        raise typer.Exit(1)


def _tell_missing(grid: "Grid", bench: "Bench", quiet: bool) -> None:
    """Reads the list of clips; one line tells of videos that are not on the disk, for then another, smaller set is measured."""
    from ..data.selection import missing

    records = bench.records(grid.cells()[0])
    gone = missing(records)
    if gone and not quiet:
        found = f"{len(records) - len(gone):,} found of {len(records):,} listed"
        print(f"{grid.dataset.entry.name} {grid.split}: {found}; missing ones fail, the first: {gone[0].path}", file=sys.stderr)
