"""Making a universal perturbation under a cell's threat: it takes long, so what is half made is kept, and gone on with."""

import base64
import io
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from ..core.attack import Attack, State
from ..core.interfaces import Batch
from ..core.rng import ClipRandom
from .bench import Bench
from .cell import Cell
from .crafting import purpose
from .engine.partial import Partial
from .target import CountedTarget

COUNTED = ("gradients", "queries", "zero", "nonfinite", "solved")


class Fitted(NamedTuple):
    """An attack that is ready to run.

    Attributes:
        attack: It, with its perturbation where it is universal.
        cost: How many clips, gradients and queries that took in all; empty where it is not universal.
        state: The last that was kept of its making; empty where nothing was.
    """

    attack: Attack
    cost: dict[str, int]
    state: str = ""


def fit(cell: Cell, bench: Bench, partial: Partial) -> Fitted:
    """The cell's attack; a universal one with its perturbation made on other clips, under the cell's threat.

    Args:
        cell: The cell.
        bench: The live objects.
        partial: Keeps what is half made.

    Raises:
        InputError: There are no other clips to make it on.
        KeyboardInterrupt: Somebody asked to stop.
    """
    attack = bench.attack(cell)
    if not attack.universal:
        return Fitted(attack, {})
    found = bench.fitted_once(cell, lambda: _fit(cell, bench, attack, partial))
    if found.state and found.state != partial.fitting:  # another cell has made it, and what that one kept goes with it
        partial.save_fitting(lambda: found.state, now=True)
    return found


def _fit(cell: Cell, bench: Bench, attack: Attack, partial: Partial) -> Fitted:
    batch = bench.fitting_batch(cell)
    clips, labels = bench.clips(batch)
    target = _InRounds(cell, bench, batch, partial)
    rng = ClipRandom.for_clips(batch.ids, cell.seed, f"fit {purpose(cell)}", bench.device)
    fitted = attack.fit(target, clips, labels, rng)
    cost = {"clips": len(clips), "gradients": int(target.gradients.sum()), "queries": int(target.queries.sum())}
    return Fitted(fitted, cost, partial.fitting)


class _InRounds(CountedTarget):
    """A target that goes on with the round in which the process was killed."""

    def __init__(self, cell: Cell, bench: Bench, batch: Batch, partial: Partial) -> None:
        super().__init__(bench.attacked(cell), batch.labels, cell.threat, False, bench.room(cell), self._worked)
        self._bench, self._partial, self._ids = bench, partial, batch.ids
        self._asked = self._inside = False

    def rounds(self, count: int, save: Callable[[], State], load: Callable[[State], None]) -> Iterator[int]:
        """`range(count)`, from the round where the state was kept."""
        if self._asked:
            raise RuntimeError("an attack's fit may go through one set of rounds, as one state is kept")
        done, self._asked, self._inside = 0, True, True
        state = self._kept()
        if state and state["ids"] == self._ids:  # else one can be decoded that could not, or the other way round
            done = state["done"]
            for name in COUNTED:
                setattr(self, name, state["counted"][name])
            load(state["attack"])
        for number in range(done, count):
            yield number
            stop, whole = self._bench.stopped(), number + 1 == count
            now = stop or whole and self._partial.fitting != ""
            self._partial.save_fitting(lambda done=number + 1: self._state(done, save()), now)
            if stop:
                raise KeyboardInterrupt
        self._inside = False

    def _kept(self) -> State | None:
        content = base64.b64decode(self._partial.fitting)
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True) if content else None

    def _state(self, done: int, attack: State) -> str:
        stream = io.BytesIO()
        counted = {name: getattr(self, name) for name in COUNTED}
        torch.save({"ids": self._ids, "done": done, "counted": counted, "attack": attack}, stream)
        return base64.b64encode(stream.getvalue()).decode()

    def _worked(self, work: int) -> None:
        self._bench.tick(work)
        if not self._inside and self._bench.stopped():  # an attack that makes its perturbation otherwise keeps nothing
            raise KeyboardInterrupt
