"""How many clips fit into one pass, and into one batch."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ..core.interfaces import Model
from ..core.rng import ClipRandom

T = TypeVar("T")

USUAL = 32
"""Clips per batch where memory allows: on a CPU the tiny models are slower with half and with twice as many."""

WIDEST = 256
"""The same on a GPU, which small models leave idle with fewer."""

WARM = {"cpu": 1 << 30, "cuda": 16 << 30}
"""Bytes that a batch may keep for its gradients. On a CPU full-size models are faster with one or two clips than eight; a GPU
is busy with a dozen of them, and more would only be lost together where a cell is killed."""

SHARE = 0.5
"""Of a device's memory that a batch may take for its gradients; the rest is for kernels, weights and what is kept."""

KEPT = 0.1
"""Of its memory that clips of one kind (decoded, corrupted, resized, adversarial) may take for cells to come."""

NO_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED", "ALLOCATION_FAILED")
"""What errors say that are no `torch.OutOfMemoryError`, but lack of memory: CUDA's, the CPU's, and those of CUDA's libraries."""

SIDE_BY_SIDE = 8
"""Batches of EOT draws that a GPU tries to take in one pass; on a CPU a wider pass gains nothing."""

GROUPS, MINE = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where Linux says how much memory a container or a job may take, and which one a process belongs to."""


class Room:
    """Splits work into passes that fit into memory.

    Args:
        rows: Clips, or draws of clips, per pass.
        batch: Clips per batch; None: as many as in a pass.

    Attributes:
        rows: The same; halved whenever a pass runs out of memory.
        batch: The same; halved where smaller passes are not enough.
    """

    def __init__(self, rows: int, batch: int | None = None) -> None:
        self.rows, self.batch = rows, batch or rows

    def passes(self, count: int, job: Callable[[slice], T], width: int = 1) -> list[T]:
        """Does `job` on slices of `count` items until all are done.

        Args:
            count: How many items.
            job: Works on a slice of them; it is called again with a smaller one where it ran out of memory.
            width: Rows that one item takes.

        Raises:
            torch.OutOfMemoryError: A single item does not fit.
        """
        done, start = [], 0
        while start < count:
            size = min(count - start, max(1, self.rows // width))
            try:
                with lack_of_memory():
                    done.append(job(slice(start, start + size)))
                start += size
                continue
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
            # Only here is the failed pass's memory free: while the error is handled it holds on to it.
            self.rows = max(1, size * width // 2)
            torch.cuda.empty_cache()
        return done


ROOMS: dict[str, Room] = {}
"""The rooms of this process, by device, model and precision: what one cell has learnt, the next one knows."""


def room_for(model: Model, device: torch.device, asked: int | None) -> Room:
    """The room that a model has at first.

    Unless they are asked for, a batch is as many clips as keep at most 1 GiB for their gradients on a CPU, up to 32, or 16 GiB
    and half of the memory on a GPU, up to 256: a power of two.

    Args:
        model: On its device.
        device: The device.
        asked: Clips per batch; None: found by what the model needs and the device has.
    """
    wider, most = (SIDE_BY_SIDE, WIDEST) if device.type == "cuda" else (1, USUAL)
    if asked:
        return Room(asked * wider, asked)
    each, half = _each(model, device), SHARE * memory_of(device)
    batch = min(most, 1 << max(int(min(half, WARM[device.type]) / each), 1).bit_length() - 1)
    return Room(min(batch * wider, max(int(half / each), 1)), batch)


def _each(model: Model, device: torch.device) -> float:
    """Bytes that a clip keeps for its gradient, 1 or more; infinity where not even one fits, as far as can be told."""
    spec = model.input
    try:
        with lack_of_memory():
            return max(kept_bytes(model, torch.zeros(1, 3, spec.frames, spec.size, spec.size, device=device)), 1)
    except torch.OutOfMemoryError:
        return math.inf
    except Exception as error:  # a model without a gradient, say; whether that matters is seen when it is measured
        if device_failed(error):
            raise
        return WARM[device.type] / USUAL


def kept_bytes(model: Model, clips: Tensor) -> int:
    """Bytes that a pass keeps for its gradient, without what the model holds in any case."""
    own = {part.untyped_storage().data_ptr() for part in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # a node that holds its own result, graph and all, would never be let go

    with torch.enable_grad(), saved_tensors_hooks(pack, lambda tensor: tensor):
        scores = model(clips.requires_grad_())
    del scores  # only now may what was kept go, and its addresses be given away
    return sum(kept.values())


def may_keep(device: torch.device) -> int:
    """Bytes of clips of one kind that a process keeps on a device; beyond, what was not used for longest goes."""
    return int(KEPT * memory_of(device))


def memory_of(device: torch.device) -> int:
    """Bytes that a process may take: all of a GPU; of a machine or container, the share that its threads are of the cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), os.cpu_count() or 1
    found, among = min([machine, *_limits()])
    return int(found * min(1.0, torch.get_num_threads() / among))


def _limits() -> list[tuple[int, int]]:
    """Bytes and cores that the control group of this process, and those that it lies in, may take together."""
    found: list[tuple[int, int]] = []
    with suppress(OSError):  # not everywhere
        group = Path(MINE.read_text(encoding="utf-8").rpartition("::")[2].strip().lstrip("/"))
        for folder in (group, *group.parents):
            with suppress(OSError, ValueError):  # there is no such file, or it says "max"
                limit = int((GROUPS / folder / "memory.max").read_text(encoding="utf-8"))
                found.append((limit, _cores_of(GROUPS / folder / "cpuset.cpus.effective")))
    return found


def _cores_of(path: Path) -> int:
    """How many a list like `0-3,8` names; all of the machine where there is none."""
    with suppress(OSError, ValueError):
        ends = [part.partition("-") for part in path.read_text(encoding="utf-8").strip().split(",")]
        return sum(int(last or first) - int(first) + 1 for first, _, last in ends)
    return os.cpu_count() or 1


def again(rng: ClipRandom, stochastic: bool, job: Callable[[], T]) -> T:
    """Does a job; where it runs out of memory the streams are taken back, so that it is made again with the same draws."""
    state = rng.state() if stochastic else []
    try:
        with lack_of_memory():
            return job()
    except torch.OutOfMemoryError:
        if state:
            rng.restore(state)
        raise


@contextmanager
def lack_of_memory() -> Iterator[None]:
    """Makes one error of all those by which PyTorch, CUDA and its libraries say that memory has run out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, torch.OutOfMemoryError) or not _lacks_memory(error):
            raise
        raise torch.OutOfMemoryError(str(error)) from None


def device_failed(error: Exception) -> bool:
    """Whether an error says that this process cannot use its device any more; lack of memory does not."""
    if _lacks_memory(error):
        return False
    known = getattr(torch, "AcceleratorError", ())  # a plain RuntimeError before torch 2.8
    return isinstance(error, known) or isinstance(error, RuntimeError) and str(error).startswith("CUDA error")


def _lacks_memory(error: Exception) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(words in str(error) for words in NO_MEMORY)


def rows_of(rng: ClipRandom, rows: slice) -> ClipRandom:
    """The streams of a slice of clips; all of them as they are."""
    if rows == slice(0, len(rng)):
        return rng
    return rng[torch.arange(rows.start, rows.stop)]
