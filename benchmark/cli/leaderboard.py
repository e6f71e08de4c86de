"""`vbench leaderboard`."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def leaderboard(
    stores: Annotated[list[Path], typer.Argument(metavar="STORE", help="Folders of results, as vbench run --store wrote them.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the files go, or lie with --check; by default in the first store.")
    ] = None,
    track: Annotated[str | None, typer.Option(help="Only what a track asks for: its name, or a file that declares one.")] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Model that mCE divides by, undefended and in the store; without one there is no mCE.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; compare what lies in --out with what the stores make.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not name the written files.")] = False,
) -> None:
    """Make a leaderboard of stores, sorted by the per-clip worst case, in every format, and print the markdown.

    Written are leaderboard.md, .csv, .tex and .html (one page, no network needed, with a choice of the package's tracks),
    leaderboard_long.csv (one row per number) and pictures/. Where the stores have such cells, also: success against queries
    (queries.csv), accuracy by the one attacked frame (frames.csv), transfer between models (transfer.csv) and corruption metrics
    (corruption_models.csv and more). The same stores make the same files. In CSV, a text that a spreadsheet would compute has an
    apostrophe before it.

    Of a cell that several stores hold the per-clip results must be the same; a successful one replaces a failed one.

    Rows carry what vbench audit finds of their cells, but for its warnings. A defence that declares no gradient is listed only
    with a black-box attack beside it; otherwise a line says what to run.

    --check fails where a file is missing, differs or is left over from an earlier leaderboard, so that tables that were edited by
    hand, or not rebuilt, do not get into a repository. Of pictures it only asks whether they are there: their bytes change with
    fonts and with the version of the plotting library.

    Exit codes: 0 written, or equal; 1 with --check, a difference; 2 bad input.

    Example: vbench leaderboard vbench-store

    Example: vbench leaderboard one two --track shapes-linf --out board --check
    """
    from ...leaderboard import files

    folder = out or stores[0]
    made, refused = _made(stores, track, baseline, quiet)
    if check:
        _compare(files.differences(made, folder), folder, len(made))
        return
    written = files.write(made, folder)
    print(written[0].read_text(encoding="utf-8"), end="")
    for one in refused:
        print(one, file=sys.stderr)
    if not quiet:
        for path in written:
            print(path, file=sys.stderr)
    for name in files.left_over(made, folder):
        print(f"{folder / name} is left over from an earlier leaderboard; delete it", file=sys.stderr)


def _made(
    stores: list[Path], track: str | None, baseline: str | None, quiet: bool
) -> tuple[dict[str, str | bytes], tuple[str, ...]]:
    """The files, and a line for each row that is not listed."""
    from ...leaderboard.board import build, by_track
    from ...leaderboard.files import files
    from ...leaderboard.pictures import pictures
    from ...leaderboard.results import Results
    from ...leaderboard.tracks import Track
    from .progress import steps

    with steps("making the leaderboard", show=not quiet) as at:
        asked = Track.read(track) if track is not None else None
        results = Results.read(stores)
        at(1, 4)
        board = build(results, asked, baseline)
        at(2, 4)
        shown = asked.of(results) if asked else results
        drawn = pictures(shown, board)
        at(3, 4)
        tracks = [] if asked else by_track(results, baseline)
        return files(board, shown, drawn, baseline, tracks), board.refused


def _compare(found: list[str], folder: Path, count: int) -> None:
    if not found:
        print(f"{folder}: all {count} files are as the stores make them")
        return
    for one in found:
        print(one)
    raise typer.Exit(1)
