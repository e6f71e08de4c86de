"""`vbench plan`."""

import json as json_module
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..evaluation.request import Request
from .options import with_options

if TYPE_CHECKING:
    from ..evaluation.engine.plan import Plan


@with_options(Request)
def plan(
    given: dict[str, Any],
    grid: Annotated[Path | None, typer.Option(help="TOML file with any of these options; the command line wins over it.")] = None,
    queue: Annotated[bool, typer.Option("--queue", help="Leave the plan in the store, for vbench worker.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the cells as JSON instead of a table.")] = False,
) -> None:
    """Show what vbench run would do with the same options, and compute nothing.

    Which cells there are, which are stored already, which are impossible and why, what is computed once for several of them, and
    about how long it takes. Exit codes: 0 fine, 1 a cell is impossible, 2 bad input.

    Example: vbench plan --model tsm,i3d --attack pgd --defense shuffle
    """
    request = Request.merge(given, grid)
    request.check()

    # torch is imported only now.
    from ..evaluation.api import bench_of, choose_reuse
    from ..evaluation.engine.plan import described, plan
    from ..evaluation.engine.summary import Summary
    from ..evaluation.store import Store

    choose_reuse(request.reuse)
    store = Store(Path(request.store))
    with redirect_stdout(sys.stderr):
        bench = bench_of(request, elsewhere=queue)
        found = plan(request, bench, store)
        summary = Summary.of(found, bench, several=queue)
    if json:
        times = [None if needs != needs else needs for needs in summary.seconds]
        print(json_module.dumps([described(one) | {"seconds": times[one.index]} for one in found.cells], indent=1))
    else:
        _print(found, summary.seconds)
        print(summary)
    if queue:
        print(found.write(store, stays=True), file=sys.stderr)
    if any(one.state == "impossible" for one in found.cells):
        raise typer.Exit(1)


def _print(found: "Plan", seconds: list[float]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from ..evaluation.engine.summary import duration
    from .card_view import wide_console

    sizes: dict[int, int] = {}
    for one in found.cells:
        if one.state == "open":
            sizes[one.bundle] = sizes.get(one.bundle, 0) + 1
    table = Table("cell", "state", "shared with", "about")
    for one, needs in zip(found.cells, seconds, strict=True):
        shared = f"{sizes[one.bundle] - 1} more" if one.state == "open" and sizes[one.bundle] > 1 else ""
        state = f"impossible: {one.why}" if one.why else one.state
        table.add_row(escape(one.name), escape(state), shared, duration(needs) if one.state == "open" else "")
    wide_console().print(table)
