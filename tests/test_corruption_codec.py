"""Codecs and damaged streams: against FFmpeg's own filter and command line, OpenCV's writer, and rules computed by hand."""

import io
import shutil
import subprocess
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from av.bitstream import BitStreamFilterContext
from miniature import edited, turned
from robustvideo.benchmark.core import codec, integrity, recode, registry
from robustvideo.benchmark.core.codec import Coded
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.integrity import ClipError
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.benchmark.core.storage import from_frames, stored, to_frames
from robustvideo.benchmark.data.shapes import Shapes
from robustvideo.benchmark.data.video import count_frames, read_frames
from robustvideo.corruptions.codec_damage import CHUNK, Noise, _lost, lossy
from skimage import data

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "videos"
SHAPES = sorted((ROOT / "benchmark" / "data" / "shapes" / "shapes").glob("*.mp4"))
ENCODERS = ("h264_crf", "h265_crf", "h264_abr", "h265_abr", "mpeg2", "mpeg4")
DAMAGES = ("bit_error", "packet_loss")
LENGTH = 60
needs_videos = pytest.mark.skipif(not SHARED.is_dir(), reason=f"there are no videos in {SHARED}")


def every(total: int, rate: float) -> list[int]:
    return list(range(total))


def make(name: str, **values):
    return registry.find("corruption", name).create(registry.resolve("corruption", name).values | values)


def streams(seed: int = 0, ids=("clip",)) -> ClipRandom:
    return ClipRandom.for_clips(ids, seed, "test")


def psnr(one, other) -> float:
    return float(10 * np.log10(255**2 / np.mean((np.asarray(one, float) - np.asarray(other, float)) ** 2)))


def panned(frames: int, height: int, width: int) -> np.ndarray:
    """A camera that pans over a photograph, uint8 (T, H, W, 3)."""
    picture = data.astronaut()
    return np.stack([picture[20 + t : 20 + t + height, 60 + 2 * t : 60 + 2 * t + width] for t in range(frames)])


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return panned(16, 224, 224)


@pytest.fixture(scope="module")
def clip(frames) -> torch.Tensor:
    return from_frames(frames)[None]


