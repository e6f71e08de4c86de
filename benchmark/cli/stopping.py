"""Ctrl-C: the first one finishes the batch and keeps it, the second one ends at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 130
"""Exit code."""


@contextmanager
def stopping(say: bool = True, twice: bool = True) -> Iterator[Callable[[], bool]]:
    """Whether somebody asked to stop, by SIGINT or SIGTERM; outside of the main thread nobody can.

    Args:
        say: Whether to tell that the batch is finished first.
        twice: Whether to end at once when asked again. Not for a driver's worker: it is asked by the terminal or Slurm and by its
            driver as well, and ends with that.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            if twice:
                os._exit(INTERRUPTED)
            return
        asked.set()
        if say:  # not by print, which may have been interrupted in the middle of a line
            with suppress(OSError):
                os.write(2, b"vbench: finishing this batch; once more ends at once\n")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
