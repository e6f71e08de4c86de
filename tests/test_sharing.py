"""Videos are decoded once: for all views, cells, workers and runs, whether memory holds the clips or not."""

import os
import shutil
import threading
import weakref
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from grids import MODEL, asked, contents
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.integrity import ClipError
from robustvideo.benchmark.core.interfaces import ClipRecord, InputSpec
from robustvideo.benchmark.data import video
from robustvideo.benchmark.data.corrupted import Corrupted
from robustvideo.benchmark.data.loader import load, read_clip, read_views
from robustvideo.benchmark.evaluation import footage, sharing, shelf
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.engine.leases import Leases
from robustvideo.benchmark.evaluation.engine.plan import plan
from robustvideo.benchmark.evaluation.engine.prune import prune
from robustvideo.benchmark.evaluation.engine.summary import Summary
from robustvideo.benchmark.evaluation.engine.worker import work
from robustvideo.benchmark.evaluation.scene import Scene
from robustvideo.benchmark.evaluation.shelf import Shelf, stamp
from robustvideo.benchmark.evaluation.store import Store
from robustvideo.corruptions.digital import Contrast
from test_video import COUNTS, SHARED, needs_videos, write

VIEWS = ["frames=4, size=16, short_side=16", "frames=6, size=12, short_side=20, sampler='dense', interval=2"]
VIEWS += ["frames=3, size=24, short_side=24, resize='bilinear'"]


LEFT = shelf.LEFT


@pytest.fixture(autouse=True)
def room(monkeypatch):
    """On the disk, however full it is."""
    monkeypatch.setattr(shelf, "LEFT", 0.0)


@pytest.fixture
def models(tmp_path):
    """Models that see videos in three ways."""
    specs = []
    for number, view in enumerate(VIEWS):
        path = tmp_path / f"model{number}.py"
        path.write_text(MODEL.replace("frames=4, size=16, short_side=16", view))
        specs.append(f"{path}:build")
    return specs


@pytest.fixture
def decoded(monkeypatch):
    """How often each video was decoded."""
    counts, read = Counter(), video._from_file
    monkeypatch.setattr(video, "_from_file", lambda source, picks: counts.update([str(source)]) or read(source, picks))
    return counts


def worked(request, cells=None):
    """Works on a request in this process; ends after so many cells as a kill would, and otherwise gives them."""
    store, bench = Store(Path(request.store)), Bench(batch_size=3)
    store.writable()
    found = plan(request, bench, store, strict=True)
    found.write(store)
    with Leases(store.folder, "test") as leases:
        for number, _ in enumerate(work(found, store, leases, bench), 1):
            if number == cells:
                return {}
    found.path(store).unlink()
    return contents(store.folder)


@pytest.fixture
def no_room(monkeypatch):
    """Memory that keeps no clips."""
    for module in (sharing, footage):
        monkeypatch.setattr(module, "may_keep", lambda _: 0)


def grid(models, store, **more):
    """Clean and corrupted cells, plain and behind a defence, at two later moments too."""
    how = {"corruption": ["contrast:size=20"], "severity": "1,2", "defense": ["bit-depth"], "shifts": 2, "limit": 5}
    return asked(model=models, store=str(store), **how | more)


@pytest.fixture
def alone(models, tmp_path, monkeypatch):
    """The cells where every scene is decoded for itself."""
    with monkeypatch.context() as patch:
        patch.setattr(Bench, "expect", lambda *_: None)
        return worked(grid(models, tmp_path / "alone"))


def test_each_video_is_decoded_once_for_all_models_and_cells(models, tmp_path, decoded, alone):
    assert min(decoded.values()) > 9, "three views at three moments, and at the corruption's size"
    decoded.clear()
    assert worked(grid(models, tmp_path / "store")) == alone and len(alone) == 18
    assert len(decoded) == 5 and set(decoded.values()) == {1}
    assert not (tmp_path / "store" / "clips").exists(), "the last cell takes the clips away"


