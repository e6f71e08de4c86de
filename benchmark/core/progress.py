"""The progress bar of work that runs below the command line."""

import os
import sys

from rich.console import Console
from rich.progress import Progress, ProgressColumn


def progress(*columns: str | ProgressColumn) -> Progress:
    """A bar on stderr that goes away when it is done; none without a terminal, or where `VBENCH_NO_PROGRESS` is set."""
    quiet = os.environ.get("VBENCH_NO_PROGRESS", "").lower() not in ("", "0", "false")
    return Progress(*columns, console=Console(stderr=True), disable=quiet or not sys.stderr.isatty(), transient=True)
