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
    baseline: Annotated[
        str | None, typer.Option(help="Model that mCE divides by, undefended and in the store; without one there is no mCE.")
    ] = None,
) -> None:
    """Write a markdown and a CSV leaderboard of a store, sorted by the per-clip worst case, and print the markdown.

    Rows carry what vbench audit finds of their cells, but for its warnings. A defence that declares no gradient is listed only
    with a black-box attack beside it; otherwise a line says what to run.

    Where the store has such cells, also: success against queries (queries.csv, .png), accuracy by the one attacked frame
    (frames.csv, .png), transfer between models (transfer.csv) and corruption metrics (corruption_models.csv and more).

    Example: vbench leaderboard vbench-store
    """
    from ...leaderboard import admission, board, corruption_files, curve_files
    from ..evaluation.store import Store

    ranked, curves = board.build(Store(store)), curve_files.tables(Store(store))
    corrupted = corruption_files.tables(Store(store), baseline)
    left_out = admission.not_listed(Store(store))
    more = admission.footnote(left_out) + curve_files.markdown(curves) + corruption_files.markdown(corrupted, baseline)
    print(board.markdown(ranked) + more, end="")
    folder = out or store
    written = board.write(ranked, folder, more) + curve_files.write(curves, folder) + corruption_files.write(corrupted, folder)
    for one in left_out:
        print(one, file=sys.stderr)
    for path in written:
        print(path, file=sys.stderr)
