"""All files of a leaderboard: making them, writing them together, and comparing them with what lies in a folder."""

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from ..benchmark.core.errors import InputError
from ..benchmark.core.files import write_atomically
from . import corruption_files, curve_files, wide
from .latex import latex
from .markdown import block, markdown, safe
from .page import page
from .results import Results
from .rows import Board, Picture

Files = dict[str, str | bytes]

OWN = ("leaderboard.md", "leaderboard.csv", "leaderboard_long.csv", "leaderboard.tex", "leaderboard.html")
OWN += ("queries.csv", "queries.png", "frames.csv", "frames.png", "transfer.csv")
OWN += ("corruption_models.csv", "corruption_families.csv", "corruptions.csv")
"""Files that a leaderboard may consist of, or consisted of once, but for its pictures."""

DRAWN = (".png", ".svg")
"""Endings of pictures. Fonts and versions of the plotting library change their bytes, so they are only looked for."""

_SVG = re.compile(r"data:image/svg\+xml;base64,[A-Za-z0-9+/=]*")
"""A picture inside the page: these letters hold no markup, so nothing else can hide there."""


def files(
    board: Board,
    results: Results,
    pictures: Sequence[Picture] = (),
    baseline: str | None = None,
    tracks: Sequence[Board] = (),
) -> Files:
    """The contents of every file, by its path from the leaderboard's folder; the same cells make the same bytes.

    Args:
        board: What the tables show.
        results: Its cells, for curves, transfers and corruptions.
        pictures: Plots of the board.
        baseline: Model that mCE divides by; see `corruption_metrics`.
        tracks: Boards that the page can show in the place of the first.

    Raises:
        InputError: The baseline is not among the cells, or lacks one.
    """
    curves, corrupted = curve_files.tables(results), corruption_files.tables(results, baseline)
    text = markdown(board) + _gallery(pictures) + curve_files.markdown(curves) + corruption_files.markdown(corrupted, baseline)
    made: Files = {
        "leaderboard.md": text,
        "leaderboard.csv": wide.csv(wide.wide(board)),
        "leaderboard_long.csv": wide.csv(wide.long(board)),
        "leaderboard.tex": latex(board),
        "leaderboard.html": page(board, pictures, tracks),
    }
    for picture in pictures:
        made |= {f"pictures/{picture.name}.png": picture.png, f"pictures/{picture.name}.svg": picture.svg}
    return made | curve_files.files(curves) | corruption_files.files(corrupted)


def write(made: Files, folder: Path) -> list[Path]:
    """Writes files, all or, as far as a file system lets us, none: they replace the old ones once each is on the disk.

    Returns:
        Their paths.

    Raises:
        InputError: The folder cannot be written; the files in it are as they were.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in made:
            if (folder / name).is_dir():  # found out now, not after half of the files were replaced
                raise IsADirectoryError(f"{name} is a folder")
            (folder / name).parent.mkdir(exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=".leaderboard.", dir=folder))
        try:
            for name, content in made.items():
                write_atomically(staged / name, _bytes(content))
            for name in made:
                os.replace(staged / name, folder / name)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    except OSError as error:
        raise InputError("out", f"cannot write {folder}: {error.strerror or error}", "give another --out") from None
    return [folder / name for name in made]


def left_over(made: Files, folder: Path) -> list[str]:
    """Files of an earlier leaderboard that this one lacks; pictures may be anybody's, and are not among them."""
    return [name for name in OWN if name not in made and (folder / name).is_file()]


def differences(made: Files, folder: Path) -> list[str]:
    """A line for each file that a folder lacks, has too many, or holds with another content.

    Pictures are only looked for, and those inside the page are left out of the comparison (see DRAWN).

    Raises:
        InputError: A file cannot be read.
    """
    found = []
    for name, content in made.items():
        try:
            stored = (folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            found.append(f"{name}: missing")
            continue
        except OSError as error:
            raise InputError("out", f"cannot read {folder / name}: {error.strerror or error}") from None
        if not name.endswith(DRAWN) and (number := _differs(stored, _bytes(content), name.endswith(".html"))):
            found.append(f"{name}: differs from line {number}")
    return found + [f"{name}: left over from an earlier leaderboard; delete it" for name in left_over(made, folder)]


def _differs(stored: bytes, fresh: bytes, pictured: bool) -> int:
    """The number of the first line of the stored file that is not as it would be made; 0 where all are."""
    if stored == fresh:
        return 0
    pairs = zip_longest(*(_lines(content, pictured) for content in (stored, fresh)))
    return next((number for number, (old, new) in enumerate(pairs, start=1) if old != new), 0)


def _lines(content: bytes, pictured: bool) -> list[str]:
    """Lines, each character a byte; a picture is one mark."""
    text = content.decode("latin-1")
    return (_SVG.sub("<svg>", text) if pictured else text).split("\n")


def _gallery(pictures: Sequence[Picture]) -> str:
    """The pictures as a section of the markdown."""
    shown = [f"![{safe(picture.alt)}](pictures/{picture.name}.png)\n\n{block(picture.title)}\n" for picture in pictures]
    return "\n".join(["\n## Pictures\n", *shown]) if shown else ""


def _bytes(content: str | bytes) -> bytes:
    """UTF-8; half characters, which JSON can hold and files cannot, become question marks."""
    return content.encode(errors="replace") if isinstance(content, str) else content
