"""The progress bar of a run, on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from ..evaluation.run import Done


class RunProgress:
    """A bar over the estimated work of a grid; without a terminal, a line per finished cell.

    Args:
        bar: Whether to draw it at all.
        lines: Whether to print a line per finished cell where no bar is drawn.
    """

    def __init__(self, bar: bool, lines: bool) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
            disable=not (bar and console.is_terminal),
        )
        self._lines = lines and self._bar.disable
        self._task = self._bar.add_task("preparing", total=None)
        self._work: list[int] = []
        self._names: list[str] = []
        self._done, self._finished = 0, 0

    def __enter__(self) -> "RunProgress":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def plan(self, work: list[int], names: list[str]) -> None:
        """Sets the estimated work per cell."""
        self._work = list(work)
        self._names = names
        self._bar.update(self._task, total=max(1, sum(work)), description=names[0] if names else "done")

    def tick(self, work: int) -> None:
        """Work was done; the bar waits at the end of a cell's estimate until the cell is finished."""
        ahead = self._bar.tasks[0].completed + work
        room = self._work[self._done] if self._done < len(self._work) else ahead
        self._bar.update(self._task, completed=min(ahead, self._finished + room))

    def finish(self, done: "Done", index: int | None = None) -> None:
        """A cell is stored: the next one, or that with this number where several are under way."""
        if self._lines and done.result:
            state = "stored before" if done.reused else f"{done.result['provenance']['wall_s']:.1f} s"
            failed = f": failed, {done.result['error']}" if done.result["status"] != "ok" else ""
            print(f"[{self._done + 1}/{len(self._work)}] {done.cell} ({state}){failed}", file=sys.stderr, flush=True)
        self._finished += self._work[self._done if index is None else index]
        self._done += 1
        if index is None:
            name = self._names[self._done] if self._done < len(self._names) else "done"
        else:
            name = f"{self._done} of {len(self._names)} cells"
        self._bar.update(self._task, completed=self._finished, description=name)


@contextmanager
def steps(description: str, show: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, where that is a terminal; what it gives is told how many steps are done, and of how many."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not (show and console.is_terminal), transient=True) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
