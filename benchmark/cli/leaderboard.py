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

    Example: vbench leaderboard vbench-store
    """
    from ...leaderboard.board import build, markdown, write
    from ..evaluation.store import Store

    board = build(Store(store))
    print(markdown(board), end="")
    for path in write(board, out or store):
        print(path, file=sys.stderr)
