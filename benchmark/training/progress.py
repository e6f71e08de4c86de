"""The progress of a training run, on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .loop import Epoch, History


class TrainProgress:
    """A bar with the time left on a terminal, a line per epoch elsewhere.

    Args:
        epochs: How many epochs there will be.
        steps: How many steps in all.
        show: False prints nothing.
    """

    def __init__(self, epochs: int, steps: int, show: bool) -> None:
        console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn()
        self._bar = Progress(*columns, console=console, disable=not (show and console.is_terminal))
        self._show, self._lines = show, show and not console.is_terminal
        self._task = self._bar.add_task(f"epoch 1/{epochs}", total=steps)
        self._epochs, self._steps, self._before, self._started = epochs, steps, 0, time.monotonic()

    def __enter__(self) -> "TrainProgress":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def tell(self, text: str) -> None:
        """Prints a line, above the bar."""
        if self._lines:
            print(text, file=sys.stderr, flush=True)
        elif self._show:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def resume(self, history: History) -> None:
        """An earlier run had done these epochs: the time left is counted from here."""
        self._before, self._started = len(history), time.monotonic()
        done = self._steps * len(history) // self._epochs
        self._bar.reset(self._task, completed=done, description=_said(history[-1], self._epochs))

    def step(self) -> None:
        """One step is done."""
        self._bar.advance(self._task)

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is done."""
        text = _said(epoch, self._epochs)
        self._bar.update(self._task, description=text)
        if self._lines:
            each = (time.monotonic() - self._started) / (epoch.number - self._before)
            left = timedelta(seconds=round(each * (self._epochs - epoch.number)))
            print(f"{text} ETA {left}", file=sys.stderr, flush=True)


@contextmanager
def decoding(clips: int, show: bool) -> Iterator[Callable[[int], None]]:
    """The progress of decoding so many clips, a bar on a terminal and a line elsewhere; to be told how many more are done."""
    console = Console(stderr=True)
    if show and not console.is_terminal:
        print(f"decoding {clips:,} clips", file=sys.stderr, flush=True)
    columns = TextColumn("decoding"), BarColumn(), MofNCompleteColumn(), TextColumn("ETA"), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not (show and console.is_terminal)) as bar:
        task = bar.add_task("decoding", total=clips)
        yield lambda more: bar.advance(task, more)


def _said(epoch: Epoch, epochs: int) -> str:
    robust = "" if epoch.robust is None else f" robust {epoch.robust:.1%}"
    return f"epoch {epoch.number}/{epochs} loss {epoch.loss:.3f} validation {epoch.accuracy:.1%}{robust}"
