"""`vbench doctor`."""

import json as json_module
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    store: Annotated[Path, typer.Option(help="Folder where results would go.", envvar="VBENCH_STORE")] = Path("vbench-store"),
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON instead of a table.")] = False,
) -> None:
    """Look at what a run needs on this machine, and try a tiny one.

    Python, torch and GPUs, video codecs, other projects of the same name, folders, optional parts. Exit codes: 0 fine, 1 a run
    would fail, 2 bad input.

    Example: vbench doctor
    """
    from ..evaluation.doctor import examine

    with redirect_stdout(sys.stderr):
        found = examine(store)
    if json:
        print(json_module.dumps([one._asdict() for one in found], indent=1))
    else:
        from rich.markup import escape
        from rich.table import Table

        from .card_view import wide_console

        table = Table("", "state", "found")
        for one in found:
            table.add_row(one.what, f"[{COLORS[one.state]}]{one.state}[/]", escape(one.said))
        wide_console().print(table)
    if any(one.state == "fail" for one in found):
        raise typer.Exit(1)
