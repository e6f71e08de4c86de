"""The progress of a training run, on stderr."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .loop import Epoch


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
        self._lines = show and not console.is_terminal
        self._task = self._bar.add_task(f"epoch 1/{epochs}", total=steps)
        self._epochs = epochs

    def __enter__(self) -> "TrainProgress":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def step(self) -> None:
        """One step is done."""
        self._bar.advance(self._task)

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is done."""
        robust = "" if epoch.robust is None else f" robust {epoch.robust:.1%}"
        text = f"epoch {epoch.number}/{self._epochs} loss {epoch.loss:.3f} validation {epoch.accuracy:.1%}{robust}"
        self._bar.update(self._task, description=text)
        if self._lines:
            print(text, file=sys.stderr, flush=True)
