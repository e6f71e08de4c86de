"""The loader: right clips, stable order, failures told, threads gone; and the transform against PIL."""

import errno
import random
import threading
import time
from pathlib import Path

import av.error
import numpy as np
import pytest
import torch
from PIL import Image
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import ClipRecord, InputSpec
from robustvideo.benchmark.data import loader, video
from robustvideo.benchmark.data.loader import load, read_clip
from robustvideo.benchmark.data.transform import to_input

SPEC = InputSpec(frames=4, size=8, short_side=8)


def folder_clip(root: Path, number: int, frames: int = 8) -> ClipRecord:
    """A frame folder whose frame t is grey of level 10 * number + t."""
    folder = root / f"clip{number}"
    folder.mkdir()
    for t in range(frames):
        Image.fromarray(np.full((8, 12, 3), 10 * number + t, np.uint8)).save(folder / f"{t}.png")
    return ClipRecord(folder.name, folder, number, folder.name)


@pytest.fixture
def records(tmp_path):
    made = [folder_clip(tmp_path, number) for number in range(7)]
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    made.insert(2, ClipRecord("missing", tmp_path / "missing.mp4", 90, "missing"))
    made.insert(5, ClipRecord("broken", tmp_path / "broken.mp4", 91, "broken"))
    return made


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_a_clip_is_the_sampled_frames(records):
    clip = read_clip(records[3], SPEC)
    assert clip.shape == (3, 4, 8, 8) and clip.dtype == torch.uint8 and clip.is_contiguous()
    assert clip[:, :, 0, 0].tolist() == [[21, 23, 25, 27]] * 3


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 20])
def test_everything_comes_in_order_and_failures_are_told(records, batch_size, workers):
    seen = []
    for start, (batch, failures) in zip(range(0, 99, batch_size), load(records, SPEC, batch_size, workers), strict=False):
        chunk = records[start : start + batch_size]
        good = [record for record in chunk if record.label < 90]
        assert [failure.record for failure in failures] == [record for record in chunk if record.label >= 90]
        assert (batch is None) == (not good)
        if batch is not None:
            assert batch.records == good and batch.labels.tolist() == [record.label for record in good]
            assert batch.clips[:, 0, 0, 0, 0].tolist() == [10 * record.label + 1 for record in good]
        seen += chunk
    assert seen == records and not threads()


def test_clips_are_decoded_in_an_order_of_their_own(tmp_path):
    """So that workers that share what they decode seldom decode the same; nobody else's draws are used up."""
    records = [folder_clip(tmp_path, number) for number in range(12)]
    state, orders = random.getstate(), []
    for _ in range(2):
        order = []

        def read(record, spec, order=order):
            order.append(record.label)
            return read_clip(record, spec)

        batches = [batch for batch, _ in load(records, SPEC, 6, 1, read)]
        assert [record for batch in batches for record in batch.records] == records
        assert sorted(order[:6]) == list(range(6)), "the first batch comes first"
        orders.append(order)
    assert orders[0] != orders[1] and random.getstate() == state


def test_reasons_are_one_line_and_name_the_file(records):
    failures = [failure for _, failed in load(records, SPEC, 4, 2) for failure in failed]
    assert "missing.mp4" in failures[0].reason and "no such file" in failures[0].reason
    assert "broken.mp4" in failures[1].reason and "cannot be decoded" in failures[1].reason
    assert not any("\n" in failure.reason for failure in failures)


def test_a_foreign_exception_is_a_failure_too(records, monkeypatch):
    def explode(path, picks, template):
        raise MemoryError("too large")

    monkeypatch.setattr(loader.video, "read_each", explode)
    batch, failures = next(load(records, SPEC, 9, 2))
    assert batch is None and len(failures) == 9 and "MemoryError: too large" in failures[0].reason


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (OSError(errno.ESTALE, "stale"), True),
        (OSError(errno.EMFILE, "too many"), True),
        (OSError(errno.EIO, "a disk"), True),
        (av.error.EOFError(errno.EIO, "a damaged file"), False),  # FFmpeg says so of streams that make no sense
        (av.error.EOFError(errno.EMFILE, "too many"), True),
        (FileNotFoundError(errno.ENOENT, "missing"), False),
        (PermissionError(errno.EACCES, "locked"), False),
    ],
)
def test_a_clip_of_a_lost_file_system_is_no_failed_clip(records, monkeypatch, error, lost):
    """Nothing is known of it; of a missing or a locked file it is known that nobody has it."""

    def fails(*_):
        raise error

    monkeypatch.setattr(video, "read_folder", fails)
    monkeypatch.setattr(video, "_from_file", fails)
    if not lost:
        assert len(next(load(records, SPEC, 9, 2))[1]) == 9
        return
    with pytest.raises(InputError, match=r"dataset: .* cannot be reached: .*; mend that, and run it again"):
        list(load(records, SPEC, 9, 2))
    assert not threads()


