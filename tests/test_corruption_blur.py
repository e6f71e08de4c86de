"""Blurs against the `imagecorruptions` package, on natural pictures, with the same draws; and their two ways of computing."""

import cv2
import numpy as np
import pytest
import torch
from imagecorruptions import corruptions as reference
from numba import njit
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.corruptions import blur_ops
from robustvideo.corruptions.blur import DefocusBlur, GaussianBlur, GlassBlur, MotionBlur, ZoomBlur, motion_blur_frames
from scipy.stats import chisquare
from skimage import data
from skimage.filters import gaussian

SEVERITIES = range(1, 6)
PLAIN = {"gaussian_blur": GaussianBlur, "defocus_blur": DefocusBlur, "zoom_blur": ZoomBlur}


def pictures():
    """Three natural pictures, one of them not square."""
    return [
        cv2.resize(data.astronaut(), (224, 224), interpolation=cv2.INTER_AREA),
        np.ascontiguousarray(data.chelsea()[20:244, 90:314]),
        np.ascontiguousarray(data.coffee()[60:230, 100:331]),
    ]


def clip_of(*frames):
    """(1, 3, T, H, W)."""
    return torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2)[None].contiguous()


def frames_of(clips):
    """The first clip's (T, H, W, 3)."""
    return clips[0].permute(1, 2, 3, 0).numpy()


def draws(*ids):
    return ClipRandom.for_clips(ids or ["clip"], 0, "test")


def close(ours, theirs, share=0.005):
    """Within one level, and that in few places only."""
    off = np.abs(ours.astype(int) - theirs.astype(int))
    assert off.max() <= 1
    assert (off > 0).mean() <= share


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", PLAIN)
def test_equals_imagecorruptions(name, severity):
    for picture in pictures():
        theirs = np.uint8(getattr(reference, name)(picture, severity))
        close(frames_of(PLAIN[name]().apply(clip_of(picture), severity, draws()))[0], theirs)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_tiny_tables(severity, monkeypatch):
    """The 64-pixel numbers through the reference's own parts."""
    picture = cv2.resize(data.astronaut(), (64, 64), interpolation=cv2.INTER_AREA)
    clip = clip_of(picture)

    sigma = (0.5, 0.75, 1, 1.25, 1.5)[severity - 1]
    theirs = np.uint8(gaussian(picture / 255.0, sigma=sigma, channel_axis=-1) * 255)
    close(frames_of(GaussianBlur(table="tiny-64").apply(clip, severity, draws()))[0], theirs)
    assert torch.equal(
        GaussianBlur(table="tiny-64").apply(clip, severity, draws()),
        GaussianBlur(table="rose2022").apply(clip, severity, draws()),
    )

    disc = reference.disk(*((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1))[severity - 1])
    theirs = np.uint8(np.clip(cv2.filter2D(picture / 255.0, -1, disc), 0, 1) * 255)
    # These weights add up to 1 to the last bit, so that even areas fall on either side of a whole level.
    close(frames_of(DefocusBlur(table="tiny-64").apply(clip, severity, draws()))[0], theirs, share=0.02)

    factors = np.arange(1, (1.06, 1.11, 1.16, 1.21, 1.26)[severity - 1], 0.01)
    scaled = np.float32(picture / 255.0)
    total = scaled + sum(reference.clipped_zoom(scaled, factor)[:64, :64] for factor in factors)
    theirs = np.uint8(total / (len(factors) + 1) * 255)
    close(frames_of(ZoomBlur(table="tiny-64").apply(clip, severity, draws()))[0], theirs)


def test_zoom_ranges_are_those_of_the_references():
    ranges = {
        "imagenet-c-224": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        "tiny-64": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    }
    for table, ends in ranges.items():
        for severity, (end, step) in zip(SEVERITIES, ends, strict=True):
            assert ZoomBlur.factors(ZoomBlur(table=table).setting(severity)) == np.arange(1, end, step).tolist()


@njit
def _offsets(height, width, margin, sweeps, seed):
    """The offsets that the reference draws from its seed, in its order."""
    np.random.seed(seed)
    drawn = np.zeros((sweeps, height, width, 2), np.int64)
    for sweep in range(sweeps):
        for h in range(height - margin, margin, -1):
            for w in range(width - margin, margin, -1):
                drawn[sweep, h, w] = np.random.randint(-margin, margin, size=(2,))
    return drawn[:, margin + 1 : height - margin + 1, margin + 1 : width - margin + 1]


