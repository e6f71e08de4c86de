"""Decoded clips are kept for whoever sees the same ones, as many as fit."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from grids import MODEL
from PIL import Image
from robustvideo.benchmark.core.interfaces import Batch, ClipRecord, InputSpec
from robustvideo.benchmark.data.corrupted import Corrupted
from robustvideo.benchmark.data.loader import read_clip
from robustvideo.benchmark.evaluation import footage
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.engine.plan import grid_of
from robustvideo.benchmark.evaluation.footage import Footage
from robustvideo.benchmark.evaluation.request import Request
from robustvideo.benchmark.evaluation.scene import Scene
from robustvideo.corruptions.noise import GaussianNoise

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


@pytest.fixture
def videos(tmp_path):
    """Four clips of frames that tell them apart, 40 by 30 pixels."""
    records = []
    for number in range(4):
        folder = tmp_path / f"video{number}"
        folder.mkdir()
        shade = np.linspace(0, 50 * number, 40 * 30 * 3).reshape(30, 40, 3).astype(np.uint8)
        Image.fromarray(shade).save(folder / "0.png")
        records.append(ClipRecord(folder.name, folder, 0, folder.name))
    return records


def corrupts(monkeypatch) -> list[int]:
    """Clips of every call of a corruption."""
    seen, apply = [], GaussianNoise.apply
    monkeypatch.setattr(
        GaussianNoise, "apply", lambda self, clips, *more: (seen.append(len(clips)), apply(self, clips, *more))[1]
    )
    return seen


@pytest.mark.parametrize("sizes", [(8, 16, 4), (16, 8, 4), (4, 8, 16)])
def test_corrupted_clips_are_made_once_for_models_of_every_size(videos, monkeypatch, sizes):
    """At the canonical size; what a model of another size takes is made of that, and is what it would be by itself."""
    how = Corrupted(GaussianNoise(size=16), 3, "noise")
    specs = [InputSpec(frames=2, size=size, short_side=2 * size) for size in sizes]
    wanted = [[how.frames(read_clip(one, how.geometry(spec))[None], [one.id], spec)[0] for one in videos] for spec in specs]
    kept, seen = Footage(torch.device("cpu")), corrupts(monkeypatch)
    for _ in range(2):
        for spec, clips, batch in zip(specs, wanted, (2, 3, 4), strict=True):
            found = list(kept.batches(Scene("data", SimpleNamespace(), videos, spec, how, batch=batch)))
            assert [len(one.ids) for one in found] == [min(batch, 4 - start) for start in range(0, 4, batch)]
            assert torch.equal(torch.cat([one.clips for one in found]), torch.stack(clips))
    assert seen == [2, 2]


def test_another_view_is_corrupted_by_itself(videos, monkeypatch):
    """Another part of the picture, other frames, another strength or corruption; or memory that is too small to keep it."""
    kept, seen = Footage(torch.device("cpu")), corrupts(monkeypatch)
    spec, noise = InputSpec(frames=2, size=8, short_side=8), GaussianNoise(size=16)
    scene = Scene("data", SimpleNamespace(), videos, spec, Corrupted(noise, 3, "noise"), batch=4)
    others = [replace(scene, spec=replace(spec, **one)) for one in ({"frames": 3}, {"short_side": 12}, {"resize": "bilinear"})]
    others += [replace(scene, corrupted=Corrupted(*one)) for one in ((noise, 4, "noise"), (GaussianNoise(size=32), 3, "large"))]
    for one in (scene, *others):
        list(kept.batches(one))
    assert seen == [4] * 6
    small = replace(scene, spec=replace(spec, size=4, short_side=4))
    list(kept.batches(small))
    assert seen == [4] * 6
    monkeypatch.setattr(
        footage, "may_keep", lambda _: 4 * 3 * 2 * 8 * 8
    )  # room for the model's clips, not for the canonical ones
    tight = Footage(torch.device("cpu"))
    for one in (scene, scene, small):
        list(tight.batches(one))
    assert seen == [4] * 8


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
