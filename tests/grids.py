"""Small grids for whoever runs processes over a store, and models that misbehave."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.engine.plan import Plan, plan
from robustvideo.benchmark.evaluation.request import Request
from robustvideo.benchmark.evaluation.store import Store

MODEL = """
import os
import signal
import time
from pathlib import Path

import torch
from robustvideo.benchmark import InputSpec, Model
from torch import nn


def build(wait: float = 0.0, crime: str = "none", marker: str = "none"):
    class Net(nn.Module):
        def forward(self, clips):
            time.sleep(wait)
            if crime != "none" and clips.requires_grad and not Path(marker).exists():
                commit(crime, Path(marker))
            bright = clips.mean(dim=(1, 2, 3, 4))[:, None]
            moving = clips.diff(dim=2).abs().mean(dim=(1, 2, 3, 4))[:, None]
            return torch.cat([bright * (k % 3 - 1) + 9 * moving * (k % 5 - 2) for k in range(8)], dim=1)

    return Model(Net(), InputSpec(frames=4, size=16, short_side=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)), 8)


def commit(crime, marker):
    if crime.endswith("-once"):
        marker.write_text("done")
    if crime.startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if crime == "exit":
        os._exit(1)
    if crime.startswith("device"):
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
    with Path(str(marker) + ".log").open("a") as log:
        log.write("raised\\n")
    raise RuntimeError("not my day")
"""
"""Crimes are committed where a gradient is asked for: clean and oblivious cells are measured in peace."""

BROKEN = '''
from robustvideo.benchmark.core.attack import Attack


class Broken(Attack):
    """Fails when it is run. Source: none."""

    norm = "linf"
    eps = 0.1

    def run(self, target, clips, labels, rng):
        raise RuntimeError("nothing works")
'''
"""An attack with a bug."""


def model_file(folder: Path) -> Path:
    """The model above as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(MODEL)
    return folder / "model.py"


def asked(**options: Any) -> Request:
    """A request on eight clips."""
    return Request(**{"limit": 8, "device": "cpu"} | options)


def planned(request: Request, bench: Bench | None = None, strict: bool = False) -> Plan:
    """What it comes to."""
    return plan(request, bench or Bench(), Store(Path(request.store)), strict)


def words(store: Path, model: object, *more: object) -> list[str]:
    """Options of a small grid."""
    grid = ["--attack", "pgd:steps=2", "--limit", 8, "--batch-size", 3, "--device", "cpu"]
    return [str(word) for word in ["--model", model, *grid, "--store", store, *more]]


def start(
    *command: str, sitecustomize: Path | None = None, group: bool = False, folder: Path | None = None
) -> "subprocess.Popen[str]":
    """Starts vbench as a process, in a group of its own or another folder if asked."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "160"}
    if sitecustomize:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(sitecustomize), environment.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "robustvideo.benchmark.cli.main", *command],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=group,
        # A test run in the background ignores SIGINT, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finish(*command: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Runs vbench to its end."""
    process = start(*command, **options)
    out, err = process.communicate(timeout=900)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def until(found: Callable[[], Any], seconds: float = 600) -> Any:
    """Waits for something, and returns it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def files(store: Path, kind: str) -> list[Path]:
    """The files of one kind: leases, partial, queue."""
    return list((store / kind).glob("*.json"))


def contents(store: Path) -> dict[str, Any]:
    """All cells but for how they were made."""
    cells = {path.stem: json.loads(path.read_text()) for path in (store / "cells").glob("??/*.json")}
    return {name: {key: value for key, value in cell.items() if key != "provenance"} for name, cell in cells.items()}


def assert_nothing_left(store: Path) -> None:
    """No lease, no kept batches, no plan, no clips."""
    assert [path for kind in ("leases", "partial", "queue") for path in files(store, kind)] == []
    assert list(store.glob("artifacts/*")) == [] and not (store / "clips").exists()


def children(pid: int) -> list[int]:
    """The living processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after[1]) == pid and after[0] not in "ZX":
            found.append(int(path.parent.name))
    return found