def test_also_where_memory_holds_none(models, tmp_path, decoded, alone, no_room):
    decoded.clear()
    assert worked(grid(models, tmp_path / "store")) == alone
    assert len(decoded) == 5 and set(decoded.values()) == {1}


def test_what_memory_holds_for_the_only_view_is_not_written(models, tmp_path, decoded, monkeypatch):
    monkeypatch.setattr(Shelf, "put", lambda *_: pytest.fail("written"))
    worked(asked(model=models[:1], store=str(tmp_path), attack=["pgd:steps=1"]))
    assert len(decoded) == 8 and set(decoded.values()) == {1}


def test_a_killed_run_leaves_its_clips_to_the_next(models, tmp_path, decoded, alone, no_room):
    decoded.clear()
    request = grid(models, tmp_path / "store")
    worked(request, cells=2)
    assert set(decoded.values()) == {1} and prune(Store(tmp_path / "store"))[0] == 0
    assert worked(request) == alone
    assert set(decoded.values()) == {1}, "an open plan's clips are not pruned"
    worked(grid(models, tmp_path / "store", seed=1), cells=1)
    prune(Store(tmp_path / "store"), everything=True)
    assert not (tmp_path / "store" / "clips").exists()


def test_workers_share_them(models, tmp_path, decoded, alone):
    """A second process decodes nothing of what the first one has decoded."""
    decoded.clear()
    request = grid(models, tmp_path / "store", executor="local")
    worked(request, cells=7)
    assert worked(request) == alone
    assert len(decoded) == 5 and set(decoded.values()) == {1}


def test_corruptions_of_the_file_are_made_once_where_memory_is_short(models, tmp_path, decoded, no_room):
    more = {"corruption": ["frame_drop"], "severity": "1", "shifts": 0}
    with_shelf = worked(grid(models[:1], tmp_path / "store", **more))
    assert {cell["status"] for cell in with_shelf.values()} == {"ok"} and len(with_shelf) == 4
    assert set(decoded.values()) == {2}, "plain and corrupted"


@pytest.mark.parametrize("room", [1 << 30, 0])
def test_a_clip_is_corrupted_once_for_all_models_of_one_view(models, tmp_path, monkeypatch, room):
    """In memory, or on the shelf; there the clips of one corruption and severity lie at a time."""
    for module in (sharing, footage):
        monkeypatch.setattr(module, "may_keep", lambda _: room)
    corrupted, most, apply = [], [0], Contrast.apply

    def watched(self, clips, *more):
        corrupted.extend([1] * len(clips))
        most[0] = max(most[0], len(list((tmp_path / "store").glob("clips/*/"))))
        return apply(self, clips, *more)

    monkeypatch.setattr(Contrast, "apply", watched)
    twin = Path(models[0].removesuffix(":build")).with_name("twin.py")
    twin.write_text(MODEL.replace("size=16, short_side=16", "size=8, short_side=8").replace("9 * moving", "8 * moving"))
    request = grid([models[0], f"{twin}:build"], tmp_path / "store", shifts=0, severity="1,2,3")
    assert len(worked(request)) == 16
    assert len(corrupted) == 5 * 3 and most[0] <= 4, "two plain views, the canonical one, and a corrupted one"


def test_the_plan_says_how_much_lies_there(models, tmp_path):
    def of(**more):
        request, bench = asked(store=str(tmp_path), attack=["pgd:steps=1"], limit=5, **more), Bench()
        return Summary.of(plan(request, bench, Store(tmp_path)), bench)

    one = of(model=models[:1])
    assert one.clips_bytes == 0 and "of clips" not in str(one)
    assert of(model=models[:1], executor="local").clips_bytes == 5 * 3 * 4 * 16 * 16
    several = of(model=models)
    assert several.clips_bytes == 5 * 3 * (6 * 12 * 12 + 3 * 24 * 24) and "MB of clips for all" in str(several)


CLIPS = (InputSpec(4, 16, 16), InputSpec(8, 24, 32, sampler="dense", interval=3), InputSpec(5, 20, 20, resize="bilinear"))


