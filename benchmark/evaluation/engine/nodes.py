"""Reaching a Ray cluster, and what its nodes have room for."""

import importlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ...core.errors import InputError

ANSWER = 5.0
"""Seconds that a cluster has to answer."""

SETTINGS = 4
"""Type of the frame that both sides of HTTP/2 begin with (RFC 9113, 6.5)."""

OBJECTS = 80 * 2**20
"""Bytes of the object store of a cluster that is started here: nothing but paths and words passes through it."""


class Slot(NamedTuple):
    """What each worker takes of its node.

    Attributes:
        gpus: GPUs.
        cpus: CPUs, as Ray counts them.
        threads: Threads of its computations.
    """

    gpus: int
    cpus: int
    threads: int


def ray() -> Any:
    """The package, which only this executor needs."""
    return importlib.import_module("ray")


def check(address: str | None) -> None:
    """Fails within seconds where there is no Ray, or nobody answers at an address.

    Raises:
        InputError: See above.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is imported, as is the next one
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray()
    except ImportError:
        raise InputError("executor", "ray is not installed", "pip install robustvideo[ray]") from None
    if address is None:
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in address:
        raise InputError("address", f"{address!r} is not host:port", "give that of the cluster's head, such as 10.0.0.1:6379")
    try:
        with socket.create_connection((host, int(port)), ANSWER) as line:
            answers = _speaks_http2(line)
    except (OSError, OverflowError) as error:
        raise InputError("address", f"no Ray cluster answers at {address}: {error}", "start one, or leave it out") from None
    if not answers:
        raise InputError("address", f"what answers at {address} is no Ray cluster", "give the address of its head")


def _speaks_http2(line: socket.socket) -> bool:
    """Whether the other side is a gRPC server, as a head is: `ray.init` itself would wait for minutes for an answer."""
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return True  # it speaks only after a handshake
    line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, SETTINGS, 0, 0, 0, 0, 0)))
    return line.recv(9)[3:4] == bytes((SETTINGS,))


def connect(address: str | None) -> None:
    """Connects this process to a cluster, or starts one.

    Raises:
        InputError: There is none, or it has another version of Python or Ray.
    """
    check(address)
    own: dict[str, Any] = {"object_store_memory": OBJECTS, "include_dashboard": False} if address is None else {}
    before = signal.getsignal(signal.SIGTERM)
    try:
        with _silent():
            ray().init(address=address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **own)
    except Exception as error:  # Ray has its own for some of what is wrong with a cluster
        ray().shutdown()  # of what came about before it failed
        where = f"the cluster at {address}" if address else "a cluster on this machine"
        # A head that wants a token leaves those who bring none without an answer.
        token = "if it was started with a token, set RAY_AUTH_MODE=token here" if isinstance(error, ConnectionError) else ""
        raise InputError("address", f"cannot use {where}: {' '.join(str(error).split())}", token) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's own would end without a word


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing on the process's stderr: Ray's core writes a line a second there while nobody answers, and then raises."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        for one in (kept, nowhere):
            os.close(one)


def slot(among: Sequence[dict[str, Any]], device: str, workers: int | None) -> Slot:
    """What a worker takes: a GPU where there are any, otherwise CPUs.

    Args:
        among: Nodes, as Ray describes them.
        device: As it was asked for: `auto`, `cuda` or `cpu`.
        workers: How many there are to be; None: one per GPU, on CPUs one per two.

    Raises:
        InputError: The cluster has nothing of the kind.
    """
    if device not in ("auto", "cuda", "cpu"):
        raise InputError("device", f"{device!r} cannot be used with Ray, which numbers the GPUs itself", "use auto, cuda or cpu")
    sizes = [(int(node["Resources"].get("GPU", 0)), int(node["Resources"].get("CPU", 0))) for node in among]
    shares = [cpus // gpus for gpus, cpus in sizes if gpus]
    if shares and device != "cpu":
        return Slot(1, min(1, *shares), max(1, min(shares)))
    counts = [cpus for _, cpus in sizes if cpus]
    if device == "cuda" or not counts:
        raise InputError("device", f"the Ray cluster has no {'GPU' if device == 'cuda' else 'CPU'}")
    fitting = [size for size in range(1, max(counts) + 1) if sum(cpus // size for cpus in counts) >= (workers or 1)]
    size = max(fitting, default=1) if workers else min(2, *counts)
    return Slot(0, size, size)


def places(among: Sequence[dict[str, Any]], one: Slot) -> int:
    """How many workers these nodes have room for."""
    kind, size = ("GPU", one.gpus) if one.gpus else ("CPU", one.cpus)
    return sum(int(node["Resources"].get(kind, 0)) // size for node in among)


def nodes() -> list[dict[str, Any]]:
    """The living nodes of the cluster, as Ray describes them."""
    return [node for node in ray().nodes() if node["Alive"]]
