"""How many clips go into a pass and into a batch: found by memory, and halved where that runs out."""

import dataclasses
import math
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from robustvideo.benchmark.core.interfaces import Batch, ClipRecord, InputSpec, Model
from robustvideo.benchmark.core.registry import ready
from robustvideo.benchmark.evaluation import memory, run
from robustvideo.benchmark.evaluation.api import evaluate
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.cell import Cell
from robustvideo.benchmark.evaluation.grid import resolve_chain
from robustvideo.benchmark.evaluation.measure import judge
from torch import nn

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def seen(net):
    """A cell of the mock model behind a random defence, and a bench that it is measured on."""

    def make(defense="smoothing:sigma=0.05,draws=3", **options):
        data = ready("dataset", "made", type("Made", (), {"classes": tuple("abcdef")})())
        cell = Cell(data, "test", None, ready("model", "mock", net), defense=resolve_chain(defense))
        bench = Bench(**options)
        bench.clean_once = lambda cell, batch, make: make()  # the data set has no records to name the clips by
        return cell, bench

    return make


class Waves(nn.Module):
    """Keeps, for the gradient, what the sine and the cosine are taken of: as many bytes as two clips have."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 4)

    def forward(self, given):
        return self.head(given.sin().cos().mean(dim=(1, 2, 3, 4))[:, None])


@pytest.fixture
def waves():
    return Model(Waves(), InputSpec(frames=2, size=16, short_side=16, mean=(0.0,) * 3, std=(1.0,) * 3), 4).eval()


CLIP = 4 * 3 * 2 * 16 * 16
"""Bytes of one."""


def test_a_pass_keeps_what_its_gradient_needs(waves):
    """Beside the two clips there is the one that normalising keeps, and the number of the head."""
    waves.requires_grad_(False)
    kept = [memory.kept_bytes(waves, torch.zeros(count, 3, 2, 16, 16)) for count in (1, 2, 8)]
    assert 2 * CLIP <= kept[0] <= 3 * CLIP + 100
    assert kept[2] == pytest.approx(8 * kept[0], rel=0.01) and kept[1] == pytest.approx(2 * kept[0], rel=0.01)


def test_weights_are_not_counted_and_gradients_need_not_be_on(waves):
    waves.net.large = nn.Linear(512, 512)
    waves.net.forward = lambda given: waves.net.large(given.flatten(1)[:, :512]).cos()
    with torch.no_grad():
        kept = memory.kept_bytes(waves, torch.zeros(1, 3, 2, 16, 16))
    assert 4 * 512 <= kept <= 3 * CLIP < 4 * 512 * 512


def test_nothing_of_the_pass_stays(waves):
    """A node that keeps its own result, as a sigmoid does, would hold on to itself."""
    made = []
    waves.net.forward = lambda given: (
        made.append(weakref.ref(out := given.sigmoid())) or waves.net.head(out.mean((2, 3, 4))[:, :1])
    )
    assert memory.kept_bytes(waves, torch.zeros(1, 3, 2, 16, 16)) >= CLIP
    assert [kept() for kept in made] == [None]


@pytest.mark.parametrize(
    ("error", "lack", "failed"),
    [
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
            False,
        ),
        (RuntimeError("CUDA error: out of memory"), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True, False),
        (MemoryError("Unable to allocate 3 GiB for an array"), True, False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False, False),
        (ValueError("out of memory lane"), False, False),
    ],
)
def test_lack_of_memory_has_many_words(error, lack, failed):
    def job(rows):
        asked.append(rows)
        if rows.stop - rows.start > 1:
            raise error

    asked, room = [], memory.Room(4)
    assert memory.device_failed(error) is failed
    if lack:
        room.passes(4, job)
        assert len(asked) == 2 + 4 and room.rows == 1
        return
    with pytest.raises(type(error)) as told:
        room.passes(4, job)
    assert told.value is error and not isinstance(error, torch.OutOfMemoryError) and room.rows == 4


def test_a_large_batch_is_no_gain_on_a_cpu(waves, monkeypatch):
    """The shipped models take 32 clips, and full-size ones a few."""
    monkeypatch.setattr(memory, "memory_of", lambda _: 10**12)
    for each, wanted in ((2 * 10**6, 32), (50 * 10**6, 16), (600 * 10**6, 1), (10**10, 1)):
        monkeypatch.setattr(memory, "kept_bytes", lambda model, clips, each=each: each)
        assert memory.room_for(waves, CPU, None).batch == wanted


def test_a_model_without_a_gradient_is_measured_all_the_same(waves, clips, labels):
    """Whatever it is that it cannot do: a cell that needs it says so."""
    net = Model(nn.Identity(), InputSpec(frames=8, size=12, short_side=12), 6).eval()
    net.net.forward = lambda given: torch.from_numpy(given.numpy()).mean(dim=(2, 3, 4)).repeat(1, 2)
    assert memory.room_for(net, CPU, None).batch == memory.USUAL
    assert evaluate(net, (clips, labels))["status"].tolist() == ["ok"]


def test_a_device_that_fails_is_told(waves, monkeypatch):
    def fails(*_):
        raise RuntimeError("CUDA error: made up")

    monkeypatch.setattr(waves.net, "forward", fails)
    with pytest.raises(RuntimeError, match="CUDA error"):
        memory.room_for(waves, CPU, None)


@pytest.mark.parametrize("device", [CPU, GPU])
def test_a_batch_takes_at_most_half_of_the_memory(waves, monkeypatch, device):
    monkeypatch.setattr(memory, "memory_of", lambda _: have)
    monkeypatch.setattr(memory, "kept_bytes", lambda model, clips: 1000)
    monkeypatch.setattr(torch, "zeros", lambda *shape, device: torch.empty(shape))
    for fit in (1, 2, 3, 7, 8, 9, 31, 32, 100, 300, 10**6):
        have = 2000 * fit
        found = memory.room_for(waves, device, None).batch
        assert found <= fit and math.log2(found) % 1 == 0
        assert 2 * found > fit or found == (32 if device is CPU else 256), "the largest such power of two"
    have = 10
    assert memory.room_for(waves, device, None).batch == 1
    assert memory.room_for(waves, device, 5).batch == 5


@pytest.mark.parametrize(("each", "batch", "rows"), [(10**6, 256, 2048), (10**8, 128, 695), (6 * 10**8, 16, 115), (10**11, 1, 1)])
def test_a_batch_on_a_gpu_is_no_larger_than_keeps_it_busy(waves, monkeypatch, each, batch, rows):
    """A dozen clips of a full-size model; draws of EOT lie side by side as far as memory goes."""
    monkeypatch.setattr(memory, "memory_of", lambda _: 139 * 10**9)
    monkeypatch.setattr(memory, "kept_bytes", lambda model, clips: each)
    monkeypatch.setattr(torch, "zeros", lambda *shape, device: torch.empty(shape))
    found = memory.room_for(waves, GPU, None)
    assert (found.batch, found.rows) == (batch, rows)
    asked = memory.room_for(waves, GPU, 5)
    assert (asked.batch, asked.rows) == (5, 40)


def test_a_model_of_which_one_clip_does_not_fit_gets_a_batch_of_one(waves, monkeypatch):
    def none(*_):
        raise torch.OutOfMemoryError("made up")

    monkeypatch.setattr(waves.net, "forward", none)
    assert memory.room_for(waves, CPU, None).batch == 1


def test_a_process_may_take_its_share_of_the_machine_or_container(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    monkeypatch.setattr(memory, "MINE", tmp_path / "mine")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(memory.os, "cpu_count", lambda: 1)
    whole = memory.memory_of(CPU)
    (total,) = [line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")]
    assert whole == pytest.approx(1024 * int(total), rel=0.01)
    monkeypatch.setattr(memory.os, "cpu_count", lambda: 4)
    assert memory.memory_of(CPU) == whole // 4
    (tmp_path / "slurm" / "job7").mkdir(parents=True)
    (tmp_path / "cpuset.cpus.effective").write_text("0-3,8,10-12\n")
    for group in ("/", "/slurm/job7"):  # of a container, which sees only itself, and of a job
        memory.MINE.write_text(f"0::{group}\n")
        for text, wanted in (("max\n", whole), (f"{10**18}\n", whole), ("8000000\n", 8_000_000)):
            (tmp_path / "memory.max").write_text(text)
            assert memory.memory_of(CPU) == (whole // 4 if wanted == whole else wanted // 8), "a job has its cores, too"
    (tmp_path / "slurm" / "job7" / "memory.max").write_text("4000000\n")
    assert memory.memory_of(CPU) == 1_000_000, "the least of them counts, among all cores, as it names none"
    (tmp_path / "slurm" / "job7" / "memory.max").unlink()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 9)
    assert memory.memory_of(CPU) == 8_000_000, "no more than there is"


def test_what_a_batch_is_by_itself_moves_no_number(net, clips, labels, monkeypatch):
    tables = []
    for have in (10**9, 1):
        memory.ROOMS.clear()
        monkeypatch.setattr(memory, "memory_of", lambda _, have=have: have)
        tables.append(evaluate(net, (clips, labels), "pgd:eps=8/255,steps=2", "shuffle"))
        assert {room.batch for room in memory.ROOMS.values()} == {32 if have > 1 else 1}
    numbers = ["cell", "top1", "linf", "l2", "grad_calls", "queries"]
    assert tables[0][numbers].equals(tables[1][numbers])


@pytest.mark.parametrize("defense", ["none", "smoothing:sigma=0.05,draws=3"])
def test_judging_makes_passes_that_fit_and_gives_the_same(seen, net, clips, labels, monkeypatch, defense):
    cell, bench = seen(defense)
    records = [ClipRecord(f"clip{number}", None, int(label), "") for number, label in enumerate(labels)]
    batch = Batch(records, clips)
    wanted = judge(cell, bench, bench.pipeline(cell), batch, clips, labels)
    forward, sizes, sold_out = net.net.forward, [], []

    def small(given):
        if len(given) > 2:
            sold_out.append(len(given))
            raise torch.OutOfMemoryError("made up")
        sizes.append(len(given))
        return forward(given)

    monkeypatch.setattr(net.net, "forward", small)
    found = judge(cell, bench, bench.pipeline(cell), batch, clips, labels)
    for field in dataclasses.fields(found):
        torch.testing.assert_close(getattr(found, field.name), getattr(wanted, field.name))
    assert set(sizes) == {2, 1} and sold_out == [5], "5, then 2 at a time"
    # Another bench of this process, and another cell of the model, know it.
    other, again = seen("shuffle")
    judge(other, again, again.pipeline(other), batch, clips, labels)
    assert sold_out == [5] and again.room(other) is bench.room(cell)


def test_a_clip_that_does_not_fit_alone_is_an_error(seen, net, clips, labels, monkeypatch):
    cell, bench = seen("none")

    def none(given):
        raise torch.OutOfMemoryError("made up")

    pipeline = bench.pipeline(cell)
    monkeypatch.setattr(net.net, "forward", none)
    batch = Batch([ClipRecord(f"clip{number}", None, 0, "") for number in range(5)], clips)
    with pytest.raises(torch.OutOfMemoryError, match="made up"):
        judge(cell, bench, pipeline, batch, clips, labels)


def test_memory_that_runs_out_between_passes_halves_the_batches(seen, net, monkeypatch):
    cell, bench = seen("none")
    fits, tried = 8, []

    def measure(*_):
        tried.append(bench.batch_of(cell))
        if tried[-1] > fits:
            bench.room(cell).rows = 32 if fits else 1
            raise torch.OutOfMemoryError("made up")
        return {"clips": {"correct": [1]}}

    monkeypatch.setattr(Bench, "hash", lambda *_: "0")
    monkeypatch.setattr(Bench, "spec", lambda *_: {})
    monkeypatch.setattr(run, "_measure_batches", measure)
    found = run.run_cell(cell, bench)
    assert (found["status"], found["provenance"]["batch_size"], tried) == ("ok", 8, [32, 16, 8])
    fits = 0
    failed = run.run_cell(cell, bench)
    assert failed["error"] == "OutOfMemoryError: made up" and tried[3:] == [8, 4, 2, 1]
    assert (bench.room(cell).rows, bench.batch_of(cell)) == (32, 8), "one cell that is too large does not make all others slow"
    other = replace(cell, model=ready("model", "other", net))
    assert (bench.room(other).batch, bench.batch_of(other)) == (32, 32), "it is remembered for the model that did not fit"
    again = Bench()
    assert again.batch_of(cell) == 8, "by the whole process"
