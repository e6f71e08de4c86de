"""Decoding against videos whose frames are known: the frame number stands in each picture as black or white blocks."""

import csv
import hashlib
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from miniature import edited, packed, turned
from PIL import Image
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.integrity import ClipError
from robustvideo.benchmark.data import video
from robustvideo.benchmark.data.frame_folder import natural, template_pattern
from robustvideo.benchmark.data.video import count_frames, read_frames

SHARED = Path(__file__).resolve().parents[2] / "shared" / "videos"
HEIGHT, WIDTH, BLOCK = 48, 128, 16
FAST_VP9 = {"deadline": "realtime", "cpu-used": "8"}
IRREGULAR = [0, 7, 40, 41, 300, 333, 1000, 1001, 1500, 4000]

# True frame counts: index.csv names those of the two ibm files ("Header says 183 frames, 167 decode"); the NASA file has two
# video streams, of 325 and, the larger picture, 390 frames; for the others the header is right.
COUNTS = {
    "decord_unordered.mov": 4,
    "decord_video_0.mov": 3,
    "decord_video_90.mov": 3,
    "decord_video_180.mov": 3,
    "decord_video_270.mov": 3,
    "ibm_max_baseball.mp4": 167,
    "ibm_max_basketball.mp4": 214,
    "inspect_ai_video.mp4": 132,
    "torchcodec_nasa_13013.mp4": 390,
}
needs_videos = pytest.mark.skipif(not SHARED.is_dir(), reason=f"there are no videos in {SHARED}")


def picture(number: int) -> np.ndarray:
    """uint8 (48, 128, 3): sixteen bits in two rows of blocks, red below, so that channels cannot be mixed up unseen."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for bit in range(16):
        row, column = divmod(bit, 8)
        if number >> bit & 1:
            frame[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK] = 255
    frame[2 * BLOCK :, :, 0] = 220
    return frame


def number(frame: np.ndarray) -> int:
    """Which picture a decoded frame is."""
    assert frame.dtype == np.uint8 and frame.shape == (HEIGHT, WIDTH, 3)
    red, green, blue = frame[2 * BLOCK + 4 :].reshape(-1, 3).mean(0)
    assert red > 150 and green < 90 and blue < 90, "the channels are not RGB"
    means = [frame[b // 8 * BLOCK + 4 : b // 8 * BLOCK + 12, b % 8 * BLOCK + 4 : b % 8 * BLOCK + 12].mean() for b in range(16)]
    return sum(1 << bit for bit, mean in enumerate(means) if mean > 128)


def write(path: Path, count: int, codec: str = "libx264", times=None, options=None, b_frames: int | None = None) -> Path:
    """A video of `picture(0)` to `picture(count - 1)`, 25 a second or at `times` (1/1000 s)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = WIDTH, HEIGHT, "yuv420p", 1
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def every(total: int, rate: float) -> list[int]:
    return list(range(total))


