"""Defences that change the clip or look at it several times: against PIL, FFmpeg's files, ART, scipy and torchvision."""

import io
from itertools import pairwise

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import Interpolation
from PIL import Image
from robustvideo.benchmark.core import codec, registry
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.defenses import resize_pad
from robustvideo.defenses.bit_depth import BitDepth
from robustvideo.defenses.frame_average import FrameAverage
from robustvideo.defenses.jpeg import Jpeg
from robustvideo.defenses.multiscale import Multiscale, sampled
from robustvideo.defenses.resize_pad import ResizePad
from robustvideo.defenses.temporal_median import TemporalMedian
from robustvideo.defenses.tta import ThreeCrops
from robustvideo.defenses.video_compression import VideoCompression
from scipy import ndimage, special
from skimage import data
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as vision

SURROGATE = [VideoCompression(), VideoCompression(crf=0), Jpeg(), Jpeg(quality=1), BitDepth(), BitDepth(bits=1)]
EXACT = [
    FrameAverage(),
    FrameAverage(k=4),
    TemporalMedian(),
    TemporalMedian(k=4),
    ThreeCrops(),
    ThreeCrops(share=0.1),
    ResizePad(),
]
EXACT += [Multiscale(), Multiscale("2x3/1x100/7")]


def seen(defense, clips, rng) -> list[torch.Tensor]:
    """The clips that the model gets to see."""
    looks = []
    defense.protect(lambda x, rng: looks.append(x) or x.mean(dim=(3, 4)).flatten(1))(clips, rng)
    return looks


def panned(frames: int, height: int, width: int) -> np.ndarray:
    """A camera that pans over a photograph, uint8 (T, H, W, 3)."""
    picture = data.astronaut()
    return np.stack([picture[20 + t : 20 + t + height, 60 + 2 * t : 60 + 2 * t + width] for t in range(frames)])


def as_clip(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames.copy()).permute(3, 0, 1, 2)[None].float() / 255


def as_frames(clip: torch.Tensor) -> np.ndarray:
    levels = clip[0].permute(1, 2, 3, 0).numpy() * 255
    assert np.abs(levels - levels.round()).max() < 1e-4
    return levels.round().astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 7, 9), (5, 17, 11), (8, 1, 1), (2, 2, 31), (3, 24, 24)])
@pytest.mark.parametrize("defense", SURROGATE + EXACT, ids=repr)
def test_any_size_alone_or_in_a_batch(defense, shape, streams):
    clips = torch.rand(4, 3, *shape, generator=torch.Generator().manual_seed(3))
    before = clips.clone()
    whole = seen(defense, clips, streams(4))
    assert torch.equal(clips, before)
    for look in whole:
        assert look.shape == clips.shape and look.dtype == clips.dtype
        assert look.min() >= 0 and look.max() <= 1 + 1e-6
    random = streams(4)
    for number in range(4):
        alone = seen(defense, clips[number : number + 1], random[torch.tensor([number])])
        assert len(alone) == len(whole)
        for one, other in zip(alone, whole, strict=True):
            assert torch.equal(one[0], other[number])


@pytest.mark.parametrize("defense", SURROGATE, ids=repr)
def test_surrogate_gradients_are_taken_at_what_the_model_sees(defense, clips, streams):
    weight = torch.rand(clips.shape, generator=torch.Generator().manual_seed(4))
    scorer = defense.protect(lambda x, rng: (weight * x**2).sum(dim=(2, 3, 4)))
    leaf = clips.clone().requires_grad_()
    (grad,) = torch.autograd.grad(scorer(leaf, streams(5)).sum(), leaf)
    made = defense.purify(clips, streams(5))
    assert not torch.equal(made, clips)
    torch.testing.assert_close(grad, 2 * weight * made)


@pytest.mark.parametrize("defense", EXACT, ids=repr)
def test_exact_gradients_are_those_of_finite_differences(defense, streams):
    clips = torch.rand(2, 2, 5, 4, 6, dtype=torch.double, generator=torch.Generator().manual_seed(5)).requires_grad_()
    scorer = defense.protect(lambda x, rng: (x**2).mean(dim=(3, 4)).flatten(1))
    assert torch.autograd.gradcheck(lambda x: scorer(x, streams(2)), (clips,), eps=1e-7, atol=1e-5, fast_mode=True)