def codes_of(offsets, margin):
    """Offsets (sweeps, h, w, 2) as the numbers that `GlassBlur.frosted` takes, int16 (h, w)."""
    digits = np.moveaxis(offsets + margin, 3, 1).reshape(-1, *offsets.shape[1:3])
    return torch.from_numpy(sum(digit * (2 * margin) ** k for k, digit in enumerate(digits)).astype(np.int16))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_glass_equals_imagecorruptions_from_its_own_draws(severity):
    corruption = GlassBlur()
    _, margin, sweeps = setting = corruption.setting(severity)
    for seed, picture in enumerate(pictures()):
        theirs = np.uint8(reference.glass_blur(picture, severity, seed=seed))
        codes = codes_of(_offsets(*picture.shape[:2], margin, sweeps, seed), margin)
        close(frames_of(corruption.frosted(clip_of(picture), setting, codes[None, None]))[0], theirs)


@pytest.mark.parametrize("margin", [1, 2, 3, 4])
def test_glass_followed_in_parallel_equals_pixel_after_pixel(margin, monkeypatch):
    """Before the second blur there is no rounding: equal, and equal to the definition written out."""
    height, width = 31, 40
    shape = (height - 2 * margin, width - 2 * margin)
    offsets = torch.randint(-margin, margin, (2, *shape, 2), generator=torch.Generator().manual_seed(margin)).numpy()
    expected = np.arange(height * width).reshape(height, width)
    for sweep in offsets:
        for h in range(height - margin, margin, -1):
            for w in range(width - margin, margin, -1):
                dx, dy = sweep[h - margin - 1, w - margin - 1]
                expected[h, w] = expected[h + dy, w + dx]
    planes = torch.arange(3 * height * width).remainder(251).to(torch.uint8).view(3, height, width)
    codes = codes_of(offsets, margin)[None, None]
    steps = GlassBlur.steps(margin, 2, width)
    looped = blur_ops.shuffled(planes, codes, steps, margin)
    monkeypatch.setattr(blur_ops, "looped", lambda planes: False)
    assert torch.equal(looped, blur_ops.shuffled(planes, codes, steps, margin))
    assert torch.equal(looped.flatten(1), planes.flatten(1)[:, torch.from_numpy(expected.ravel())])


