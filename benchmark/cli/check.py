"""`vbench check`, `vbench baseline` and `vbench diff`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import InputError

if TYPE_CHECKING:
    from ...leaderboard.gate.judged import Exit, Report

FORMATS = ("text", "github", "junit", "markdown", "json")
Stores = Annotated[list[Path], typer.Argument(help="Folders of results, as vbench run --store wrote them.", metavar="STORE...")]


def check(
    stores: Stores,
    baseline: Annotated[Path, typer.Option(help="File that vbench baseline wrote.")],
    policy: Annotated[Path | None, typer.Option(help="TOML file: how large a drop which cells may have.")] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(
            help="text, github, junit, markdown or json; several separated by commas. NAME=FILE goes to a file, NAME to stdout, "
            "where text and github can stand together and any other stands alone. Without a NAME, text is on stdout."
        ),
    ] = None,
    allow_inconclusive: Annotated[
        bool, typer.Option("--allow-inconclusive", help="Exit code 0 instead of 3 where cells are INCONCLUSIVE only.")
    ] = False,
) -> None:
    """Check whether a store lost robustness against a baseline: the same clips, paired, the whole grid in one test.

    In a job of GitHub Actions, --format github also adds the table to the summary of the job.

    Exit codes:

    0  no cell of the baseline lost more than its tier allows

    1  REGRESSED: a significant drop above what is allowed; MISSING: a cell is not in the store; ERROR: it failed there

    2  bad input, or output that cannot be written

    3  INCONCLUSIVE: too few clips to see a drop that is not allowed; INCOMPARABLE: other clips, versions or protocol

    Cells of the advisory tier, and those that the policy lists as accepted, fail nothing.

    Example: vbench check vbench-store --baseline baseline.json --format text,github,junit=report.xml
    """
    shown, files = _formats(format or [])
    from ...leaderboard.gate.check import check as judged
    from ...leaderboard.gate.check import end_of

    report = judged(stores, baseline, policy)
    end = end_of(report, allow_inconclusive)
    for name in shown:
        _print(name, report, end)
    for path, name in files.items():
        _write(path, _rendered(name, report, end))
    if "github" in (*shown, *files.values()) and os.environ.get("GITHUB_STEP_SUMMARY"):
        from ...leaderboard.gate.github import append_summary

        append_summary(report, Path(os.environ["GITHUB_STEP_SUMMARY"]), end)
    raise typer.Exit(int(end))


def baseline(
    stores: Stores,
    out: Annotated[Path | None, typer.Option(help="The file to write; by default the baseline goes to stdout.")] = None,
) -> None:
    """Make a baseline of stores: what vbench check compares later runs with, clip by clip, one line per cell.

    Cells that failed are left out, and a line on stderr says so.

    Example: vbench baseline vbench-store --out baseline.json
    """
    from ...leaderboard.gate import baseline as baselines
    from ...leaderboard.results import Results

    results = Results.read(stores)
    text = baselines.make(results)
    if out is None:
        print(text, end="")
    else:
        _write(out, text)
        print(out, file=sys.stderr)
    failed = [cell["error"] for cell in results.cells if cell["status"] != "ok"]
    if failed:
        print(f"vbench: {len(failed)} failed cells are left out, the first: {failed[0]}", file=sys.stderr)


def diff(
    a: Annotated[Path, typer.Argument(help="Store or baseline file.", metavar="A")],
    b: Annotated[Path, typer.Argument(help="Store or baseline file.", metavar="B")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Put two stores side by side: what each cell's accuracy is in both, with the paired interval of the difference.

    Nothing is decided; that is what vbench check is for. Cells of other clips, versions or protocol are named, not compared.

    Exit codes: 0 at least one cell was compared; 2 bad input; 3 none could be

    Example: vbench diff vbench-store-before vbench-store
    """
    from ...leaderboard.gate import diff as differ

    found = differ.compare(a, b)
    if json:
        print(differ.as_json(found), end="")
    else:
        from .card_view import wide_console

        wide_console().print(differ.view(found), crop=False)
    if not found.changes:
        print("vbench: nothing was compared: no cell is in both, on the same clips and under the same protocol", file=sys.stderr)
        raise typer.Exit(3)


def _formats(given: list[str]) -> tuple[list[str], dict[Path, str]]:
    """What goes to stdout, and which file takes what."""
    shown: list[str] = []
    files: dict[Path, str] = {}
    for piece in (one.strip() for text in given for one in text.split(",")):
        name, equals, file = piece.partition("=")
        if name not in FORMATS or (equals and not file):
            raise InputError("format", f"{piece!r} is unknown", f"give {', '.join(FORMATS)}, or one of them as NAME=FILE")
        if Path(file) in files and equals:
            raise InputError("format", f"{file} is named twice", "give each format a file of its own")
        if equals:
            files[Path(file)] = name
        elif name not in shown:
            shown.append(name)
    if len(shown) > 1 and set(shown) - {"text", "github"}:
        raise InputError("format", f"{' and '.join(shown)} cannot share stdout", "write NAME=FILE for all but one")
    return shown or ["text"], files


def _print(name: str, report: "Report", end: "Exit") -> None:
    if name != "text":
        print(_rendered(name, report, end), end="")
        return
    from ...leaderboard.gate import text
    from .card_view import wide_console

    wide_console().print(text.view(report, end), crop=False)


def _rendered(name: str, report: "Report", end: "Exit") -> str:
    from ...leaderboard.gate import as_json, github, junit, markdown, text

    if name == "junit":
        return junit.render(report)
    makers = {"text": text.render, "github": github.annotations, "markdown": markdown.render, "json": as_json.render}
    return makers[name](report, end)


def _write(path: Path, text: str) -> None:
    from ..core.files import write_atomically

    try:
        write_atomically(path, text)
    except OSError as error:
        raise InputError("output", f"cannot write {path}: {error.strerror or error}") from None