def test_a_file_that_ffmpeg_cannot_use_is_read_once_more(records, monkeypatch):
    """FFmpeg says the same of a damaged file and of a disk that fails under it."""
    broken = [record for record in records if record.id == "broken"]

    def away(*_):
        raise OSError(errno.EIO, "a disk")

    assert len(next(load(broken, SPEC, 9, 2))[1]) == 1
    monkeypatch.setattr(video, "_from_file", lambda *_: (_ for _ in ()).throw(av.error.EOFError(errno.EIO, "damaged?")))
    assert len(next(load(broken, SPEC, 9, 2))[1]) == 1
    monkeypatch.setattr(Path, "open", away)
    with pytest.raises(InputError, match="broken.mp4 cannot be reached: a disk"):
        list(load(broken, SPEC, 9, 2))


def test_it_stops_when_the_consumer_stops_and_reads_no_further_than_its_window(records):
    read = []

    def slow(record, spec):
        read.append(record.id)
        time.sleep(0.01)
        return torch.zeros(3, 4, 8, 8, dtype=torch.uint8)

    stream = load(records * 50, SPEC, 2, 2, read=slow)
    next(stream)
    time.sleep(0.15)
    assert threads() and 2 < len(read) <= 2 + 2 + 2 * 2
    stream.close()
    assert not threads() and len(read) <= 2 + 2 + 2 * 2


def test_an_interrupt_goes_through_and_ends_the_threads(records):
    with pytest.raises(KeyboardInterrupt):
        for _ in load(records, SPEC, 2, 2):
            raise KeyboardInterrupt
    assert not threads()


def test_nothing_gives_nothing():
    assert list(load([], SPEC, 4)) == []


@pytest.mark.parametrize(
    ("spec", "batch_size", "workers", "word"),
    [
        (SPEC, 0, 1, "batch_size"),
        (SPEC, 1, 0, "workers"),
        (InputSpec(4, 9, 8), 1, 1, "short side"),
        (InputSpec(0, 8, 8), 1, 1, "frames"),
        (InputSpec(4, 8, 8, resize="stretch", long_side=7), 1, 1, "long_side"),
        (InputSpec(4, 8, 8, resize="cubic"), 1, 1, "antialias, bilinear, stretch"),  # type: ignore[arg-type]
    ],
)
def test_bad_settings_are_refused_at_the_call(spec, batch_size, workers, word):
    with pytest.raises(InputError, match=word):
        load([], spec, batch_size, workers)


@pytest.mark.parametrize("shape", [(48, 80), (80, 48), (51, 50), (20, 33)])
def test_the_transform_is_the_resize_of_pil_and_a_centre_crop(shape):
    frames = np.random.default_rng(0).integers(0, 256, (3, *shape, 3), dtype=np.uint8)
    clip = to_input(frames, InputSpec(3, 24, 32))
    scale = 32 / min(shape)
    height, width = (32 if side == min(shape) else int(side * scale) for side in shape)
    top, left = round((height - 24) / 2), round((width - 24) / 2)
    for t, frame in enumerate(frames):
        small = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))
        wanted = small[top : top + 24, left : left + 24]
        # Both round their weights to whole numbers, in different places.
        assert np.abs(clip[:, t].permute(1, 2, 0).numpy().astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("resize", ["antialias", "bilinear"])
def test_frames_that_fit_are_not_touched(resize):
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 3), dtype=np.uint8)
    clip = to_input(frames, InputSpec(2, 32, 32, resize=resize))
    assert (clip.permute(1, 2, 3, 0).numpy() == frames[:, :, 4:36]).all()


@pytest.mark.parametrize("shape", [(48, 80), (80, 48), (51, 50), (20, 33), (120, 213), (64, 65)])
def test_bilinear_is_the_resize_of_opencv_and_the_crop_of_mmcv(shape):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is the oracle")
    frames = np.random.default_rng(1).integers(0, 256, (3, *shape, 3), dtype=np.uint8)
    clip = to_input(frames, InputSpec(3, 25, 32, resize="bilinear"))
    height, width = (int(side * 32 / min(shape) + 0.5) for side in shape)
    top, left = (height - 25) // 2, (width - 25) // 2
    for t, frame in enumerate(frames):
        wanted = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)[top : top + 25, left : left + 25]
        assert np.abs(clip[:, t].permute(1, 2, 0).numpy().astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("shape", [(240, 320), (128, 171), (90, 60)])
def test_stretch_is_torchvision_s_preset_for_video(shape):
    from torchvision.transforms._presets import VideoClassification

    frames = np.random.default_rng(2).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    clip = to_input(frames, InputSpec(2, 112, 128, resize="stretch", long_side=171))
    preset = VideoClassification(crop_size=(112, 112), resize_size=(128, 171), mean=(0, 0, 0), std=(1, 1, 1))
    wanted = preset(torch.from_numpy(frames).permute(0, 3, 1, 2)) * 255
    assert (clip - wanted).abs().max() <= 1.001


def test_a_part_of_a_video_is_sampled_as_a_video(records, tmp_path):
    whole = records[3]
    part = ClipRecord(whole.id, whole.path, 0, "g", start=2, stop=6)
    assert read_clip(part, SPEC)[0, :, 0, 0].tolist() == [22, 23, 24, 25]
    beyond = ClipRecord(whole.id, whole.path, 0, "g", start=4, stop=99)
    assert read_clip(beyond, SPEC)[0, :, 0, 0].tolist() == [24, 25, 26, 27]
    with pytest.raises(InputError, match="has 8 frames; the clip is to start at frame 8 and end at 8"):
        read_clip(ClipRecord(whole.id, whole.path, 0, "g", start=8), SPEC)