@pytest.mark.parametrize("severity", SEVERITIES)
def test_glass_draws_are_uniform(severity, monkeypatch):
    seen = []
    monkeypatch.setattr(GlassBlur, "frosted", lambda self, clips, setting, codes: seen.append(codes) or clips)
    GlassBlur().apply(torch.zeros((1, 3, 2, 150, 160), dtype=torch.uint8), severity, draws())
    _, margin, sweeps = GlassBlur().setting(severity)
    assert seen[0].shape == (1, 2, 150 - 2 * margin, 160 - 2 * margin)
    values = seen[0].numpy().ravel()
    for digit in range(2 * sweeps):
        counts = np.bincount(values // (2 * margin) ** digit % (2 * margin), minlength=2 * margin)
        assert len(counts) == 2 * margin
        assert chisquare(counts).pvalue > 0.01
    assert values.max() == (2 * margin) ** (2 * sweeps) - 1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_equals_imagecorruptions(severity, monkeypatch):
    corruption, angles = MotionBlur(), torch.tensor([[-44.5, -17.3, 0.0, 8.0, 45.0]])
    monkeypatch.setattr(MotionBlur, "angles", lambda *_: angles)
    for picture in pictures():
        ours = frames_of(corruption.apply(clip_of(*[picture] * 5), severity, draws()))
        for frame, angle in zip(ours, angles[0].tolist(), strict=True):
            radius, sigma = corruption.setting(severity)
            theirs = np.clip(reference._motion_blur(picture, radius, sigma, angle), 0, 255)
            close(frame, np.uint8(theirs))


def test_motion_blur_frames_takes_angles_all_round():
    planes = torch.from_numpy(pictures()[2]).permute(2, 0, 1)
    for angle in (-135.0, -101.3, -90.0, 90.0, 180.0):
        theirs = reference._motion_blur(pictures()[2], 12, 8, angle)
        for given in (planes[None], planes[None].float() / 255):
            ours = motion_blur_frames(given, 12, 8, torch.tensor([angle]))
            assert ours.dtype == torch.float32 and ours.shape == given.shape
            scale = 255 if given.is_floating_point() else 1
            assert np.abs(ours[0].permute(1, 2, 0).numpy() * scale - theirs).max() < 1e-3
    apart = motion_blur_frames(planes, 12, 8, torch.full((3,), 30.5))
    assert torch.equal(apart[None], motion_blur_frames(planes[None], 12, 8, torch.tensor([30.5])))


def test_motion_angles_of_each_mode():
    many = [f"clip {i}" for i in range(200)]
    iid = MotionBlur().angles(16, draws(*many), 25.0)
    assert iid.shape == (200, 16) and iid.unique().numel() > 3000
    static = MotionBlur(temporal="static").angles(16, draws(*many), 25.0)
    assert static.shape == (200, 16) and (static == static[:, :1]).all() and static.unique().numel() > 190
    drift = MotionBlur(temporal="drift").angles(16, draws(*many), 25.0)
    steps = drift.diff(dim=1)
    turns = steps.abs() < 3.99
    assert steps.abs().max() < 4.01 and turns.sum(dim=1).max() <= 1
    assert MotionBlur(temporal="drift").angles(2, draws(*many), 50.0).diff(dim=1).abs().max() < 2.01
    for angles in (iid, static, drift):
        assert angles.min() >= -45 and angles.max() <= 45
        assert abs(angles.mean()) < 6 and 23 < angles.std() < 29  # 26 where uniform


@pytest.mark.parametrize("truncate", [True, False])
@pytest.mark.parametrize("corruption", [GaussianBlur, DefocusBlur, GlassBlur, MotionBlur, ZoomBlur])
def test_tensor_operations_agree_with_the_loops(corruption, truncate, monkeypatch):
    frames = [picture[:96, :120] for picture in pictures()]
    clips = torch.cat([clip_of(*frames), clip_of(*frames[::-1])])
    for temporal in corruption.modes:
        for severity in (1, 4, 5):
            blur = corruption(truncate=truncate, temporal=temporal)
            looped = blur.apply(clips, severity, draws("a", "b"))
            with monkeypatch.context() as patch:
                patch.setattr(blur_ops, "looped", lambda planes: False)
                close(blur.apply(clips, severity, draws("a", "b")).numpy(), looped.numpy(), share=0.001)


@pytest.mark.parametrize("corruption", [GaussianBlur, DefocusBlur, GlassBlur, MotionBlur, ZoomBlur])
def test_rounding_is_half_a_level_brighter(corruption):
    clip = clip_of(*pictures()[:2])
    cut = corruption(temporal="static").apply(clip, 3, draws())
    rounded = corruption(temporal="static", truncate=False).apply(clip, 3, draws())
    difference = rounded.int() - cut.int()
    assert set(difference.unique().tolist()) == {0, 1}
    assert 0.45 < difference.float().mean() < 0.55


@pytest.mark.parametrize("corruption", [GaussianBlur, GlassBlur, MotionBlur, ZoomBlur])
def test_even_areas_stay(corruption):
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 256, 1, 1).expand(1, 3, 256, 12, 20)
    for severity in SEVERITIES:
        assert torch.equal(corruption().apply(levels, severity, draws()), levels)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (8, 3), (9, 14)])
@pytest.mark.parametrize("corruption", [GaussianBlur, DefocusBlur, GlassBlur, MotionBlur, ZoomBlur])
def test_small_frames(corruption, size, monkeypatch):
    clips = torch.randint(0, 256, (1, 3, 2, *size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for severity in SEVERITIES:
        looped = corruption().apply(clips, severity, draws())
        assert looped.shape == clips.shape
        with monkeypatch.context() as patch:
            patch.setattr(blur_ops, "looped", lambda planes: False)
            assert (looped.int() - corruption().apply(clips, severity, draws()).int()).abs().max() <= 1
