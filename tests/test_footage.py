"""Decoded clips are kept for whoever sees the same ones, as many as fit."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from grids import MODEL
from PIL import Image
from robustvideo.benchmark.core.interfaces import Batch, ClipRecord, InputSpec
from robustvideo.benchmark.evaluation import footage
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.engine.plan import grid_of
from robustvideo.benchmark.evaluation.footage import Footage, Scene
from robustvideo.benchmark.evaluation.request import Request

SMALL = InputSpec(frames=2, size=4, short_side=4)


class Memory:
    """Clips in memory, which tell when they are asked for."""

    def __init__(self):
        self.asked = []

    def load(self, records, spec, batch_size):
        self.asked.append(spec)
        yield Batch(records, torch.zeros(len(records), 3, spec.frames, spec.size, spec.size, dtype=torch.uint8)), []


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture
def look(memory, tmp_path):
    """Looks at a scene through one footage, and says whether it had to be read."""
    kept = Footage(torch.device("cpu"))

    def at(spec=SMALL, key="data"):
        before = len(memory.asked)
        (batch,) = kept.batches(Scene(key, memory, [ClipRecord("a", tmp_path, 0, "a")], spec))
        assert tuple(batch.clips.shape[2:]) == (spec.frames, spec.size, spec.size)
        return len(memory.asked) > before

    return at


def test_models_that_only_normalise_otherwise_share_their_clips(look):
    assert look() and not look()
    assert not look(InputSpec(frames=2, size=4, short_side=4, mean=(0, 0, 0), std=(1, 1, 1), channels="BGR"))
    for other in ({"frames": 3}, {"size": 3}, {"short_side": 5}, {"sampler": "dense"}, {"interval": 2}, {"resize": "bilinear"}):
        assert look(replace(SMALL, **other)), other


def test_what_was_not_used_for_longest_goes_first(look, monkeypatch):
    monkeypatch.setattr(footage, "may_keep", lambda _: 2 * 3 * 2 * 4 * 4)
    assert look(key="a") and look(key="b") and not look(key="a"), "two fit"
    assert look(key="c") and not look(key="a"), "a was used after b"
    assert look(key="b")
    big = InputSpec(frames=5, size=4, short_side=4)
    assert look(big) and look(big), "too large to be kept at all"
    assert not look(key="a") and not look(key="b"), "and nothing goes for its sake"


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_clips_that_were_taken_for_one_batch_size_serve_another(tmp_path, monkeypatch, batch):
    """In the batches that reading them gives, failures left where they stood."""
    records = []
    for number in range(7):
        folder = tmp_path / f"clip{number}"
        folder.mkdir()
        if number not in (2, 4):  # the others cannot be decoded
            Image.fromarray(np.full((4, 4, 3), 10 * number, np.uint8)).save(folder / "0.png")
        records.append(ClipRecord(folder.name, folder, 0, folder.name))
    scene = Scene("data", SimpleNamespace(), records, InputSpec(frames=1, size=4, short_side=4), batch=3)
    taken, fresh = Footage(torch.device("cpu")), Footage(torch.device("cpu"))
    list(taken.batches(scene))
    wanted = list(fresh.batches(replace(scene, batch=batch)))
    monkeypatch.setattr(footage, "load", lambda *_, **__: pytest.fail("read twice"))
    found = list(taken.batches(replace(scene, batch=batch)))
    assert [one.ids for one in found] == [one.ids for one in wanted]
    assert all(torch.equal(one.clips, other.clips) for one, other in zip(found, wanted, strict=True))
    assert len(taken.failures(scene)) == 2 and sum(len(one.ids) for one in found) == 5


def test_a_transfer_between_them_is_of_the_same_adversarial_clips(tmp_path):
    specs = []
    for name, changed in (("one", {}), ("grey", {"mean=(0.5, 0.5, 0.5)": "mean=(0.4, 0.4, 0.4)"})):
        text = MODEL
        for old, new in changed.items():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / f"{name}.py").write_text(text)
        specs.append(f"{tmp_path}/{name}.py:build")
    for others in (specs[:2], specs[1::-1]):  # whichever is asked for first
        bench = Bench()
        request = Request(model=others, attack=["pgd:steps=1"], threat=["transfer"], limit=4, device="cpu")
        cells = [cell for cell in grid_of(request).cells() if cell.attack]
        keys = {(cell.source or cell.model).text: set() for cell in cells}
        for cell in cells:
            keys[(cell.source or cell.model).text].add(bench.crafted_key(cell))
        assert len(cells) == 4 and [len(one) for one in keys.values()] == [1, 1]
        assert len(set.union(*keys.values())) == 2
