"""Medians of jobs that take turns, so that a busy moment of the machine hits all of them alike."""

import statistics
import time
from collections.abc import Callable


def medians(jobs: dict[str, Callable[[], object]], runs: int, wait: Callable[[], object] = lambda: None) -> dict[str, float]:
    """Median wall seconds of each job over `runs` rounds, after one round to warm up; `wait` until a device is done."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(runs + 1):
        for name, job in jobs.items():
            wait()
            start = time.perf_counter()
            job()
            wait()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def table(title: str, found: dict[str, float], base: str, should: dict[str, str], extra: dict[str, str] | None = None) -> None:
    """Prints seconds, the ratio to `base`, and what the ratio should be."""
    print(f"\n{title}")
    for name, seconds in found.items():
        note = (extra or {}).get(name, "")
        print(
            f"  {name:<34} {1000 * seconds:9.1f} ms  {seconds / found[base]:5.2f}x  {should.get(name, ''):<22} {note}", flush=True
        )
