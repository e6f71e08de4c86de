"""Workers on the nodes of a Ray cluster. Ray places them and tells which have died; what is done stands in the store alone."""

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from ...core.errors import InputError
from ..run import Done
from ..store import Store
from .actor import Actor, Hello, Settings, seen
from .finished import finished
from .leases import Leases
from .nodes import Slot, connect, nodes, places, ray, slot
from .plan import Plan, Planned

RESTARTS = 3
"""Deaths per slot while no cell is finished after which no worker is started again: more are no accident."""

PAUSE = 0.25
"""Seconds between looks at store and actors, at least."""

LOOK = 1.0
"""Seconds between looks at the cluster's nodes."""

LAG = 60.0
"""Seconds without any worker before the run is given up: a node may come back, and a network file system may be late."""


@dataclass
class _Member:
    """An actor, and the call that is under way.

    Attributes:
        actor: Ray's handle.
        call: The reference that its answer comes under.
        early: Whether it was started with the run.
        hello: What it said first; None until it has been placed.
    """

    actor: Any
    call: Any
    early: bool
    hello: Hello | None = None


class Cluster:
    """Actors on a Ray cluster, which end with the context.

    Args:
        plan: What to do; it lies in the store's queue already.
        store: The store, a folder that every node sees under the same path.
        address: Of a running cluster, `host:port`; None: it is started on this machine and ends with the context.
        workers: How many; None: as many as the cluster has room for, which may change.
        say: Takes lines for people.
    """

    def __init__(
        self, plan: Plan, store: Store, address: str | None, workers: int | None, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self.plan, self.store, self.address, self.workers = plan, Store(store.folder.absolute()), address, workers
        self._since = plan.path(self.store).stat().st_mtime
        self._say, self._members, self._words = say, list[_Member](), "they said nothing"
        self._refused: list[_Member] = []
        self._deaths, self._ended, self._waited = 0, False, False
        self._leases = Leases(self.store.folder, f"ray {socket.gethostname()} {uuid4().hex[:8]}")
        self._slot, self._places, self._counted, self._alone = Slot(0, 1, 1), 0, 0.0, time.monotonic()

    def __enter__(self) -> "Cluster":
        connect(self.address)
        try:
            self._slot = slot(nodes(), self.plan.request.device, self.workers)
            self._fill(len(self.plan.cells), early=True)
        except BaseException:
            self._disconnect()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Asks the workers to finish their batch and waits for them."""
        for member in self._members:
            if member.hello:
                member.actor.stop.remote()
            else:
                ray().kill(member.actor)
        calls = [member.call for member in self._members if member.hello]
        while calls:  # in turns, so that a second Ctrl-C is heard
            _, calls = ray().wait(calls, num_returns=len(calls), timeout=PAUSE)
        self._disconnect()

    def results(self, stopped: Callable[[], bool] = lambda: False) -> Iterator[tuple[Done, int]]:
        """The cells with their numbers, in the order in which they are finished.

        Args:
            stopped: Asked again and again; whether to end.

        Raises:
            KeyboardInterrupt: It was asked to end.
            InputError: A node does not see the store, or the workers end without having done their work.
        """
        return finished(self.plan, self.store, self._since, PAUSE, stopped, self._look_after)

    def _look_after(self, waiting: Sequence[Planned], fresh: bool) -> None:
        if fresh:
            self._deaths = 0
            return
        members = {member.call: member for member in self._members}
        ready, _ = ray().wait(list(members), num_returns=len(members), timeout=0) if members else ([], [])
        for call in ready:
            self._hear(members[call])
        self._fill(len(waiting))
        if any(member.hello for member in self._members):
            self._alone = time.monotonic()
            return
        alone, spent = time.monotonic() - self._alone, self._deaths > self._allowed()
        if not self._members and (spent or alone > LAG):
            names = ", ".join(one.name for one in waiting[:3])
            raise InputError("executor", f"all workers ended, and {len(waiting)} cells are open ({names}): {self._words}")
        if alone > LAG and not self._waited:
            self._waited = True
            self._say("waiting for room in the Ray cluster")

    def _hear(self, member: _Member) -> None:
        """Takes the answer of an actor: its first word, its end, or its death."""
        self._members.remove(member)
        try:
            said = ray().get(member.call)
        except ray().exceptions.RayError as error:
            self._bury(member, error)
            return
        if member.hello is None:
            self._welcome(member, said)
        elif said and member.early:
            raise InputError("executor", f"a worker on {member.hello.host} ended: {said}")
        elif said:
            self._leave_out(member, f"a worker on {member.hello.host} ended: {said}")
        else:
            self._ended = True

    def _welcome(self, member: _Member, hello: Hello) -> None:
        problem, probe = hello.problem, self.store.folder / "queue" / hello.probe
        if not problem and not seen(probe):
            problem = f"has another folder at {self.store.folder}"
        if not problem:
            probe.unlink(missing_ok=True)
            member.hello, member.call = hello, member.actor.work.remote()
            self._members.append(member)
            return
        if member.early:
            raise InputError("store", f"node {hello.host} {problem}", "name a folder that every node of the cluster shares")
        member.hello = hello
        self._leave_out(member, f"node {hello.host} {problem}: it does not take part")

    def _leave_out(self, member: _Member, words: str) -> None:
        """The others go on. The actor stays, idle, so that Ray starts no other one in its place."""
        self._refused.append(member)
        self._words = words
        self._say(words)

    def _bury(self, member: _Member, error: Exception) -> None:
        """A dead worker's leases are free at once. One that went down with its node says nothing against its cell."""
        ray().kill(member.actor)  # one that merely cannot be reached
        self._words, lost = " ".join(str(error).split()[-60:]), False
        if member.hello:
            lost = member.hello.node not in {node["NodeID"] for node in nodes()}
            self._leases.free(member.hello.owner, innocent=lost)
        self._deaths += not lost

    def _fill(self, open_cells: int, early: bool = False) -> None:
        """Starts actors for the places that the cluster has."""
        if early or time.monotonic() - self._counted > LOOK:
            self._counted, known = time.monotonic(), nodes()
            there = {node["NodeID"] for node in known}
            self._refused = [one for one in self._refused if one.hello and one.hello.node in there]
            self._places = self.workers or places(known, self._slot) - len(self._refused)
        if self._ended or self._deaths > self._allowed():
            return
        for _ in range(min(self._places, open_cells) - len(self._members)):
            self._members.append(self._start(early))

    def _start(self, early: bool) -> _Member:
        device = self.plan.request.device if self._slot.gpus else "cpu"
        environment = {name: value for name, value in os.environ.items() if name.startswith("VBENCH_")}
        folders = str(self.store.folder), self.plan.id, self._leases.me.run
        settings = Settings(*folders, device, self._slot.threads, str(Path.cwd()), environment)
        # Ray's own restarts wait for ever for a place that is gone; and `stop` must be heard while `work` runs.
        made = (
            ray()
            .remote(Actor)
            .options(num_gpus=self._slot.gpus, num_cpus=self._slot.cpus, max_restarts=0, max_task_retries=0, max_concurrency=2)
        )
        actor = made.remote(settings)
        return _Member(actor, actor.hello.remote(), early)

    def _allowed(self) -> int:
        return RESTARTS * max(1, self._places)

    @staticmethod
    def _disconnect() -> None:
        ray().shutdown()