def same_alone_and_together(record):
    views = [(spec, moment) for spec in CLIPS for moment in (0, 2)]
    together = list(read_views(record, views))
    assert all(torch.equal(one, read_clip(record, *view)) for one, view in zip(together, views, strict=True))
    assert len(together) == 6


@needs_videos
@pytest.mark.parametrize("name", COUNTS)
def test_a_view_is_the_same_alone_and_with_others(name):
    same_alone_and_together(ClipRecord(name, SHARED / name, 0, name))


@pytest.mark.parametrize("held", [0, 1 << 27])
def test_also_of_a_long_video_and_of_a_part(tmp_path, monkeypatch, held):
    monkeypatch.setattr(video, "HELD_BYTES", held)
    path = write(tmp_path / "a.mp4", 60)
    same_alone_and_together(ClipRecord("a", path, 0, "a"))
    same_alone_and_together(ClipRecord("part", path, 0, "a", start=20, stop=31))


def scenes(path):
    """A clip of a video, and two views of it."""
    record = ClipRecord("a", path, 0, "a")
    return record, [Scene("data", SimpleNamespace(), [record], spec) for spec in CLIPS[:2]]


def sharing_of(folder, scenes, **more):
    made = sharing.Sharing(torch.device("cpu"))
    made.expect([(one, 2) for one in scenes], Shelf(folder, **more))
    return made


def test_a_view_that_cannot_be_made_says_nothing_of_the_first(tmp_path, decoded):
    """Nor does a damaged video cost more than before: its views fail one by one."""
    record, (first, second) = scenes(write(tmp_path / "a.mp4", 30))
    impossible = replace(second, spec=replace(second.spec, sampler="none"))
    wanted = read_clip(record, first.spec)
    decoded.clear()
    shared = sharing_of(tmp_path / "clips", [first, impossible, second])
    assert torch.equal(shared.reader(first)(record, first.spec), wanted)
    with pytest.raises(InputError, match="sampler"):
        shared.reader(impossible)(record, impossible.spec)
    (tmp_path / "a.mp4").write_bytes(b"no video")
    decoded.clear()
    again = sharing_of(tmp_path / "clips", [first, second])
    for one in (first, second):
        with pytest.raises(ClipError, match="cannot be decoded"):
            again.reader(one)(record, one.spec)
    assert set(decoded.values()) == {2}


def test_of_all_views_one_is_in_memory_at_a_time(tmp_path, monkeypatch):
    record, (first, second) = scenes(write(tmp_path / "a.mp4", 30))
    alive = []

    def watched(*given):
        for clip in read_views(*given):
            alive.append(sum(one() is not None for one in seen))
            seen.append(weakref.ref(clip))
            yield clip

    seen = []
    monkeypatch.setattr(sharing, "read_views", watched)
    others = [replace(second, moment=moment) for moment in range(5)]
    sharing_of(tmp_path / "clips", [first, *others]).reader(first)(record, first.spec)
    assert len(alive) == 6 and max(alive) <= 2 and len(list((tmp_path / "clips").glob("*/*"))) == 5


def test_images_of_a_folder_are_read_each_time(tmp_path, monkeypatch):
    """Only those that are wanted are opened, and one may be replaced without a trace."""
    monkeypatch.setattr(sharing, "read_views", lambda *_: pytest.fail("more views than one"))
    record, (first, second) = scenes(tmp_path)
    monkeypatch.setattr(sharing, "read_clip", lambda record, spec, moment: spec)
    shared = sharing_of(tmp_path / "clips", [first, second], shared=True)
    assert shared.reader(first)(record, first.spec) == first.spec and not (tmp_path / "clips").exists()


