"""The embedded world on disk: shipped test clips, cached training clips, interruptions, two makers at once."""

import csv
import io
import os
import sys

import numpy as np
import pytest
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.files import sha256
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.data import shapes, shapes_cache, shapes_world
from robustvideo.benchmark.data.video import read_frames


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(shapes_cache.SIZES, "train", 16)
    monkeypatch.setitem(shapes_cache.SIZES, "val", 8)
    return tmp_path / "cache" / "shapes"


def pixels(record):
    return read_frames(record.path, lambda total, rate: list(range(total)))


@pytest.mark.parametrize("variant", shapes_world.VARIANTS)
def test_shipped_clips_are_whole_balanced_and_of_this_world(variant):
    data = resolve("dataset", variant).create()
    records = data.records("test-large")
    assert data.records("test") == records[: shapes.FIRST]
    assert np.bincount([record.label for record in data.records("test")]).tolist() == [shapes.FIRST // 8] * 8
    assert data.classes == shapes_world.CLASSES
    assert np.bincount([record.label for record in records]).tolist() == [shapes.PER_CLASS] * 8
    with (shapes.SHIPPED / f"{variant}.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == [record.id for record in records]
    assert all(sha256(record.path) == row["sha256"] for record, row in zip(records, rows, strict=True))
    files = {path.name for path in (shapes.SHIPPED / variant).iterdir()}
    assert files == {record.path.name for record in records}
    for number in (0, 13, len(records) - 1):
        made = shapes_world.render(variant, records[number].label, number)
        # H.264 at this quality is a few grey levels off; another clip is off by tens.
        assert np.abs(pixels(records[number]).astype(int) - made).mean() < 6, "make the shipped clips anew: see shapes.py"


def test_training_clips_are_made_once_and_are_no_test_clips(cache, tmp_path):
    data = shapes.Shapes()
    train = data.records("train")
    assert [record.label for record in train] == list(range(8)) * 2
    stamp = train[3].path.stat().st_mtime_ns
    assert data.records("train") == train and train[3].path.stat().st_mtime_ns == stamp
    val = data.records("val")
    clips = [pixels(record) for record in [*train, *val]]
    assert all(clip.shape == (shapes_world.FRAMES, shapes_world.SIZE, shapes_world.SIZE, 3) for clip in clips)
    shapes.write_test_split("shapes", tmp_path / "test", 2)
    test = [pixels(record) for record in shapes.Manifest(str(tmp_path / "test" / "shapes.csv")).records("test")]
    assert len({clip.tobytes() for clip in [*clips, *test]}) == len(clips) + len(test) == 40
    assert len({record.id for record in [*train, *val]}) == 24


def test_a_changed_world_gets_another_folder(cache, tmp_path, monkeypatch):
    first = shapes_cache.ensure("shapes", "val")
    changed = tmp_path / "shapes_world.py"
    changed.write_text("# another world\n")
    monkeypatch.setattr(shapes_world, "__file__", str(changed))
    assert shapes_cache.ensure("shapes", "val") != first


def test_an_interrupt_leaves_nothing(cache, monkeypatch):
    def interrupted(path, frames):
        if path.name == "0005.mp4":
            raise KeyboardInterrupt
        path.write_bytes(b"x")

    monkeypatch.setattr(shapes_world, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shapes.Shapes().records("val")
    assert list(cache.iterdir()) == []


def test_of_two_makers_the_first_wins(cache, monkeypatch):
    ready = shapes_cache.ensure("shapes", "val")
    kept = ready.rename(ready.with_name("kept"))
    make = shapes_cache.write_clips

    def late(*arguments):
        make(*arguments)
        kept.rename(ready)

    stamp = (kept / "shapes.csv").stat().st_mtime_ns
    monkeypatch.setattr(shapes_cache, "write_clips", late)
    assert shapes_cache.ensure("shapes", "val") == ready
    assert (ready / "shapes.csv").stat().st_mtime_ns == stamp and len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("VBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="VBENCH_CACHE"):
        shapes.Shapes().records("train")


def test_splits_are_named():
    with pytest.raises(InputError, match="there is test, test-large, train, val"):
        shapes.Shapes().records("validation")


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("VBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert shapes_cache.cache_root() == tmp_path / "robustvideo"


def test_the_bar_is_for_terminals_alone(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, quiet, shown in ((Terminal(), "", True), (Terminal(), "1", False), (io.StringIO(), "", False)):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("VBENCH_NO_PROGRESS", quiet)
        shapes.Shapes().records("val")
        for folder in (shapes_cache.cache_root() / "shapes").iterdir():
            folder.rename(folder.with_name(f"{folder.name}-{len(os.listdir(folder.parent))}"))
        assert bool(stream.getvalue()) == shown


def test_a_maintainer_can_make_the_shipped_clips(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["shapes", "--per-class", "1", "--folder", str(tmp_path / "out")])
    (tmp_path / "out" / "shapes").mkdir(parents=True)
    (tmp_path / "out" / "shapes" / "old.mp4").touch()
    shapes.main()
    names = {f"{variant}{end}" for variant in shapes_world.VARIANTS for end in ("", ".csv")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert len(list((tmp_path / "out" / "shapes").iterdir())) == 8
