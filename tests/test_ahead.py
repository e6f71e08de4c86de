"""Batches on their way to a GPU, of which there is none here: what is asked of it, and in which order."""

from contextlib import contextmanager

import pytest
import torch
from robustvideo.benchmark.core.interfaces import Batch, ClipRecord
from robustvideo.benchmark.evaluation import ahead
from robustvideo.benchmark.evaluation.ahead import Ahead


def batches(count):
    return [Batch([ClipRecord(str(number), None, 0, "")], torch.full((1, 3, 2, 4, 4), number)) for number in range(count)]


def test_on_a_cpu_nothing_is_done():
    made, here = batches(3), Ahead(torch.device("cpu"))
    for before, batch in zip(made, here.batches(made), strict=True):
        assert batch is before and here.clips(batch) is batch.clips


@pytest.fixture
def gpu(monkeypatch):
    """An `Ahead` that believes in a GPU, and the list of what it asks of it."""
    asked = []

    class Stream:
        def __init__(self, device=None):
            asked.append("a stream")

        def wait_stream(self, other):
            asked.append("wait")

    def to(clips, device, non_blocking):
        assert device.type == "cuda" and non_blocking
        asked.append(f"copy {int(clips.flatten()[0])}")
        return clips.clone()

    monkeypatch.setattr(ahead.torch.cuda, "Stream", Stream)

    @contextmanager
    def on(stream):
        asked.append("aside")
        yield
        asked.append("back")

    monkeypatch.setattr(ahead.torch.cuda, "stream", on)
    monkeypatch.setattr(ahead.torch.cuda, "current_stream", lambda device: Stream.__new__(Stream))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda clips: clips)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda clips, stream: asked.append("kept"))
    monkeypatch.setattr(torch.Tensor, "to", to)
    made = Ahead(torch.device("cuda"))
    assert not asked, "a plan touches no GPU"
    return made, asked


def test_the_next_batch_is_copied_while_one_is_worked_on(gpu):
    there, asked = gpu
    for number, batch in enumerate(there.batches(batches(3))):
        asked.append(f"work on {number}")
        assert torch.equal(there.clips(batch), batch.clips)
    assert asked == [
        *("a stream", "aside", "copy 0", "back"),
        *("aside", "copy 1", "back", "work on 0", "wait", "kept"),
        *("aside", "copy 2", "back", "work on 1", "wait", "kept"),
        *("work on 2", "wait", "kept"),
    ]


def test_a_batch_that_is_looked_at_again_is_copied_again(gpu):
    there, asked = gpu
    (batch,) = there.batches(batches(1))
    assert asked == ["a stream", "aside", "copy 0", "back"]
    there.clips(batch)
    assert asked[4:] == ["copy 0"], "the round is over: nothing of it is kept"


def test_whoever_stops_early_leaves_nothing_behind(gpu):
    there, asked = gpu
    coming = there.batches(batches(3))
    first = next(coming)
    there.clips(first)
    there.clips(first)
    assert asked[-3:] == ["wait", "kept", "copy 0"]
    coming.close()
    assert not there._copies


def test_copies_of_batches_that_nobody_looks_at_do_not_pile_up(gpu):
    there, _ = gpu
    assert [len(there._copies) for _ in there.batches(batches(5))] == [2, 2, 2, 2, 1]