def test_workers_that_start_together_seldom_decode_the_same(tmp_path, decoded):
    """Two of them, on clips that take a while; each by itself they would decode every one."""
    records = [ClipRecord(str(number), write(tmp_path / f"{number}.mp4", 120), 0, "a") for number in range(24)]
    scene = Scene("data", SimpleNamespace(), records, CLIPS[0])
    together = threading.Barrier(2)

    def one_worker():
        reader = sharing_of(tmp_path / "clips", [scene], shared=True).reader(scene)
        together.wait()
        list(load(records, scene.spec, 24, 2, reader))

    workers = [threading.Thread(target=one_worker) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(decoded) == 24 and sum(decoded.values()) < 40


@pytest.fixture
def kept(tmp_path):
    """Pixels on a shelf, with their clip's stamp, record and spec."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"video")
    record, spec = ClipRecord("a", path, 0, "a"), InputSpec(2, 4, 4)
    pixels = torch.randint(0, 256, (3, 2, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    where = Shelf(tmp_path / "clips")
    where.put("view", stamp(record), pixels)
    return where, record, spec, pixels


def test_a_clip_comes_back_as_it_was(kept):
    where, record, spec, pixels = kept
    clip = stamp(record)
    assert where.has("view", clip) and torch.equal(where.get("view", clip, spec), pixels)
    again = Shelf(where.folder).get("view", clip, spec)
    again.fill_(0)  # it may be written into, and the file is none the wiser
    assert torch.equal(where.get("view", clip, spec), pixels)
    assert where.get("other view", clip, spec) is None and where.get("view", clip, InputSpec(3, 4, 4)) is None
    others = [replace(record, **one) for one in ({"start": 1}, {"stop": 3}, {"id": "b"})]
    assert not any(where.has("view", stamp(one)) for one in others)


@pytest.mark.parametrize("change", [lambda whole: whole[:-1], lambda whole: b"", lambda whole: whole[:50] + b"!" + whole[51:]])
def test_a_torn_file_is_none(kept, change):
    where, record, spec, pixels = kept
    (path,) = (path for path in where.folder.rglob("*") if path.is_file())
    path.write_bytes(change(path.read_bytes()))
    assert where.get("view", stamp(record), spec) is None
    where.put("view", stamp(record), pixels)
    assert torch.equal(where.get("view", stamp(record), spec), pixels)


def test_lack_of_memory_costs_no_clip(kept, monkeypatch):
    where, record, _, pixels = kept
    monkeypatch.setattr(shelf, "write_atomically", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
    where.put("other", stamp(record), pixels)
    assert where.full and stamp(replace(record, path=Path("a\0"))) == ""


def test_of_a_changed_video_nothing_is_known(kept):
    where, record, spec, _ = kept
    os.utime(record.path, (1, 1))
    assert stamp(record) and where.get("view", stamp(record), spec) is None
    record.path.unlink()
    assert stamp(record) == ""


def test_another_corruption_s_or_decoder_s_clips_are_not_taken(kept, monkeypatch):
    where, record, spec, _ = kept
    views = [Scene("data", SimpleNamespace(), [record], spec)]
    how = Corrupted(Contrast(), 3, "contrast", 0, 0, "1")
    others = ({"severity": 4}, {"text": "contrast:size=20"}, {"seed": 1}, {"version": "2"})
    views += [replace(views[0], moment=1), *(replace(views[0], corrupted=replace(how, **one)) for one in ({}, *others))]
    assert len({one.view for one in views}) == len(views) == 7
    monkeypatch.setattr(shelf, "version", lambda name: "another")
    assert Shelf(where.folder).get("view", stamp(record), spec) is None


def test_a_corruption_that_was_changed_is_applied_anew(tmp_path, no_room):
    """A run is killed, its corruption is edited, and the same command goes on: what the killed one has left is not taken."""
    (tmp_path / "model.py").write_text(MODEL)
    request = grid([f"{tmp_path}/model.py:build"], tmp_path / "store", corruption=[f"{tmp_path}/mine.py:Mine"])
    (tmp_path / "mine.py").write_text(MINE)
    worked(request, cells=2)
    assert list((tmp_path / "store").glob("clips/*"))
    (tmp_path / "mine.py").write_text(MINE.replace("// 2", "// 3"))
    assert worked(request).items() >= worked(replace(request, store=str(tmp_path / "fresh"))).items()


MINE = '''
from robustvideo.benchmark.core.corruption import Pixels


class Mine(Pixels):
    """Darker. Source: none."""

    tables = {"imagenet-c-224": (1, 2, 3, 4, 5)}

    def change(self, clips, setting, rng, rate):
        return clips // 2
'''


def test_a_disk_keeps_a_tenth_free(kept, monkeypatch):
    where, record, _, pixels = kept
    where.discard()
    monkeypatch.setattr(shelf, "LEFT", LEFT)
    disk = SimpleNamespace(total=1000, free=100 + pixels.nbytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
    where.put("view", stamp(record), pixels)
    assert where.has("view", stamp(record)) and not where.full
    disk.free -= 1
    where.put("other", stamp(record), pixels)
    assert where.full and not where.has("other", stamp(record)) and where.has("view", stamp(record))


@pytest.mark.parametrize(("number", "full", "left"), [(28, True, False), (122, True, False), (30, True, True), (2, False, True)])
def test_where_the_disk_or_the_quota_is_full_results_get_the_room(kept, monkeypatch, number, full, left):
    """Not so for a disk that is read-only, or a folder that is gone."""

    def fails(*_, **__):
        raise OSError(number, os.strerror(number))

    where, record, _, pixels = kept
    monkeypatch.setattr(shelf, "write_atomically", fails)
    where.put("other", stamp(record), pixels)
    assert where.full is full and where.has("view", stamp(record)) is left


def test_a_full_disk_costs_time_alone(models, tmp_path, decoded, alone, no_room, monkeypatch):
    def fails(*_, **__):
        raise OSError(28, "No space left on device")

    decoded.clear()
    monkeypatch.setattr(shelf, "write_atomically", fails)
    assert worked(grid(models, tmp_path / "store")) == alone
    assert min(decoded.values()) > 9 and not (tmp_path / "store" / "clips").exists()


def test_a_worker_that_is_ended_after_the_last_cell_still_cleans_up(models, tmp_path):
    request = grid(models, tmp_path)
    store, bench = Store(tmp_path), Bench(batch_size=3)
    found = plan(request, bench, store, strict=True)
    found.write(store)
    with Leases(store.folder, "test") as leases:
        for number, _ in enumerate(work(found, store, leases, bench), 1):
            if number == 18:
                assert store.clips.exists()
                bench.stopped = lambda: True
    assert not store.clips.exists()


def test_clips_go_with_the_last_plan_that_needs_them(models, tmp_path):
    """A plan that stays in the queue needs nothing once it is done; one that is open does."""
    store, bench = Store(tmp_path), Bench(batch_size=3)
    first, second = grid(models, tmp_path), grid(models, tmp_path, seed=1)
    for request in (first, second):
        plan(request, bench, store, strict=True).write(store, stays=True)
    worked(first)
    assert store.clips.exists(), "the second plan is open"
    worked(second)
    assert not store.clips.exists()
    plan(second, bench, store, strict=True).write(store, stays=True)
    store.clips.mkdir()
    prune(store)
    assert not store.clips.exists() and not list((tmp_path / "queue").iterdir())


def test_a_plan_or_a_cell_of_another_version_keeps_no_clips_and_ends_no_run(models, tmp_path):
    store, bench = Store(tmp_path), Bench(batch_size=3)
    first, second = grid(models, tmp_path), grid(models, tmp_path, seed=1)
    other = plan(second, bench, store, strict=True)
    cell = store.path(other.cells[0].hash)
    cell.parent.mkdir(parents=True)
    cell.write_text('{"schema":99}')
    os.utime(cell, (1, 1))
    other.write(store)
    (tmp_path / "queue" / "another.json").write_text("{}")
    assert len(worked(first)) == 18 + 1 and not store.clips.exists()
    assert len(list((tmp_path / "queue").iterdir())) == 2
    prune(store)
    assert len(list((tmp_path / "queue").iterdir())) == 2, "whoever wrote them may be at work"
