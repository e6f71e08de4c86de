"""`vbench data`: what a data set on disk is worth."""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..core.errors import InputError
from ..core.registry import resolve

if TYPE_CHECKING:
    from ..core.interfaces import ClipRecord

app = typer.Typer(help="Data sets on disk.", no_args_is_help=True)
_MARKS = {"problem": "[red]problem[/]", "note": "[yellow]note[/]   ", "fine": "[green]fine[/]   "}


@app.callback()
def _group() -> None:
    """Data sets on disk: vbench data check."""


@app.command("check")
def check(
    dataset: Annotated[str, typer.Option(help="Data set spec.", envvar="VBENCH_DATASET", show_envvar=False)],
    root: Annotated[str | None, typer.Option(help="Folder of the data set.", envvar="VBENCH_ROOT", show_envvar=False)] = None,
    split: Annotated[
        str | None, typer.Option(help="Split; the data set's own by default.", envvar="VBENCH_SPLIT", show_envvar=False)
    ] = None,
    decode: Annotated[str, typer.Option(help="Clips to decode, spread over the classes: a number, or all.")] = "32",
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.", envvar="VBENCH_NO_PROGRESS")] = False,
) -> None:
    """Say what is wrong with a download: files missing, damaged or beside the list, folders that are no class, counts that lie.

    Exit codes: 0 fine, 1 problems, 2 bad input.

    Example: vbench data check --dataset ucf101 --root DIR --split 1 --decode all
    """
    if decode != "all" and not decode.isdecimal():
        raise InputError("decode", f"{decode!r} is no number of clips", "write a number, or all")
    component = resolve("dataset", dataset, **({} if root is None else {"root": root}))

    from rich.progress import track

    from ..data.check import check as check_copy
    from ..data.selection import default_split

    console = Console(stderr=True)

    def shown(records: "Sequence[ClipRecord]") -> "Iterator[ClipRecord]":
        off = no_progress or not sys.stderr.isatty()
        yield from track(records, "decoding", console=console, disable=off, transient=True)

    data = component.create()
    report = check_copy(data, split or default_split(data), None if decode == "all" else int(decode), shown)
    for kind, text in report.findings:
        Console().print(f"{_MARKS[kind]} {escape(text)}", highlight=False, soft_wrap=True)
    if report.problems:
        raise typer.Exit(1)
