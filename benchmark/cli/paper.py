"""`vbench paper`."""

import json as json_module
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.errors import InputError
from ..core.files import write_atomically
from ..evaluation.studies.catalogue import STUDIES, Study, find_study
from ..evaluation.studies.grids import find_grid
from ..evaluation.studies.places import Grid, Setting
from .follow import follow

if TYPE_CHECKING:
    import pandas as pd


def paper(
    name: Annotated[str, typer.Argument(help="A table or figure; `list`, or nothing, shows them; `report`.")] = "list",
    dataset: Annotated[str | None, typer.Option(help="The paper's own data set, such as ucf101:root=DIR.")] = None,
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="MODEL=FILE, a published name or a model spec; MODEL+DEFENCE=FILE; repeatable.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Number of clips. Default: the table's own.", min=1)] = None,
    store: Annotated[Path, typer.Option(help="Folder of the results.", envvar="VBENCH_STORE")] = Path("vbench-store"),
    out: Annotated[Path | None, typer.Option(help="Folder for a CSV of the numbers; of a study also a plot.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...", envvar="VBENCH_DEVICE")] = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option(help="Clips per batch. Default: what fits into memory.", min=1, max=65536, envvar="VBENCH_BATCH_SIZE"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON instead of a table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.", envvar="VBENCH_QUIET")] = False,
) -> None:
    """Test a published table or figure again, by default on the embedded world with the shipped tiny models.

    Cells are stored as they are made: run it again and it goes on where it stopped. Exit codes: 0 fine, 1 a cell failed, 2 bad
    input, 130 interrupted.

    Example: vbench paper list

    `report` computes nothing: it reads the store that the tables were measured into, and writes a page with every claim of the
    papers, what became of it, and the evidence.

    Example: vbench paper shuffling-table5 --limit 8 --out tables

    Example: vbench paper report --store vbench-store --out report

    Example: vbench paper temporal-shuffling/fig5 --out figures
    """
    if name == "list":
        _list(store, json)
    elif name == "report":
        _report(store, out or Path("report"), quiet)
    elif "/" in name:
        if dataset or checkpoint or limit:
            raise InputError("paper", f"{name} has fixed clips and models", "leave --dataset, --checkpoint and --limit out")
        _study(find_study(name), out, json, quiet)
    else:
        setting = Setting(dataset, limit, _assigned(checkpoint or []))
        _table(find_grid(name, setting), store, out, device, batch_size, json, quiet)


def _assigned(texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        model, _, weights = text.partition("=")
        if not model or not weights:
            remedy = "such as i3d=i3d.pth, or i3d=i3d:preset=r50,weights=i3d.pth"
            raise InputError("checkpoint", f"{text!r} is not MODEL=FILE", remedy)
        if found.setdefault(model, weights) != weights:
            raise InputError("checkpoint", f"{model} is given {found[model]} and {weights}", "leave one of them out")
    return found


def _list(store: Path, json: bool) -> None:
    from ..evaluation.studies.states import entries

    studies = [(study.name, study.about, "runs here") for study in STUDIES.values()]
    rows = [*entries(store), *studies]
    if json:
        print(json_module.dumps([dict(zip(("name", "shows", "state"), row, strict=True)) for row in rows], indent=1))
        return
    listed = Table("entry", "what it shows", "state", box=None, pad_edge=False)
    for row in rows:
        listed.add_row(*map(escape, row))
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(listed)


def _report(store: Path, out: Path, quiet: bool) -> None:
    from ...leaderboard.report import write_report

    for path in write_report(store, out):
        if not quiet:
            print(path, file=sys.stderr)


def _table(grid: Grid, folder: Path, out: Path | None, device: str, batch_size: int | None, json: bool, quiet: bool) -> None:
    # torch is imported only now: names and values are checked by then.
    from ..evaluation.api import choose_device
    from ..evaluation.bench import Bench
    from ..evaluation.store import Store
    from ..evaluation.studies.sift import sift
    from ..evaluation.studies.tables import as_json, outcome_of
    from .paper_view import print_outcome
    from .progress import RunProgress

    if quiet:
        os.environ["VBENCH_NO_PROGRESS"] = "1"  # for bars below this floor
    bench, store = Bench(choose_device(device), batch_size), Store(folder)
    with redirect_stdout(sys.stderr):  # a model that prints must not get between the rows
        cells, refused = sift(grid.wants, bench)
        done = follow(cells, bench, store, RunProgress(bar=not quiet, lines=not quiet)) if cells else []
    results = [one.result for one in done if one.result]
    outcome = outcome_of(grid, results, refused)
    print(as_json(outcome)) if json else print_outcome(grid, outcome)
    if out:
        _write(out / f"{grid.name}.csv", outcome)
    if not quiet:
        wrote = f"; {out / f'{grid.name}.csv'}" if out else ""
        print(
            f"{len(done)} cells, {sum(one.reused for one in done)} of them stored before; {store.folder}{wrote}", file=sys.stderr
        )
    if any(result["status"] != "ok" for result in results):
        raise typer.Exit(1)


def _write(path: Path, outcome: "pd.DataFrame") -> None:
    try:
        write_atomically(path, outcome.to_csv(index=False))
    except OSError as error:
        raise InputError("out", f"{path.parent} cannot be written: {error.strerror or error}") from None


def _study(study: Study, out: Path | None, json: bool, quiet: bool) -> None:
    from ..evaluation.studies.export import export
    from .progress import steps

    with steps(study.name, not quiet) as tick:
        table = study.run(tick)
    if json:
        print(json_module.dumps(json_module.loads(str(table.to_json(orient="records"))), indent=1))
    else:
        _print(study, table)
    written = export(study, table, out) if out else []
    if not quiet:
        print(*written, sep="\n", end="\n" * bool(written), file=sys.stderr)


def _print(study: Study, table: "pd.DataFrame") -> None:
    shown = Table(title=escape(study.about), title_justify="left")
    for column in ("data set", "model", "condition"):
        shown.add_column(column)
    for column in ("clips", "draws", "top-1 %", "95 % interval", "published %"):
        shown.add_column(column, justify="right", no_wrap=True)
    for _, group in table.groupby(["dataset", "model"], sort=False):
        for row in group.to_dict("records"):
            names = [escape(str(row[key])) for key in ("dataset", "model", "condition")]
            interval = "-" if _percent(row["top1"]) == "-" else f"{_percent(row['top1_low'])} - {_percent(row['top1_high'])}"
            numbers = [_count(row["clips"]), _count(row["draws"]), _percent(row["top1"]), interval, _percent(row["published"])]
            shown.add_row(*names, *numbers)
        shown.add_section()
    console = Console()
    console = console if console.is_terminal else Console(width=140)
    console.print(shown)
    console.print(f"Source: {study.source}.\n{study.differs}", markup=False, highlight=False)


def _percent(value: float | None) -> str:
    return "-" if value is None or value != value else f"{100 * value:.1f}"


def _count(value: float) -> str:
    return "-" if value != value else f"{value:.0f}"
