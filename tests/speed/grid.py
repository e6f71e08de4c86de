"""What a grid costs beyond its cells, by default all of it.

python tests/speed/grid.py [reuse] [workers] [overhead] [resume] [decoding]
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from robustvideo.benchmark.evaluation import footage
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.engine.leases import Leases
from robustvideo.benchmark.evaluation.engine.local import Local, Slot
from robustvideo.benchmark.evaluation.engine.partial import Partial
from robustvideo.benchmark.evaluation.engine.plan import Plan, plan
from robustvideo.benchmark.evaluation.engine.worker import work
from robustvideo.benchmark.evaluation.request import Request
from robustvideo.benchmark.evaluation.run import _measure
from robustvideo.benchmark.evaluation.store import Store
from robustvideo.benchmark.evaluation.tables import write_tables

DEFENSES = ["shuffle", "uniform", "smoothing:draws=1", "smoothing:sigma=0.1,draws=1", "smoothing:sigma=0.2,draws=1"]
DEFENSES += ["smoothing:sigma=0.3,draws=1"]

THREADS = torch.get_num_threads()

MODEL = """
import torch
from robustvideo.benchmark import InputSpec, Model
from torch import nn


class Bright(nn.Module):
    def forward(self, clips):
        return clips.mean(dim=(1, 2, 3, 4))[:, None] * torch.arange(8.0)


def build():
    return Model(Bright(), InputSpec(frames=4, size=16, short_side=16), 8)
"""
"""A model that takes no time."""


def seconds(job: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of a job: wall, or with `time.process_time` the processor's, which a busy machine does not stretch."""
    start = clock()
    job()
    return clock() - start


def run(request: Request) -> None:
    """Plans and works in this process, as `vbench run` does."""
    store = Store(Path(request.store))
    found = planned(request)
    found.write(store)
    with Leases(store.folder, "speed") as leases:
        for _ in work(found, store, leases, Bench(batch_size=request.batch_size)):
            pass
    write_tables(store)


def planned(request: Request) -> Plan:
    """The plan of a request."""
    return plan(request, Bench(batch_size=request.batch_size), Store(Path(request.store)))


def reuse(folder: Path, limit: int = 16) -> None:
    """One model, one attack, six defences: made once, or six times."""
    common = {"model": ["tsm"], "attack": ["pgd"], "limit": limit}

    def oblivious(name: str, defenses: list[str]) -> None:
        """Clean, white-box and oblivious cells alone: adaptive ones share nothing."""
        request = Request(**common, defense=defenses, store=str(folder / name))
        store, found = Store(folder / name), planned(request)
        kept = tuple(one for one in found.cells if "adaptive" not in one.name)
        with Leases(store.folder, "speed") as leases:
            chosen = Plan(request, kept)
            chosen.write(store)
            for _ in work(chosen, store, leases, Bench()):
                pass

    oblivious("warm", DEFENSES[:1])
    together = seconds(lambda: oblivious("together", DEFENSES))
    alone = sum(seconds(lambda number=k, one=one: oblivious(f"alone-{number}", [one])) for k, one in enumerate(DEFENSES))
    print(f"6 defences in one grid {together:.1f} s, in six runs {alone:.1f} s: {together / alone:.2f}x  should be <= 0.35x")


def workers(folder: Path, limit: int = 160, steps: int = 50) -> None:
    """Two processes with a thread each against one, over minutes: each takes seconds to start."""
    took = []
    for count in (1, 2):
        attacks = [f"pgd:steps={steps},eps={k}/255" for k in range(1, 9)]
        options: dict[str, Any] = {"split": "test-large", "limit": limit, "store": str(folder / f"{count}"), "executor": "local"}
        request = Request(model=["tsm"], attack=attacks, **options)
        store, found = Store(Path(request.store)), planned(request)
        found.write(store)

        def executed(store: Store = store, found: Plan = found, count: int = count) -> None:
            with Local(found, store, [Slot("cpu", 1)] * count) as local:
                list(local.results())

        took.append(seconds(executed))
    print(f"one worker {took[0]:.1f} s, two {took[1]:.1f} s: {took[0] / took[1]:.2f}x  should be >= 1.7x, on two idle cores")


