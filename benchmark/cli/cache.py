"""`vbench cache`: what a store keeps besides its cells, so that nothing is computed twice."""

from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import InputError

app = typer.Typer(help="What a store keeps of unfinished runs.", no_args_is_help=True)
Folder = Annotated[Path, typer.Option("--store", help="Folder of the results.", envvar="VBENCH_STORE", show_envvar=False)]


@app.callback()
def _group() -> None:
    """What a store keeps of unfinished runs: vbench cache list, vbench cache prune."""


@app.command("list")
def show(store: Folder = Path("vbench-store")) -> None:
    """List the sets of adversarial clips that cells of unfinished plans share, and what their other clips take.

    Example: vbench cache list --store results
    """
    from rich.table import Table

    from ..core.files import size_of
    from ..evaluation.engine.artifacts import kept
    from ..evaluation.store import Store
    from .card_view import wide_console

    table = Table("clips", "cells", "MB", "needed by a plan")
    where = Store(_existing(store))
    found = kept(where)
    for one in found:
        table.add_row(one.path.name, str(len(one.cells)), f"{one.bytes / 1e6:.1f}", "yes" if one.needed else "no")
    wide_console().print(table)
    clips = size_of(where.clips) / 1e6
    print(f"{len(found)} sets, {sum(one.bytes for one in found) / 1e6:.1f} MB; decoded and corrupted clips, {clips:.1f} MB")


@app.command("prune")
def prune(
    store: Folder = Path("vbench-store"),
    all: Annotated[bool, typer.Option("--all", help="Also open plans, as killed runs leave them, and what they need.")] = False,
) -> None:
    """Remove plans that are done, clips that no open plan needs, the state of stored cells, and files that killed workers left.

    Example: vbench cache prune --store results
    """
    from ..evaluation.engine.prune import prune
    from ..evaluation.store import Store

    sets, freed = prune(Store(_existing(store)), all)
    print(f"removed {sets} sets of adversarial clips, and what else nobody needs: {freed / 1e6:.1f} MB in all")


def _existing(store: Path) -> Path:
    if not store.is_dir():
        raise InputError("store", f"{store} is no folder", "name the store of a run")
    return store