@pytest.mark.parametrize("quality", [75, 50, 25])
def test_jpeg_is_that_of_pil(quality, streams):
    frames = panned(3, 61, 84)
    made = as_frames(Jpeg(quality=quality).purify(as_clip(frames), streams(1)))
    for frame, ours in zip(frames, made, strict=True):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=quality)
        assert np.array_equal(ours, np.asarray(Image.open(file)))


def written_and_read(path, frames: np.ndarray, crf: int) -> np.ndarray:
    """Frames of even sizes through an MP4 file of libx264's on one thread, with FFmpeg's bicubic conversion of colours."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": str(crf)} | codec.repeatable_x264())
        stream.height, stream.width, stream.pix_fmt, stream.thread_count = *frames.shape[1:3], "yuv420p", 1
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv420p", interpolation=Interpolation.BICUBIC)))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        pictures = [frame.reformat(format="rgb24", interpolation=Interpolation.BICUBIC) for frame in container.decode(video=0)]
    return np.stack([picture.to_ndarray() for picture in pictures])


@pytest.mark.parametrize("crf", [18, 28, 35])
@pytest.mark.parametrize(("height", "width"), [(96, 112), (61, 85)])
def test_compression_is_that_of_a_video_file(crf, height, width, streams, tmp_path):
    frames = panned(12, height, width)
    even = frames[:, [*range(height), *[height - 1] * (height % 2)]][:, :, [*range(width), *[width - 1] * (width % 2)]]
    theirs = written_and_read(tmp_path / "clip.mp4", even, crf)
    ours = as_frames(VideoCompression(crf=crf).purify(as_clip(frames), streams(1)))
    assert np.array_equal(ours, theirs[:, :height, :width])


def test_a_higher_rate_factor_or_a_lower_quality_changes_more(streams):
    clip = as_clip(panned(8, 64, 64))
    for defenses in ([VideoCompression(crf=c) for c in (18, 23, 28, 35)], [Jpeg(quality=q) for q in (75, 50, 25)]):
        changes = [float((defense.purify(clip, streams(1)) - clip).square().mean()) for defense in defenses]
        assert changes[0] > 0 and all(less < more for less, more in pairwise(changes))


@pytest.mark.parametrize("defense", [VideoCompression(crf=0), Jpeg(quality=100), BitDepth(bits=8)], ids=repr)
def test_pixels_are_rounded_and_dark_clips_stay_dark(defense, streams):
    """ART guesses the range from the brightest pixel, so a dark clip gets brighter, and cuts 0.6 levels to none."""
    made = defense.purify(torch.full((1, 3, 4, 16, 16), 0.6 / 255), streams(1))
    torch.testing.assert_close(made, torch.full_like(made, 1 / 255))


@pytest.mark.parametrize("bits", [1, 3, 5, 8])
def test_bit_depth_is_arts_feature_squeezing(bits, clips, streams):
    preprocessor = pytest.importorskip("art.defences.preprocessor")
    squeezing = preprocessor.FeatureSqueezing(clip_values=(0, 1), bit_depth=bits)
    theirs, _ = squeezing(clips.numpy())
    made = BitDepth(bits=bits).purify(clips, streams(5))
    np.testing.assert_allclose(made.numpy(), theirs, atol=1e-6)
    levels = np.linspace(0, 1, 2**bits)
    nearest = levels[np.abs(clips.double().numpy()[..., None] - levels).argmin(axis=-1)]
    np.testing.assert_allclose(made.numpy(), nearest, atol=1e-6)


def test_eight_bits_leave_a_decoded_video_as_it_is(streams):
    clip = as_clip(panned(2, 32, 32))
    assert torch.equal(BitDepth(bits=8).purify(clip, streams(1)), clip)


@pytest.mark.parametrize("k", [1, 2, 3, 9])
def test_mean_and_median_over_time_are_scipys(k, clips, streams):
    volume = clips.double().numpy()
    mean = ndimage.uniform_filter1d(volume, 2 * k + 1, axis=2, mode="nearest")
    np.testing.assert_allclose(FrameAverage(k).purify(clips, streams(5)).numpy(), mean, atol=1e-6)
    median = ndimage.median_filter(clips.numpy(), size=(1, 1, 2 * k + 1, 1, 1), mode="nearest")
    assert np.array_equal(TemporalMedian(k).purify(clips, streams(5)).numpy(), median)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_where_frames_tie_the_median_takes_the_nearest(k, clips, streams):
    """Of a still scene the gradient is that of the identity, on every device: it is not left to a sort which frame it was."""
    still = clips[:, :, :1].repeat(1, 1, 8, 1, 1).requires_grad_()
    weight = torch.rand(clips.shape, generator=torch.Generator().manual_seed(6))
    (grad,) = torch.autograd.grad((weight * TemporalMedian(k).purify(still, streams(5))).sum(), still)
    assert torch.equal(grad, weight)


def test_a_flash_vanishes_in_the_median_and_a_static_perturbation_in_neither(clips, streams):
    still = clips[:, :, :1].repeat(1, 1, 8, 1, 1)
    flash = still.clone()
    flash[:, :, 3] = 1 - flash[:, :, 3]
    assert torch.equal(TemporalMedian().purify(flash, streams(5)), still)
    assert not torch.allclose(FrameAverage().purify(flash, streams(5)), still, atol=1e-3)
    p = 0.1 * clips[:, :, 3:4]
    torch.testing.assert_close(FrameAverage().purify(clips + p, streams(5)), FrameAverage().purify(clips, streams(5)) + p)
    torch.testing.assert_close(TemporalMedian().purify(clips + p, streams(5)), TemporalMedian().purify(clips, streams(5)) + p)


def test_the_held_ends_keep_a_flash_in_the_median(clips, streams):
    flash = clips[:, :, :1].repeat(1, 1, 8, 1, 1)
    flash[:, :, 0] = 1 - flash[:, :, 0]
    assert torch.equal(TemporalMedian().purify(flash, streams(5)), flash)


def scale(frames: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return vision.resize(frames, [height, width], InterpolationMode.BILINEAR, antialias=False)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 33), (33, 24)])
def test_three_crops_are_torchvisions(height, width, streams):
    clip = as_clip(panned(2, height, width))
    looks = seen(ThreeCrops(share=0.75), clip, streams(1))
    high, wide = round(0.75 * height), round(0.75 * width)
    centre = vision.center_crop(clip[0], [high, wide])
    top, left = round((height - high) / 2), round((width - wide) / 2)
    first = vision.crop(clip[0], 0 if height > width else top, left if height > width else 0, high, wide)
    last = (height - high, left) if height > width else (top, width - wide)
    crops = [first, centre, vision.crop(clip[0], *last, high, wide)]
    assert len(looks) == 3
    for ours, crop in zip(looks, crops, strict=True):
        torch.testing.assert_close(ours[0], scale(crop, height, width))


@pytest.mark.parametrize("defense", [ThreeCrops(), Multiscale(), Multiscale("1x4/2")], ids=repr)
def test_ensembles_answer_the_log_of_the_mean_score(defense, net, clips, streams):
    looks = seen(defense, clips, streams(5))
    scores = np.mean([special.softmax(net(look).double().numpy(), axis=1) for look in looks], axis=0)
    answer = defense.protect(lambda x, rng: net(x))(clips, streams(5))
    np.testing.assert_allclose(answer.numpy(), np.log(scores), atol=1e-5)
    assert defense.draws == 1


def test_one_view_of_everything_is_the_model_itself(net, clips, streams):
    for defense in (ThreeCrops(share=1.0), Multiscale("1"), Multiscale("1x8")):
        answer = defense.protect(lambda x, rng: net(x))(clips, streams(5))
        torch.testing.assert_close(answer, net(clips).log_softmax(dim=1), atol=1e-5, rtol=0)


def test_scales_by_hand():
    assert sampled(8, 1, 8) == list(range(8))
    assert sampled(8, 2, 8) == [0, 0, 2, 2, 4, 4, 6, 6]
    assert sampled(8, 3, 8) == [0, 0, 0, 3, 3, 6, 6, 6]
    assert sampled(8, 1, 4) == [2, 2, 3, 3, 4, 4, 5, 5]
    assert sampled(7, 2, 3) == [1, 1, 3, 3, 3, 5, 5]
    assert sampled(8, 100, 2) == [3] * 8
    assert sampled(1, 3, 3) == [0]


@pytest.mark.parametrize("frames", [1, 2, 5, 8, 16, 33])
@pytest.mark.parametrize("interval", [1, 2, 3, 12])
@pytest.mark.parametrize("length", [1, 3, 8, 50])
def test_scales_take_evenly_spaced_frames_around_the_middle(frames, interval, length):
    order = sampled(frames, interval, length)
    taken = sorted(set(order))
    assert len(order) == frames and order == sorted(order) and set(taken) <= set(range(frames))
    assert len(taken) == length or length > len(taken) == len(range(0, frames, interval))
    assert all(later - earlier == interval for earlier, later in pairwise(taken))
    assert taken[0] <= frames - 1 - taken[-1] <= taken[0] + 1
    held = torch.nn.functional.interpolate(torch.tensor(taken)[None, None].double(), size=frames, mode="nearest-exact")
    assert held.flatten().tolist() == order


def test_scales_are_frames_of_the_clip(clips, streams):
    looks = seen(Multiscale("1/2/1x4"), clips, streams(5))
    for look, order in zip(looks, (range(8), [0, 0, 2, 2, 4, 4, 6, 6], [2, 2, 3, 3, 4, 4, 5, 5]), strict=True):
        assert torch.equal(look, clips[:, :, list(order)])


def test_resizing_and_padding_are_torchvisions(streams):
    clips = torch.cat([as_clip(panned(2, 40, 56)), 1 - as_clip(panned(2, 40, 56))])
    defense = ResizePad(smallest=1.1, largest=1.5)
    made = defense.purify(clips, streams(2))
    for clip, ours, (factor, down, right) in zip(clips, made, streams(2).uniform((3,)).tolist(), strict=True):
        height, width = 44 + int(factor * 16), 62 + int(factor * 22)
        top, left = int(down * (61 - height)), int(right * (85 - width))
        around = [left, top, 84 - width - left, 60 - height - top]
        padded = vision.pad(scale(clip, height, width), around, fill=0.5)
        torch.testing.assert_close(ours, scale(padded, 40, 56))


def test_the_published_sizes_are_all_drawn_and_no_others(monkeypatch):
    calls = []

    def watched(clips, size):
        calls.append((clips, tuple(size)))
        return clips.new_zeros(*clips.shape[:3], *size)

    monkeypatch.setattr(resize_pad, "resized", watched)
    rng = ClipRandom.for_clips([str(number) for number in range(400)], 0, "test")
    ResizePad().purify(torch.zeros(1, 1, 1, 299, 299).expand(400, -1, -1, -1, -1), rng)
    sides = [size for _, size in calls[::2]]
    assert {height for height, _ in sides} == set(range(310, 331)) and all(height == width for height, width in sides)
    room = set()
    for (height, width), (padded, size) in zip(sides, calls[1::2], strict=True):
        assert padded.shape[3:] == (331, 331) and size == (299, 299)
        rows, columns = (padded[0, 0, 0].amin(dim=dim).eq(0).nonzero().flatten() for dim in (1, 0))
        assert (len(rows), len(columns)) == (height, width) and padded.max() == 0.5
        room |= {(height, 0, int(rows[0])), (height, 1, int(columns[0]))}
    for axis in (0, 1):
        assert {top for height, which, top in room if height == 329 and which == axis} == {0, 1, 2}


def test_all_frames_of_a_clip_are_moved_alike_and_clips_apart(clips, streams):
    still = clips[:1, :, :1].repeat(5, 1, 8, 1, 1)
    made = ResizePad(largest=1.5).purify(still, streams(5))
    assert torch.equal(made, made[:, :, :1].expand_as(made))
    assert len({tuple(one.flatten().tolist()) for one in made}) > 1


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("multiscale:scales=0x3", "no list of scales"),
        ("multiscale:scales=1/2x", "no list of scales"),
        ("resize-pad:smallest=1.5,largest=1.2", "smallest must be at most largest"),
        ("video-compression:crf=52", "from 0 to 51"),
        ("jpeg:quality=0", "from 1 to 100"),
        ("bit-depth:bits=9", "from 1 to 8"),
        ("temporal-median:k=0", "at least 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(spec, told):
    with pytest.raises(InputError, match=told) as failure:
        registry.resolve("defense", spec).create()
    assert "\n" not in str(failure.value)