def write(path: Path, frames: np.ndarray, encoder: str = "libx264", rate=25, colour: int | None = None, **options) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=rate, options=options)
        stream.height, stream.width, stream.pix_fmt, stream.thread_count = *frames.shape[1:3], "yuv420p", 1
        if colour is not None:
            stream.codec_context.colorspace = colour
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace=colour)))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Sixty frames of a natural picture, good quality, 30 a second."""
    return write(tmp_path_factory.mktemp("codec") / "video.mp4", panned(LENGTH, 192, 192), rate=30, crf="10")


# Encoders.


@pytest.mark.parametrize("name", ENCODERS)
def test_quality_falls_with_severity_and_repeats_are_equal(clip, name):
    corruption = make(name, stage="frames")
    before = clip.clone()
    levels = []
    for severity in range(1, 6):
        made = corruption.apply(clip, severity, streams())
        assert made.shape == clip.shape and made.dtype == torch.uint8 and (clip == before).all()
        levels.append(psnr(made, clip))
    assert (made == corruption.apply(clip, 5, streams(1))).all()
    assert all(worse < better - 1 for better, worse in zip(levels, levels[1:], strict=False)), levels
    assert levels[0] > 30 and levels[4] < 27


@pytest.mark.parametrize("name", ["mpeg2", "mpeg4"])
@pytest.mark.parametrize("table", ["rose2022", "schiappa2023"])
def test_published_quantisers_end_at_31(clip, name, table):
    corruption = make(name, table=table, stage="frames")
    assert corruption.broken[table] == "saturated"
    levels = [psnr(corruption.apply(clip, severity, streams()), clip) for severity in range(1, 6)]
    assert levels[0] > levels[1] + 1.5 and max(levels[1:]) - min(levels[1:]) < 0.6
    frames, encoding = to_frames(clip[0]), codec.fixed_quantiser({"mpeg2": "mpeg2video"}.get(name, name), 31)
    worst = psnr(codec.decode(codec.encode(frames, encoding), encoding.decoder, frames.shape), frames)
    assert abs(levels[1] - worst) < 0.4


@pytest.mark.parametrize("name", (*ENCODERS, *DAMAGES))
@pytest.mark.parametrize("size", [(37, 51), (16, 16), (33, 64)])
def test_odd_and_small_frames(name, size):
    clip = from_frames(panned(5, *size))[None]
    made = make(name, stage="frames").apply(clip, 1, streams())
    assert made.shape == clip.shape and psnr(made, clip) > (8 if "abr" in name else 20)


@pytest.mark.parametrize("name", (*ENCODERS, *DAMAGES))
def test_a_clip_does_not_depend_on_the_others(name):
    ids = ["a", "b", "c"]
    clips = torch.stack([from_frames(panned(6, 96, 112)).roll(8 * shift, -1) for shift in range(3)])
    corruption = make(name, stage="frames")
    together = corruption.apply(clips, 5, streams(3, ids))
    for row, one in enumerate(ids):
        assert (corruption.apply(clips[row : row + 1], 5, streams(3, [one]))[0] == together[row]).all()


@pytest.mark.parametrize("rate", [0.0, 7.3, 12.0, 29.97, 30000 / 1001, 239.76, 1000.0, 0.004])
@pytest.mark.parametrize("encoder", ["libx264", "mpeg2video", "mpeg4"])
def test_any_frame_rate_encodes(encoder, rate):
    frames = panned(3, 32, 32)
    encoding = codec.constant_quality(encoder, 20) if encoder == "libx264" else codec.fixed_quantiser(encoder, 4)
    assert psnr(codec.decode(codec.encode(frames, encoding, rate), encoding.decoder, frames.shape), frames) > 25


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
def test_small_frames_make_the_same_bytes_whatever_lay_in_memory(encoder):
    """x264's AVX-512 code and x265's single coding block make others as soon as memory is used again."""
    path, made = Shapes().records("test")[5].path, set()
    clip = read_frames(path, lambda total, rate: range(total))
    for _ in range(6):
        made.add(b"".join(packet.data for packet in codec.encode(clip, codec.constant_quality(encoder, 23))))
        [np.full(size, 255, np.uint8) for size in (1000, 5000, 20000, 70000, 300000) for _ in range(20)].clear()
    assert len(made) == 1


def test_a_missing_encoder_is_named(video):
    nowhere = codec.Encoding("no_such_encoder", {})
    for call in (lambda: codec.encode(panned(2, 32, 32), nowhere), lambda: recode.reencode(video, nowhere)):
        with pytest.raises(InputError, match="no_such_encoder: this build of FFmpeg has no such encoder"):
            call()


def test_a_refused_size_is_one_line():
    with pytest.raises(InputError, match="libx265 refuses frames of 2x2") as caught:
        codec.encode(panned(2, 2, 2), codec.constant_quality("libx265", 30))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "encoder"), [("mpeg2", "mpeg2video"), ("mpeg4", "mpeg4")])
def test_packets_decode_as_from_a_file(frames, name, encoder):
    """PyAV's packets made of bytes lack the zeros behind them that MPEG-4's decoder reads."""
    for quantiser in (2, 3, 12, 20):
        packets = codec.encode(frames, codec.fixed_quantiser(encoder, quantiser))
        with av.open(io.BytesIO(b"".join(packet.data for packet in packets)), format="m4v" if name == "mpeg4" else None) as file:
            expected = [frame.to_ndarray(format="rgb24", interpolation="BICUBIC") for frame in file.decode(video=0)]
        assert (codec.decode(packets, encoder, frames.shape) == np.stack(expected)).all()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg command")
@pytest.mark.parametrize(
    ("encoding", "arguments"),
    [
        (codec.constant_quality("libx264", 37), "-c:v libx264 -crf 37 -threads 1 -f h264"),
        (codec.constant_quality("libx265", 39), "-c:v libx265 -crf 39 -x265-params log-level=none -f hevc"),
        (codec.average_bits("libx264", 60000), "-c:v libx264 -b:v 60000 -maxrate 60000 -bufsize 60000 -threads 1 -f h264"),
        (codec.fixed_quantiser("mpeg2video", 20), "-c:v mpeg2video -q:v 20 -threads 1 -f mpeg2video"),
        (codec.fixed_quantiser("mpeg2video", 80), "-c:v mpeg2video -q:v 80 -threads 1 -f mpeg2video"),
        (codec.fixed_quantiser("mpeg4", 15), "-c:v mpeg4 -q:v 15 -threads 1 -f m4v"),
        (codec.fixed_quantiser("mpeg4", 45), "-c:v mpeg4 -q:v 45 -threads 1 -f m4v"),
    ],
    ids=lambda value: value.encoder if isinstance(value, codec.Encoding) else "",
)
def test_the_command_line_makes_the_same(frames, encoding, arguments):
    source = "-v error -f rawvideo -pix_fmt rgb24 -s 224x224 -r 25 -i - -pix_fmt yuv420p"
    command = ["ffmpeg", *source.split(), *arguments.split(), "-"]
    theirs = subprocess.run(command, input=frames.tobytes(), capture_output=True, check=True).stdout
    packets = codec.encode(frames, encoding)
    ours = b"".join(packet.data for packet in packets)
    assert abs(len(ours) / len(theirs) - 1) < 0.01
    with av.open(io.BytesIO(theirs), format=arguments.split()[-1]) as file:
        expected = np.stack([frame.to_ndarray(format="rgb24", interpolation="BICUBIC") for frame in file.decode(video=0)])
    assert abs(psnr(codec.decode(packets, encoding.decoder, frames.shape), frames) - psnr(expected, frames)) < 0.2


# Whole files.


@pytest.mark.parametrize("name", ENCODERS)
def test_a_file_becomes_worse_with_severity(video, name):
    original, corruption = read_frames(video, every), make(name)
    levels, sizes, rates = [], [], []
    for severity in (1, 3, 5):
        content = corruption.recode(video, corruption.setting(severity), streams())
        made = read_frames(content, lambda total, rate: rates.append(rate) or list(range(total)))
        assert made.shape == original.shape and rates[-1] == 30
        levels.append(psnr(made, original))
        sizes.append(len(content))
    assert content == corruption.recode(video, corruption.setting(5), streams(1))
    assert levels[0] > levels[1] + 2 > levels[2] + 4, levels
    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize("name", ["h264_abr", "h265_abr"])
def test_the_bit_rate_is_a_fraction_of_the_files(video, name):
    corruption = make(name)
    with av.open(str(video)) as container:
        source = container.bit_rate
    for divisor in (4, 8):
        with av.open(io.BytesIO(corruption.recode(video, divisor, streams()))) as container:
            bits = 8 * sum(packet.size for packet in container.demux(video=0)) / (LENGTH / 30)
        assert 0.5 < bits * divisor / source < 1.15


@pytest.mark.parametrize("colour", [1, 5], ids=["bt709", "bt601"])
@pytest.mark.parametrize("name", ["h264_crf", "h265_crf", "mpeg2", "mpeg4", "packet_loss"])
def test_colours_survive(tmp_path, name, colour):
    path = write(tmp_path / "coloured.mp4", panned(5, 96, 96), colour=colour, crf="10")
    made = read_frames(make(name).recode(path, make(name).setting(1), streams()), every)
    original = read_frames(path, every).astype(float)
    assert np.abs(made.mean((0, 1, 2)) - original.mean((0, 1, 2))).max() < 1


@pytest.mark.parametrize("name", ["h264_crf", "mpeg2", "packet_loss", "bit_error"])
def test_turned_trimmed_and_odd_files(tmp_path, name):
    corruption = make(name)

    def again(path: Path) -> np.ndarray:
        return read_frames(corruption.recode(path, corruption.setting(1), streams()), every)

    path = turned(write(tmp_path / "turned.mp4", panned(4, 64, 96)))
    assert again(path).shape == (4, 96, 64, 3) and psnr(again(path), read_frames(path, every)) > 28
    path = edited(write(tmp_path / "edited.mp4", panned(30, 64, 64), bf="0"), start=10, count=15)
    assert again(path).shape == (15, 64, 64, 3) and psnr(again(path), read_frames(path, every)) > 28
    path = write(tmp_path / "odd.webm", panned(4, 63, 65), encoder="libvpx-vp9", deadline="realtime")
    size = (63, 65) if name == "bit_error" else (62, 64)
    assert again(path).shape == (4, *size, 3)
    assert psnr(again(path), read_frames(path, every)[:, : size[0], : size[1]]) > 28


def sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("name", ["h264_crf", "h265_abr", "bit_error", "packet_loss"])
def test_what_is_no_whole_video_is_one_line(tmp_path, video, name):
    corruption = make(name)
    whole = video.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    middle = len(whole) // 2
    (tmp_path / "hole.mp4").write_bytes(whole[:middle] + bytes(len(whole) // 4) + whole[middle + len(whole) // 4 :])
    (tmp_path / "folder").mkdir()
    long = write(tmp_path / "whole.mkv", panned(60, 64, 64)).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(long[: len(long) * 2 // 3])
    for path, words in (
        (tmp_path / "nothing.mp4", "no such file"),
        (tmp_path / "folder", "not a folder of frames; choose stage=frames"),
        (sound(tmp_path / "sound.mkv"), "no video stream"),
        (tmp_path / "cut.mp4", "cannot be decoded"),
        (tmp_path / "hole.mp4", "damaged|cannot be decoded"),
        (tmp_path / "cut.mkv", "cut off"),
    ):
        with pytest.raises(ClipError, match=words) as caught:
            corruption.recode(path, corruption.setting(3), streams())
        assert "\n" not in str(caught.value) and path.name in str(caught.value)


# Bit errors.


def by_hand(payload: bytes, every: int, total: int = 0) -> tuple[bytes, int]:
    made = bytearray(payload)
    for index, value in enumerate(payload):
        total = (total + value + 1) % 2**32
        if total % every == 0:
            made[index] = total % 256
    return bytes(made), total


@pytest.mark.parametrize("every", [7, 100, 999, 10000, 100000])
def test_the_noise_rule_is_ffmpegs(every):
    rng = np.random.default_rng(every)
    payloads = [rng.integers(0, 256, size, dtype=np.uint8).tobytes() for size in (1, 30000, 17, 250000)]
    noise, total, filtered = Noise(every), 0, BitStreamFilterContext(f"noise={every}")
    changed = 0
    for payload in payloads:
        expected, total = by_hand(payload, every, total)
        made = noise(payload)
        assert made == expected
        assert [bytes(packet) for packet in filtered.filter(codec.to_packet(Coded(payload, 0, 0, True)))] == [made]
        changed += sum(a != b for a, b in zip(payload, made, strict=True))
    assert abs(changed - 280018 / every) < 4 * (280018 / every) ** 0.5 + 1


def test_the_noise_sum_is_of_32_bits():
    noise = Noise(2**31)
    assert noise(b"\xff" * 2**19) == b"\xff" * 2**19
    noise._sum = 2**32 - 256
    assert noise(b"\xff\x00") == b"\x00\x00" and noise._sum == 1


def test_bit_errors_change_the_payload_and_nothing_else(video):
    corruption = make("bit_error")
    assert corruption.stage == "file"
    whole = video.read_bytes()
    with av.open(str(video)) as container:
        payloads = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for setting in (*corruption.tables["yi2021"], 300):
        damaged = corruption.recode(video, setting, streams())
        assert damaged == corruption.recode(video, setting, streams(1)) and len(damaged) == len(whole)
        noise = Noise(setting)
        with av.open(io.BytesIO(damaged)) as container:
            assert [bytes(packet) for packet in container.demux(video=0) if packet.size] == [noise(one) for one in payloads]
        expected = sum(map(len, payloads)) / setting
        assert abs(sum(a != b for a, b in zip(whole, damaged, strict=True)) - expected) < 4 * expected**0.5 + 1
        shown = read_frames(damaged, every)
        assert 0 < len(shown) <= LENGTH and (shown == read_frames(damaged, every)).all()


@pytest.mark.parametrize("name", ["video.ts", "video.avi", "video.mkv", "video.mpg"])
def test_bit_errors_in_any_container(tmp_path, name):
    encoder = {"avi": "mpeg4", "mpg": "mpeg2video"}.get(name[-3:], "libx264")
    path = write(tmp_path / name, panned(40, 128, 128), encoder, b="4M")
    with av.open(str(path)) as container:
        payloads = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    damaged = make("bit_error").recode(path, 10**9, streams())
    assert (read_frames(damaged, every) == read_frames(path, every)).all()
    noise, damaged = Noise(2000), make("bit_error").recode(path, 2000, streams())
    if name[-3:] in ("avi", "mkv"):
        with av.open(io.BytesIO(damaged)) as container:
            assert [bytes(packet) for packet in container.demux(video=0) if packet.size] == [noise(one) for one in payloads]
    shown = read_frames(damaged, every)
    assert 20 < len(shown) <= 41 and (shown[:20] != read_frames(path, every)[:20]).any()


# Packet loss.


def numbered(sizes=(4000, 900, 2500)) -> list[Coded]:
    """Packets of one unit each, filled with their number."""
    units = [b"\0\0\0\1" + bytes([number + 1]) * (size - 4) for number, size in enumerate(sizes)]
    return [Coded(unit, number, number, number == 0) for number, unit in enumerate(units)]


def test_nothing_lost_is_nothing_changed(frames):
    packets = codec.encode(frames, codec.constant_quality("libx264", 23))
    assert lossy(packets, [False] * -(-sum(len(packet.data) for packet in packets) // CHUNK)) == packets
    assert lossy(numbered(), [False] * 6) == numbered()


def test_a_lost_start_joins_two_units():
    # Bytes 2944 to 4415 are lost: the end of the first unit and the start of the second, whose rest the first then ends with.
    first, third = lossy(numbered(), [False, False, True, False, False, False])
    assert first.data == numbered()[0].data[:2944] + bytes([2]) * (4900 - 4416) and first.shown == 0
    assert third == numbered()[2]


def test_a_lost_middle_leaves_all_packets():
    made = lossy(numbered(), [False, True, False, False, False, False])
    assert [len(packet.data) for packet in made] == [4000 - CHUNK, 900, 2500]
    assert [packet.shown for packet in made] == [0, 1, 2]


def test_packet_loss_draws_from_the_seed_alone(video):
    corruption = make("packet_loss")
    assert corruption.tables["yi2021"] == (1, 2, 3, 4, 6)
    made = [corruption.recode(video, 6, streams(seed)) for seed in (0, 0, 1, 2, 3)]
    assert made[0] == made[1] and len(set(made)) > 2
    for content in made:
        shown = read_frames(content, every)
        assert 0 < len(shown) <= LENGTH and (shown == read_frames(content, every)).all()


def test_packets_get_lost_as_often_as_it_says():
    drawn = [_lost(numbered((40000, 900, 60000)), 20, streams(seed)) for seed in range(60)]
    lost, count = sum(map(sum, drawn)), sum(len(one) - 1 for one in drawn)
    assert not any(one[0] for one in drawn) and {len(one) for one in drawn} == {69}
    assert abs(lost - 0.2 * count) < 3 * (count * 0.2 * 0.8) ** 0.5


def test_more_loss_is_worse():
    frames = panned(50, 128, 128)
    packets, levels = codec.encode(frames, codec.constant_quality("libx264", 18)), []
    for percent in make("packet_loss").tables["yi2021"]:
        received = [lossy(packets, _lost(packets, percent, streams(seed))) for seed in range(16)]
        levels.append(np.mean([psnr(codec.decode(one, "h264", frames.shape), frames) for one in received]))
    assert levels == sorted(levels, reverse=True) and levels[0] > levels[4] + 2, levels


def test_more_errors_are_worse():
    settings = make("bit_error").tables["yi2021"]
    payload = np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8)
    hits = [(np.frombuffer(Noise(every)(payload.tobytes()), np.uint8) != payload).sum() for every in settings]
    assert hits == sorted(set(hits))
    levels = []
    for every in (settings[0], settings[-1]):
        made = []
        for shift in range(0, 48, 8):
            frames = panned(40, 128, 128 + shift)
            packets, noise = codec.encode(frames, codec.constant_quality("libx264", 5)), Noise(every)
            damaged = [packet._replace(data=noise(packet.data)) for packet in packets]
            made.append(psnr(codec.decode(damaged, "h264", frames.shape), frames))
        levels.append(np.mean(made))
    assert levels[0] > levels[1] + 2, levels


def test_damaged_clips_keep_their_length_and_hold_the_last_good_frame(frames):
    packets = codec.encode(frames, codec.fixed_quantiser("mpeg2video", 2))
    whole = codec.decode(packets, "mpeg2video", frames.shape)
    made = codec.decode(packets[:5], "mpeg2video", frames.shape)
    assert (made[:5] == whole[:5]).all() and (made[5:] == whole[4]).all()
    key = next(packet.shown for packet in packets[1:] if packet.key)
    made = codec.decode(packets[key:], "mpeg2video", frames.shape)
    assert (made[:key] == whole[key]).all() and (made[key:] == whole[key:]).all()
    assert (codec.decode([], "mpeg2video", frames.shape) == 128).all()
    assert (codec.decode(packets, "mpeg2video", (16, 64, 64, 3)) == 128).all()


def test_no_damage_ends_the_process_on_shipped_clips():
    assert len(SHAPES) > 50
    for seed, path in enumerate(SHAPES[::12]):
        for name, setting in (("bit_error", 50 + 40 * seed), ("packet_loss", 30)):
            content = make(name).recode(path, setting, streams(seed))
            assert_readable(content)


def assert_readable(content: bytes) -> None:
    """It gives frames, the same ones twice, or one clear line."""
    try:
        shown = read_frames(content, every)
    except ClipError as error:
        assert "\n" not in str(error) and "corrupted video" in str(error)
    else:
        assert len(shown) and (shown == read_frames(content, every)).all()


@pytest.mark.parametrize("setting", [20, 100, 400, 2000])
def test_clips_in_memory_stand_any_damage(clip, setting):
    for seed in range(3):
        corruption = make("bit_error", stage="frames")
        shifted = clip[:, :, :, :64, : 64 + 2 * seed].contiguous()
        made = corruption.change(shifted, setting + seed, streams(seed), 25.0)
        assert made.shape == shifted.shape and (made == corruption.change(shifted, setting + seed, streams(seed), 25.0)).all()
        corruption = make("packet_loss", stage="frames")
        made = corruption.change(shifted, 50, streams(seed), 25.0)
        assert made.shape == shifted.shape and (made == corruption.change(shifted, 50, streams(seed), 25.0)).all()


@needs_videos
@pytest.mark.parametrize("name", ["decord_video_90.mov", "decord_video_270.mov", "decord_unordered.mov"])
def test_real_videos(name):
    path = SHARED / name
    total = count_frames(path)
    for corruption in map(make, ("h264_crf", "mpeg4", *DAMAGES)):
        content = corruption.recode(path, corruption.setting(5), streams())
        made = count_frames_of(content)
        assert made == total if corruption.registered[1] in ENCODERS else 0 < made <= total


def count_frames_of(content: bytes) -> int:
    counts = []
    read_frames(content, lambda total, rate: counts.append(total) or [0])
    return counts[0]


@needs_videos
def test_a_real_damaged_video_is_refused():
    for name in ("h264_crf", "bit_error", "packet_loss"):
        with pytest.raises(ClipError, match="Invalid data"):
            make(name).recode(SHARED / "decord_corrupted.mp4", make(name).setting(1), streams())


# Reading what is damaged.


def test_what_decodes_of_a_damaged_file_is_kept(video):
    whole = video.read_bytes()
    assert (read_frames(whole, every) == read_frames(video, every)).all()
    assert [count_frames_of(whole), count_frames(video)] == [LENGTH, LENGTH]
    hole = bytearray(whole)
    hole[len(whole) // 2 : len(whole) * 3 // 4] = bytes(len(whole) * 3 // 4 - len(whole) // 2)
    assert LENGTH // 3 < count_frames_of(bytes(hole)) <= LENGTH
    for content in (b"", b"no video" * 100, whole[:4000]):
        with pytest.raises(ClipError, match="corrupted video: cannot be decoded"):
            read_frames(content, every)


def test_a_stream_without_any_frame_is_one_line(video):
    with av.open(str(video)) as container:
        payloads = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    content = video.read_bytes()
    for payload in payloads:
        content = content.replace(payload, bytes(len(payload)))
    with pytest.raises(ClipError, match="corrupted video: no frame of it decodes"):
        read_frames(content, every)


def test_decoders_and_encoders_run_on_one_thread(video):
    assert codec.created("h264", "r").thread_count == codec.created("libx264").thread_count == 1
    for read in (lambda one: integrity.surviving_frames("video", one), lambda one: integrity.whole_frames(video, one)):
        with av.open(str(video)) as container:
            next(iter(read(container)))
            assert container.streams.video[0].codec_context.thread_count == 1


# Storage as ROSE's.


def by_opencv(path: Path, frames: np.ndarray, rate: float) -> np.ndarray:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate, frames.shape[2:0:-1])
    for frame in frames:
        writer.write(frame[..., ::-1].copy())
    writer.release()
    reader, made = cv2.VideoCapture(str(path)), []
    while (read := reader.read())[0]:
        made.append(read[1][..., ::-1])
    return np.stack(made)


@pytest.mark.parametrize("rate", [25.0, 29.97])
@pytest.mark.parametrize("sigma", [0, 0.08, 0.26])
def test_mp4v_is_opencvs(tmp_path, frames, sigma, rate):
    noisy = frames + 255 * sigma * np.random.default_rng(0).standard_normal(frames.shape)
    noisy = noisy.clip(0, 255).astype(np.uint8)
    theirs, ours = by_opencv(tmp_path / "stored.mp4", noisy, rate), codec.mp4v(noisy, rate)
    assert ours.shape == theirs.shape == frames.shape
    assert abs(psnr(ours, frames) - psnr(theirs, frames)) < 0.2
    assert abs(psnr(ours, noisy) - psnr(theirs, noisy)) < 0.2
    if sigma:
        assert psnr(ours, frames) > psnr(noisy, frames) + 2


def test_mp4v_takes_any_size_and_repeats(frames):
    for height, width in ((224, 224), (37, 51), (16, 17)):
        part = np.ascontiguousarray(frames[:, :height, :width])
        made = codec.mp4v(part, 25)
        assert made.shape == part.shape and (made == codec.mp4v(part, 25)).all() and psnr(made, part) > 28
    clips = torch.stack([from_frames(part), from_frames(part[::-1].copy())])
    assert (stored(clips, "mp4v")[0] == from_frames(made)).all()
