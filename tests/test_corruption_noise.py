"""Pixel noise against the reference code: the same distribution, grey level by grey level."""

import cv2
import imagecorruptions
import numpy as np
import pytest
import skimage.data
import torch
from robustvideo.benchmark.core.registry import resolve
from robustvideo.corruptions import noise_laws
from robustvideo.corruptions.noise_words import words
from scipy import stats

FRAMES = 16
PUBLISHED = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")


@pytest.fixture(scope="module")
def picture():
    """A natural picture, (224, 224, 3)."""
    return np.ascontiguousarray(cv2.resize(skimage.data.coffee(), (224, 224), interpolation=cv2.INTER_AREA))


@pytest.fixture(scope="module")
def still(picture):
    """A clip that shows it in every frame."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None, :, None].repeat(1, 1, FRAMES, 1, 1)


def noise(name, **values):
    return resolve("corruption", name, **values).create()


def residuals(clip, clean):
    return clip.numpy().astype(np.int64) - clean.numpy()


def grey(level, side=256, frames=8):
    return torch.full((1, 3, frames, side, side), level, dtype=torch.uint8)


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("name", PUBLISHED)
def test_residuals_follow_the_reference(name, severity, picture, still, streams):
    np.random.seed(severity)
    seeds = [{"seed": frame} if name == "impulse_noise" else {} for frame in range(FRAMES)]
    frames = [imagecorruptions.corrupt(picture, severity, name, **seed) for seed in seeds]
    reference = residuals(torch.from_numpy(np.stack(frames)), torch.from_numpy(picture))
    ours = residuals(noise(name).apply(still, severity, streams(1)), still)
    assert abs(ours.mean() - reference.mean()) <= 0.5
    assert ours.std() / reference.std() == pytest.approx(1, abs=0.01)
    assert 10 * abs(np.log10((ours**2).mean() / (reference**2).mean())) <= 0.1
    shares = [np.bincount(values.ravel() + 255, minlength=511) / values.size for values in (ours, reference)]
    largest = np.abs(np.cumsum(shares[0]) - np.cumsum(shares[1])).max()
    assert stats.kstwobign.sf(largest * np.sqrt(ours.size / 2)) > 0.01


def every_word(level):
    """A clip of one grey level with as many values as there are words, and each word once."""
    clip = torch.full((3, 1, 256, 256), level, dtype=torch.uint8)
    return clip, np.broadcast_to(np.arange(65536, dtype=np.uint16).reshape(1, 1, 256, 256), clip.shape).copy()


@pytest.mark.parametrize("photons", [3, 12, 60, 250])
def test_shot_noise_is_poisson_at_every_grey_level(photons):
    for level in (0, 1, 3, 60, 140, 255):
        made = noise_laws.poisson(*every_word(level), photons, truncate=True)[0].numpy().ravel()
        counts = np.arange(photons)
        reached = [(made <= np.uint8(count / photons * 255)).mean() for count in counts]
        np.testing.assert_allclose(reached, stats.poisson.cdf(counts, level / 255 * photons), rtol=0, atol=2**-17 + 1e-12)


def test_normal_noise_is_normal_at_every_grey_level():
    gain = np.linspace(1, 90, 256, dtype=np.float32)
    for level in (0, 7, 128, 255):
        made = noise_laws.normal(*every_word(level), gain, truncate=True)[0].numpy().ravel()
        reached = [(made <= value).mean() for value in range(255)]
        wanted = stats.norm.cdf(np.arange(1, 256), loc=level, scale=gain[level])
        np.testing.assert_allclose(reached, wanted, rtol=0, atol=2**-16)


def test_shot_noise_grows_with_brightness(streams):
    for level in (20, 50, 80):  # 15 photons: counts fall on whole grey levels, and few are clipped
        made = residuals(noise("shot_noise", table="tiny-64").apply(grey(level), 5, streams(1)), grey(level))
        assert made.mean() == pytest.approx(0, abs=0.1)
        assert made.var() == pytest.approx(level * 255 / 15, rel=0.01)


def test_speckle_leaves_black_alone_and_follows_brightness(streams):
    corruption = noise("speckle_noise", truncate="false")
    assert not corruption.apply(grey(0), 5, streams(1)).any()
    for level in (40, 120):
        made = residuals(corruption.apply(grey(level), 1, streams(1)), grey(level))
        assert made.std() == pytest.approx(0.15 * level, rel=0.01)


@pytest.mark.parametrize("severity", range(1, 6))
def test_impulse_replaces_the_published_fraction_half_by_white(severity, streams):
    corruption = noise("impulse_noise")
    made = corruption.apply(grey(100), severity, streams(1))
    white, black = (made == 255).double(), (made == 0).double()
    fraction, size = corruption.setting(severity), made.numel()
    assert bool(((made == 100) | (made == 0) | (made == 255)).all())
    assert float((white + black).mean()) == pytest.approx(fraction, abs=3 * np.sqrt(fraction * (1 - fraction) / size))
    assert float(white.sum() / (white + black).sum()) == pytest.approx(0.5, abs=3 * 0.5 / np.sqrt(size * fraction))
    hit = white + black  # dots are coloured: channels know nothing of each other
    assert float((hit[:, 0] * hit[:, 1]).mean()) == pytest.approx(fraction**2, abs=0.002)


@pytest.mark.parametrize(("name", "value"), [("salt_noise", 255), ("pepper_noise", 0)])
def test_salt_and_pepper_replace_a_tenth_per_severity(name, value, streams):
    for severity in range(1, 6):
        made = noise(name).apply(grey(100), severity, streams(1))
        share = severity / 10
        assert float((made == value).double().mean()) == pytest.approx(share, abs=3 * np.sqrt(share / made.numel()))
        assert bool(((made == 100) | (made == value)).all())


@pytest.mark.parametrize("name", [*PUBLISHED, "salt_noise", "pepper_noise"])
def test_frames_share_their_noise_only_where_it_is_static(name, streams):
    for temporal, wanted in (("iid", 0), ("static", 1)):
        made = noise(name, temporal=temporal).apply(grey(100, frames=2), 3, streams(1))
        first, second = (residuals(made, grey(100, frames=2))[0, :, frame].ravel() for frame in range(2))
        assert np.corrcoef(first, second)[0, 1] == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("truncate", [True, False])
@pytest.mark.parametrize("draws", [1, 4])
def test_any_device_gives_the_compiled_laws(truncate, draws, streams):
    clip = torch.randint(0, 256, (3, 4, 31, 45), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (drawn,) = words(streams(1), (3, draws, 31, 45))
    drawn[0, 0, 0, :3] = 0, 65535, 32768
    for photons in (3, 60, 250):
        ours = noise_laws.poisson(clip, drawn, photons, truncate)
        assert torch.equal(noise_laws.poisson_torch(clip, drawn, photons, truncate), ours)
    assert torch.equal(
        noise_laws.replaced_torch(clip, drawn, 3000, 60000), noise_laws.replaced(clip, drawn, 3000 / 65536, 5536 / 65536)
    )
    gain = np.linspace(0, 90, 256, dtype=np.float32)
    ours = noise_laws.normal(clip, drawn, gain, truncate).int()
    difference = (noise_laws.normal_torch(clip, drawn, gain, truncate).int() - ours).abs()
    assert int(difference.max()) <= 1 and float((difference > 0).float().mean()) < 1e-3


def test_words_are_uniform_and_belong_to_the_clip(streams):
    first, second = words(streams(2), (3, 1, 101, 33))
    (alone,) = words(streams(1), (3, 1, 101, 33))
    assert np.array_equal(first, alone) and not np.array_equal(first, second)
    (many,) = words(streams(1), (1 << 20,))
    assert stats.chisquare(np.bincount(many >> 4, minlength=4096)).pvalue > 0.01
    assert stats.chisquare(np.bincount(many & 4095, minlength=4096)).pvalue > 0.01
    assert abs(np.corrcoef(many[:-1], many[1:])[0, 1]) < 4e-3
