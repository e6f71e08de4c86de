"""`vbench leaderboard`."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def leaderboard(
    store: Annotated[Path, typer.Argument(help="Folder of results, as vbench run --store wrote it.")],
    out: Annotated[
        Path | None, typer.Option(help="Where leaderboard.md and leaderboard.csv go; by default into the store.")
    ] = None,
) -> None:
    """Write a markdown and a CSV leaderboard of a store, sorted by the per-clip worst case, and print the markdown.

    Where the store has such cells, also: success against queries (queries.csv, .png), accuracy by the one attacked frame
    (frames.csv, .png) and transfer between models (transfer.csv).

    Example: vbench leaderboard vbench-store
    """
    from ...leaderboard import board, curve_files
    from ..evaluation.store import Store

    ranked, curves = board.build(Store(store)), curve_files.tables(Store(store))
    more = curve_files.markdown(curves)
    print(board.markdown(ranked) + more, end="")
    for path in (*board.write(ranked, out or store, more), *curve_files.write(curves, out or store)):
        print(path, file=sys.stderr)