def decoding(folder: Path) -> None:
    """How long a grid of the fastest models waits for clips, on as many threads as PyTorch takes by itself."""
    waited, load = [0.0], footage.load

    def watched(*given: Any, **more: Any) -> Iterator[Any]:
        batches = load(*given, **more)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            waited[0] += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    footage.load = watched
    torch.set_num_threads(THREADS)
    for name, attacks in (("clean and PGD-10", ["pgd:steps=10"]), ("clean alone", [])):
        waited[0] = 0.0
        request = Request(model=["tsm", "x3d"], attack=attacks, store=str(folder / name))
        took = seconds(lambda request=request: run(request))
        should = "  should be <= 5 %" if attacks else ""
        print(f"tsm and x3d, {name}, {THREADS} threads: {100 * waited[0] / took:.1f} % of {took:.1f} s waiting for clips{should}")
    torch.set_num_threads(1)
    footage.load = load


def trivial(folder: Path, attacks: int, defenses: int = 0) -> Request:
    """A grid of the model that takes no time on one clip, by attacks of a single step."""
    (folder / "model.py").write_text(MODEL, encoding="utf-8")
    asked = [f"pgd:steps=1,eps={k}/10000" for k in range(1, attacks + 1)]
    behind = [f"smoothing:draws=1,sigma={k}/1000" for k in range(1, defenses + 1)]
    model = [f"{folder / 'model.py'}:build"]
    return Request(model=model, attack=asked, defense=behind, limit=1, batch_size=1, store=str(folder / "store"))


def overhead(folder: Path, cells: int = 500) -> None:
    """A grid whose cells do next to nothing, against the passes that they make."""
    request = trivial(folder, cells - 1)
    looked = seconds(lambda: planned(request), time.process_time)
    start = time.perf_counter()
    took = seconds(lambda: run(request), time.process_time) / cells
    wall, measured = (time.perf_counter() - start) / cells, inside(request)
    print(
        f"{cells} trivial cells, CPU: {1000 * took:.1f} ms a cell (on the clock {1000 * wall:.1f}), for attack, checks and probe"
    )
    print(
        f"  {1000 * measured:.1f} ms, for planning {1000 * looked / cells:.2f} ms;"
        f" all but measuring: {1000 * (took - measured):.1f} ms  should be <= 5 ms"
    )


def inside(request: Request, count: int = 50) -> float:
    """CPU seconds of measuring a cell, without its spec and provenance, plan, store, leases and tables."""
    bench, found = Bench(batch_size=1), planned(request)
    cells = [found.cell(one) for one in found.cells[1 : count + 1]]
    _measure(cells[0], bench, Partial(None))
    return seconds(lambda: [_measure(cell, bench, Partial(None)) for cell in cells], time.process_time) / count


def resume(folder: Path, attacks: int = 99, defenses: int = 50) -> None:
    """What is left to do of 10,000 cells that are all stored."""
    request = trivial(folder, attacks, defenses)
    store, found = Store(folder / "store"), planned(request)
    content = {"schema": 1, "spec": {"dtype": "float32", "text": "x" * 2000}, "status": "ok", "clips": {}}
    for one in found.cells:
        path = store.path(one.hash)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content | {"cell": one.hash}, separators=(",", ":")), encoding="utf-8")
    took, busy = seconds(lambda: planned(request)), seconds(lambda: planned(request), time.process_time)
    states = {one.state for one in planned(request).cells}
    print(f"{len(found.cells)} cells, {' and '.join(states)}: known after {took:.2f} s, {busy:.2f} s of CPU  should be <= 3 s")


def main() -> None:
    """Prints the ratios that were asked for."""
    torch.set_num_threads(1)
    jobs = {job.__name__: job for job in (reuse, workers, overhead, resume, decoding)}
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or jobs:
            os.mkdir(f"{folder}/{name}")
            jobs[name](Path(folder) / name)


if __name__ == "__main__":
    main()
