"""`vbench audit`."""

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer


def audit(
    store: Annotated[Path, typer.Argument(help="Folder of results, as vbench run --store wrote it.")],
    json: Annotated[bool, typer.Option("--json", help="Print both tables as JSON.")] = False,
) -> None:
    """Check what a store says against the field's rules of honest evaluation, and list what it cannot say.

    Nothing is measured anew. Each row is a rule that a cell breaks, with the evidence and the threshold; `warn` is something that
    should stand beside the number, `flag` a number that is suspect, `error` one that belongs on no leaderboard.

    Exit codes: 0 neither flag nor error, 1 a flag or an error, 2 bad input.

    Example: vbench audit vbench-store
    """
    from ...leaderboard.audit import audit as look
    from ..evaluation.store import Store

    fired, open = look(Store(store))
    if json:
        print(json_module.dumps({"fired": fired.to_dict("records"), "not_computed": open.to_dict("records")}, indent=1))
    else:
        _print(fired.to_dict("records"), open.to_dict("records"))
    if {"flag", "error"} & set(fired["level"]):
        raise typer.Exit(1)


def _print(fired: list[dict[Any, Any]], open: list[dict[Any, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from ..core.short_names import short_names
    from .card_view import wide_console

    console = wide_console()
    if fired:
        table = Table("check", "level", "model", "defense", "attack", "threat", "flag", "evidence", "fires at")
        table.title, table.title_justify = "Fired", "left"
        short = {name: short_names([row[name] for row in fired]) for name in ("model", "defense", "attack")}
        for row in fired:
            named = [short[name][row[name]] for name in short]
            rest = [row[name] for name in ("threat", "flag", "evidence", "threshold")]
            table.add_row(*(escape(text) for text in (row["check"], row["level"], *named, *rest)))
        console.print(table)
    else:
        console.print("no check fired")
    table = Table("check", "what should hold", "why not", title="Not computed", title_justify="left")
    for row in open:
        table.add_row(*(escape(row[name]) for name in ("check", "title", "missing")))
    console.print(table)
