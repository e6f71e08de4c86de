"""`vbench submission`."""

import json as json_module
from pathlib import Path
from typing import Annotated

import typer


def submission(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A store that somebody sends in, with its tables or without.")],
    json: Annotated[bool, typer.Option("--json", help="Print the problems as JSON.")] = False,
) -> None:
    """Check a store that somebody sends in, before its numbers go anywhere.

    Every file must be a sound cell under its own hash, with provenance and within its budget; tables beside the cells must be
    those that the cells make. Accuracies in an order that chance does not explain raise an alarm. Nothing is measured anew:
    vbench audit says how sound the evaluation is, and running some of the cells again whether they are true.

    Exit codes: 0 nothing found, 1 an error or an alarm, 2 bad input.

    Example: vbench submission their-store
    """
    from ...leaderboard.submission import problems

    found = problems(folder)
    if json:
        print(json_module.dumps([one._asdict() for one in found], indent=1))
    for one in [] if json else found:
        print(": ".join(filter(None, (one.level, one.rule, one.cell, one.words))))
    if not json:
        errors = sum(one.level == "error" for one in found)
        print(f"{errors} errors, {len(found) - errors} alarms")
    if found:
        raise typer.Exit(1)
