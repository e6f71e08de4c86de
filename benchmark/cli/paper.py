"""`vbench paper`."""

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..evaluation.studies.catalogue import STUDIES, Study, find_study

if TYPE_CHECKING:
    import pandas as pd


def paper(
    name: Annotated[str | None, typer.Argument(help="One of the entries; without it they are listed.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for a CSV of the figures and a PNG plot.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON instead of a table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.", envvar="VBENCH_QUIET")] = False,
) -> None:
    """Test a published finding again on the embedded world, with the shipped tiny models.

    Example: vbench paper temporal-shuffling/fig5 --out figures
    """
    if name is None:
        listed = Table("entry", "what it shows", box=None, pad_edge=False)
        for study in STUDIES.values():
            listed.add_row(study.name, escape(study.about))
        Console().print(listed)
        return
    study = find_study(name)

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
