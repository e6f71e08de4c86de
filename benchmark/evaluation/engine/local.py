"""One process per slot of this machine: a GPU each, or several on a CPU. The driver computes nothing and owns nothing."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ...core.errors import InputError
from ..run import Done
from ..store import Store
from .finished import finished
from .plan import Plan, Planned
from .worker import DEVICE_FAILED, unfinished

RESTARTS = 3
"""How often a slot's worker is started again while no cell is finished: more deaths than that are no accident. And how often in
all after its device failed, whatever the other slots finish meanwhile: a sick one would use up their cells."""

PAUSE = 0.1
"""Seconds between looks at the workers, at least."""

STOPPED = 130
"""Exit code of a worker that was asked to stop."""

REPORT = 2000
"""Characters of a worker's last words that are passed on."""


class Slot(NamedTuple):
    """Where a worker runs.

    Attributes:
        device: `cpu`, `cuda:1`.
        threads: Threads of its computations.
    """

    device: str
    threads: int


def slots(device: str, workers: int | None) -> list[Slot]:
    """Where the workers of this machine run.

    Args:
        device: As it was asked for; `auto` and `cuda` are all GPUs.
        workers: How many; None: one per GPU, on a CPU one per two cores.
    """
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    names = [f"cuda:{number}" for number in range(gpus)] or [device if device.startswith("cuda") else "cpu"]
    count = workers or (len(names) if names[0] != "cpu" else max(1, cores // 2))
    threads = max(1, min(cores // count, _asked_threads() or cores))
    return [Slot(names[number % len(names)], threads) for number in range(count)]


def _asked_threads() -> int:
    """What the user set, or 0."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdigit() else 0


class Local:
    """Worker processes, which are ended with the context.

    Args:
        plan: What to do; it lies in the store's queue already.
        store: The store.
        slots: One worker each.
    """

    def __init__(self, plan: Plan, store: Store, slots: Sequence[Slot]) -> None:
        self.plan, self.store, self.slots = plan, store, slots
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._deaths = [0] * len(slots)
        self._failures = [0] * len(slots)
        self._log = store.folder / "log"
        self._since = plan.path(store).stat().st_mtime

    def __enter__(self) -> "Local":
        try:
            self._log.mkdir(parents=True, exist_ok=True)
            for number in range(len(self.slots)):
                self._words_of(number).unlink(missing_ok=True)
                self._start(number)
        except OSError as error:
            raise InputError("store", f"cannot write {self._log}: {error.strerror or error}") from None
        return self

    def __exit__(self, *_: object) -> None:
        """Asks the workers to finish their batch, and waits for them."""
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
        for number, process in self._running.items():
            process.wait()
            if not self._words(number):
                self._words_of(number).unlink(missing_ok=True)

    def results(self, stopped: Callable[[], bool] = lambda: False) -> Iterator[tuple[Done, int]]:
        """The cells with their numbers, in the order in which they are finished.

        Args:
            stopped: Asked again and again; whether to end.

        Raises:
            KeyboardInterrupt: It was asked to end.
            InputError: The workers end without having done their work.
        """
        return finished(self.plan, self.store, self._since, PAUSE, stopped, self._look_after)

    def _ended(self) -> dict[int, int]:
        """The exit codes of the workers that are no more."""
        return {number: code for number, process in self._running.items() if (code := process.poll()) is not None}

    def _look_after(self, waiting: Sequence[Planned], fresh: bool) -> None:
        """Starts workers again that died: one ends by itself when nothing is left, when it was asked to, or with a word."""
        if fresh:
            self._deaths = [0] * len(self.slots)
            return
        ended = self._ended()
        # Looked at once more: a worker may have stored the last cell and ended since.
        if not ended or not any(unfinished(one, self.plan, self.store, self._since) for one in waiting):
            return
        for number, code in ended.items():
            if code == 2:
                raise InputError("executor", f"a worker ended: {self._words(number)}")
            del self._running[number]
            self._failures[number] += code == DEVICE_FAILED
            if code != STOPPED and self._deaths[number] < RESTARTS and self._failures[number] <= RESTARTS:
                self._deaths[number] += 1
                self._start(number)
        if not self._running:
            names = ", ".join(one.name for one in waiting[:3])
            words = next(filter(None, map(self._words, range(len(self.slots)))), "none said why")
            raise InputError("executor", f"all workers ended, and {len(waiting)} cells are open ({names}): {words}")

    def _start(self, number: int) -> None:
        slot = self.slots[number]
        command = [sys.executable, "-m", "robustvideo.benchmark.cli.main", "worker", "--store", str(self.store.folder)]
        command += ["--plan", self.plan.id, "--device", slot.device, "--parent", str(os.getpid()), "--quiet"]
        environment = os.environ | {"OMP_NUM_THREADS": str(slot.threads), "VBENCH_NO_PROGRESS": "1"}
        with self._words_of(number).open("ab") as log:
            self._running[number] = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _words_of(self, number: int) -> Path:
        return self._log / f"{self.plan.id}-{number}.log"

    def _words(self, number: int) -> str:
        try:
            text = self._words_of(number).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return " ".join(text[-REPORT:].split()[-60:])