FILES = {
    "cfr.mp4": dict(count=40),
    "keyframes.mp4": dict(count=40, options={"g": "5", "bf": "3"}),
    "vfr.mp4": dict(count=40, times=[(IRREGULAR * 4)[i] + 5000 * (i // 10) for i in range(40)]),
    "vfr.mkv": dict(count=40, times=[(IRREGULAR * 4)[i] + 5000 * (i // 10) for i in range(40)]),
    "cfr.mkv": dict(count=40),
    "vp9.webm": dict(count=40, codec="libvpx-vp9", options=FAST_VP9),
    "b_frames.avi": dict(count=40, codec="mpeg4", b_frames=2),
    "one.mp4": dict(count=1),
    "three.mkv": dict(count=3),
}


@pytest.mark.parametrize("name", FILES)
def test_every_frame_comes_out_once_and_in_order(tmp_path, name):
    path = write(tmp_path / name, **FILES[name])
    assert [number(frame) for frame in read_frames(path, every)] == list(range(FILES[name]["count"]))


def test_packed_b_frames_come_out_in_order(tmp_path):
    path = packed(write(tmp_path / "plain.avi", 40, codec="mpeg4", b_frames=1), tmp_path / "packed.avi")
    with av.open(str(path)) as container:
        times = [frame.pts for frame in container.decode(video=0)]
    assert times != sorted(times), "the trap: time stamps do not rise"
    assert [number(frame) for frame in read_frames(path, every)] == list(range(40))


@pytest.mark.parametrize("options", [{"bf": "0"}, {"bf": "2", "g": "10"}])
def test_an_edit_list_decides_which_frames_there_are(tmp_path, options):
    path = edited(write(tmp_path / "edited.mp4", 40, options=options), start=10, count=20)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 40, "the trap: the header counts all frames"
    assert [number(frame) for frame in read_frames(path, every)] == list(range(10, 30))


def test_a_turned_video_comes_out_upright(tmp_path):
    path = write(tmp_path / "turned.mp4", 3)
    stored = read_frames(path, every)
    assert (read_frames(turned(path), every) == stored[:, ::-1].swapaxes(1, 2)).all()


@pytest.mark.parametrize("name", ["cfr.mp4", "vfr.mp4", "b_frames.avi"])
@pytest.mark.parametrize("held", [video.HELD_BYTES, 20_000, 0])
def test_exactly_the_asked_frames_come_out_in_one_pass_and_in_two(tmp_path, monkeypatch, name, held):
    monkeypatch.setattr(video, "HELD_BYTES", held)
    path = write(tmp_path / name, **FILES[name])
    totals = []

    def pick(total, rate):
        totals.append(total)
        return [39, 0, 17, 17, 4]

    assert [number(frame) for frame in read_frames(path, pick)] == [39, 0, 17, 17, 4]
    assert totals == [40]


@pytest.mark.parametrize("name", ["cfr.mp4", "cfr.mkv", "vp9.webm", "b_frames.avi"])
@pytest.mark.parametrize("held", [video.HELD_BYTES, 0])
def test_the_picker_learns_the_frame_rate(tmp_path, monkeypatch, name, held):
    monkeypatch.setattr(video, "HELD_BYTES", held)
    rates = []
    read_frames(write(tmp_path / name, **FILES[name]), lambda total, rate: rates.append(rate) or [0])
    assert rates == [25.0]


def test_frames_in_a_folder_have_no_rate(tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / "1.png")
    rates = []
    read_frames(tmp_path, lambda total, rate: rates.append(rate) or [0])
    assert rates == [0.0]


def test_a_long_video_does_not_stay_in_memory(tmp_path, monkeypatch):
    path = write(tmp_path / "long.mp4", 120)
    alive = Counter()
    decode = video._decode

    def watched(path, container):
        for frame in decode(path, container):
            alive["now"] += 1
            alive["most"] = max(alive.values())
            holder = Holder(frame, alive)
            yield holder

    class Holder:
        """A frame that says when it is let go."""

        def __init__(self, frame, alive):
            self.frame, self.alive = frame, alive

        def __getattr__(self, name):
            return getattr(self.frame, name)

        def __del__(self):
            self.alive["now"] -= 1

    monkeypatch.setattr(video, "_decode", watched)
    monkeypatch.setattr(video, "_upright", lambda reformatter, frame: frame.frame.to_ndarray(format="rgb24"))
    for held, most in ((100_000, 20), (video.HELD_BYTES, 121)):
        alive.clear()
        monkeypatch.setattr(video, "HELD_BYTES", held)
        assert [number(frame) for frame in read_frames(path, lambda total, rate: [total // 2, total - 1])] == [60, 119]
        assert alive["most"] <= most
    assert alive["most"] >= 120


def test_frame_folders_are_read_in_natural_order(tmp_path):
    for index in (0, 1, 2, 10, 11):
        Image.fromarray(picture(index)).save(tmp_path / f"img_{index}.{'png' if index % 2 else 'bmp'}")
    (tmp_path / "notes.txt").write_text("no frame")
    (tmp_path / "._img_3.png").write_bytes(b"a file system's droppings")
    assert [number(frame) for frame in read_frames(tmp_path, every)] == [0, 1, 2, 10, 11]


def test_a_template_chooses_one_series_of_images(tmp_path):
    for index in (1, 2, 10):
        Image.fromarray(picture(index)).save(tmp_path / f"img_{index:05d}.png")
        Image.fromarray(picture(200 + index)).save(tmp_path / f"flow_x_{index:05d}.png")
    with pytest.raises(ClipError, match="several series of images: flow_x_, img_; say which by template"):
        read_frames(tmp_path, every)
    for template in ("img_%05d.png", "img_{:05}.png", "img_{:05d}.png", "img_%d.png", "img_{}.png"):
        assert [number(frame) for frame in read_frames(tmp_path, every, template)] == [1, 2, 10]
    with pytest.raises(ClipError, match="frames are named img_%05d.jpg"):
        read_frames(tmp_path, every, "img_%05d.jpg")
    for wrong in ("img.png", "%d_%d.png", ""):
        with pytest.raises(InputError, match="does not have one number"):
            template_pattern(wrong)


@pytest.mark.parametrize("names", [("a.png", "b.png"), ("clip1_0001.png", "clip1_0002.png"), ("1_of_2.png", "2_of_2.png")])
def test_names_of_one_series_need_no_template(tmp_path, names):
    for index, name in enumerate(names):
        Image.fromarray(picture(index)).save(tmp_path / name)
    assert [number(frame) for frame in read_frames(tmp_path, every)] == [0, 1]


def test_grey_frames_become_rgb(tmp_path):
    Image.fromarray(np.full((8, 9), 77, np.uint8)).save(tmp_path / "1.png")
    frames = read_frames(tmp_path, every)
    assert frames.shape == (1, 8, 9, 3) and (frames == 77).all()


def test_natural_order():
    names = ["g1.jpg", "f10.jpg", "f2.jpg", "1.jpg", "f01.jpg"]
    assert sorted(names, key=natural) == ["1.jpg", "f01.jpg", "f2.jpg", "f10.jpg", "g1.jpg"]


def fails(path: Path, *words: str) -> str:
    with pytest.raises(ClipError) as caught:
        read_frames(path, lambda total, rate: [0])
    text = str(caught.value)
    assert isinstance(caught.value, InputError) and "\n" not in text and path.name in text
    for word in words:
        assert word in text
    return text


def test_what_is_no_video_says_so(tmp_path):
    fails(tmp_path / "nothing.mp4", "no such file")
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", "no frames")
    (tmp_path / "zero.mp4").touch()
    fails(tmp_path / "zero.mp4", "cannot be decoded")
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    fails(tmp_path / "text.mp4", "cannot be decoded")
    (tmp_path / "short.mkv").write_bytes(bytes.fromhex("1a45dfa3"))
    fails(tmp_path / "short.mkv", "cannot be decoded")


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    fails(tmp_path / "sound.mkv", "no video stream")


def test_a_damaged_frame_is_named(tmp_path):
    for index in range(3):
        Image.fromarray(picture(index)).save(tmp_path / f"{index}.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    with pytest.raises(ClipError, match=r"1\.png"):
        read_frames(tmp_path, every)
    assert number(read_frames(tmp_path, lambda total, rate: [2])[0]) == 2


def test_frames_of_two_sizes_are_refused(tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / "0.png")
    Image.fromarray(picture(0)[:20]).save(tmp_path / "1.png")
    with pytest.raises(ClipError, match="2 sizes"):
        read_frames(tmp_path, every)


CONTAINERS = {
    "mp4": {},
    "mkv": {},
    "webm": dict(codec="libvpx-vp9", options=FAST_VP9),
    "avi": dict(codec="mpeg4", b_frames=2),
}


@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("kept", [0.4, 0.8])
def test_a_file_that_is_cut_off_never_gives_fewer_frames(tmp_path, suffix, kept):
    path = write(tmp_path / f"cut.{suffix}", 60, **CONTAINERS[suffix])
    assert count_frames(path) == 60
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    fails(path)


@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize(("start", "end"), [(0.5, 0.75), (0.2, 0.7)])
def test_a_hole_in_the_middle_never_gives_fewer_frames(tmp_path, suffix, start, end):
    path = write(tmp_path / f"hole.{suffix}", 120, **CONTAINERS[suffix])
    data = path.read_bytes()
    first, last = int(len(data) * start), int(len(data) * end)
    path.write_bytes(data[:first] + bytes(last - first) + data[last:])
    fails(path)


@needs_videos
def test_all_shared_videos_are_known_and_whole():
    with (SHARED / "index.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["file"] for row in rows} == set(COUNTS) | {"decord_corrupted.mp4"}
    for row in rows:
        assert hashlib.sha256((SHARED / row["file"]).read_bytes()).hexdigest() == row["sha256"]


@needs_videos
@pytest.mark.parametrize("name", COUNTS)
def test_real_videos_give_their_true_frame_count(name):
    assert count_frames(SHARED / name) == COUNTS[name]


@needs_videos
def test_a_real_damaged_video_fails_with_a_reason():
    fails(SHARED / "decord_corrupted.mp4", "Invalid data")


@needs_videos
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotated_videos_come_out_upright(degrees):
    frames = read_frames(SHARED / f"decord_video_{degrees}.mov", every)
    assert frames.shape == (3, 320, 568, 3) if degrees % 180 == 0 else frames.shape == (3, 568, 320, 3)
    with av.open(str(SHARED / f"decord_video_{degrees}.mov")) as container:
        stored = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    # The phone was turned clockwise by so much, so the stored picture is turned back: one step of axes at a time, by hand.
    for frame, raw in zip(frames, stored, strict=True):
        turned = {0: raw, 90: raw[::-1].swapaxes(0, 1), 180: raw[::-1, ::-1], 270: raw.swapaxes(0, 1)[::-1]}[degrees]
        assert (frame == turned).all()
