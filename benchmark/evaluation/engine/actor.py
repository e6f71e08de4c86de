"""A worker that Ray places: the loop of every worker, and what its node says of itself."""

import os
import platform
import threading
import time
import traceback
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import torch

from ...core.errors import InputError
from ..api import choose_device
from ..bench import Bench
from ..store import Store
from .leases import Leases
from .nodes import ray
from .plan import Plan
from .worker import leaves, work

PATIENCE = 5.0
"""Seconds that a file of another host may need to show."""


class Settings(NamedTuple):
    """What the driver hands to each actor: paths and names, so that nothing large travels.

    Attributes:
        store: Folder of the results.
        plan: Id of the plan in its queue.
        run: What the leases of this run's workers have in common.
        device: `auto`, `cpu`, `cuda`.
        threads: Threads of its computations.
        folder: The driver's working folder, which plug-in files may be relative to.
        environment: The driver's `VBENCH_*`; what a node has set itself stays.
    """

    store: str
    plan: str
    run: str
    device: str
    threads: int
    folder: str
    environment: dict[str, str]


class Hello(NamedTuple):
    """What a placed actor says first.

    Attributes:
        owner: Its name in leases.
        node: Ray's name of its node.
        host: For people.
        problem: Why it cannot work, or nothing.
        probe: A file that it wrote into the store.
    """

    owner: str
    node: str
    host: str
    problem: str
    probe: str


class Actor:
    """One worker, which does what is open of a plan."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        for name, value in settings.environment.items():
            os.environ.setdefault(name, value)
        if os.path.isdir(settings.folder):
            os.chdir(settings.folder)
        self._store, self._stop = Store(Path(settings.store)), threading.Event()
        self._leases = Leases(self._store.folder, settings.run)

    def hello(self) -> Hello:
        """Says where it is, and whether it has the driver's store."""
        node = ray().get_runtime_context().get_node_id()
        said = Hello(self._leases.me.owner, node, platform.node(), "", "")
        folder = self._store.folder
        if not seen(folder / "queue" / f"{self._settings.plan}.json"):
            return said._replace(problem=f"does not see the store {folder}")
        probe = folder / "queue" / f".{uuid4().hex}.probe"
        try:
            probe.touch()
        except OSError as error:
            return said._replace(problem=f"cannot write the store {folder}: {error.strerror or error}")
        return said._replace(probe=probe.name)

    def work(self) -> str:
        """Works until nothing is open or `stop` is called; returns what went wrong, or nothing."""
        torch.set_num_threads(self._settings.threads)
        try:
            plan = Plan.read(self._store.folder / "queue" / f"{self._settings.plan}.json")
            bench = Bench(choose_device(self._settings.device), plan.request.batch_size, plan.request.precision)
            bench.stopped, bench.lost = self._stop.is_set, leaves
            with self._leases:
                for _ in work(plan, self._store, self._leases, bench):
                    pass
        except KeyboardInterrupt:
            pass
        except InputError as error:  # as text: it does not survive a pickle
            return str(error)
        except Exception as error:
            log = self._store.folder / "log" / f"{self._settings.plan}-{self._leases.me.owner}.log"
            log.parent.mkdir(exist_ok=True)
            log.write_text(traceback.format_exc(), encoding="utf-8")
            return f"{type(error).__name__}: {error} (see {log})"
        return ""

    def stop(self) -> None:
        """Ends `work` after its batch."""
        self._stop.set()


def seen(path: Path) -> bool:
    """Whether a file is there, or shows soon: network file systems are late."""
    end = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
