"""Weather against `imagecorruptions` with the same draws, and its motion against what the documentation declares."""

import math
from functools import cache
from unittest.mock import patch

import cv2
import imagecorruptions.corruptions as reference
import numpy as np
import pytest
import torch
from PIL import Image
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.corruptions import weather_frost, weather_rain, weather_snow
from robustvideo.corruptions.plasma import plasma
from robustvideo.corruptions.weather import Fog, Frost, Rain, Snow, Spatter
from scipy.ndimage import zoom
from skimage import data

ALL = (Snow, Frost, Fog, Spatter, Rain)
SEVERITIES = range(1, 6)


def picture(height=224, width=224):
    return cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)


def clips_of(frame, count=1, frames=1):
    return torch.from_numpy(frame).permute(2, 0, 1)[None, :, None].repeat(count, 1, frames, 1, 1)


def streams(count=1, seed=0):
    return ClipRandom.for_clips([f"clip {number}" for number in range(count)], seed, "weather")


def as_frame(pixels):
    return pixels[:, 0].permute(1, 2, 0).numpy()


def difference(made, wanted):
    return np.abs(made.astype(int) - wanted.astype(int))


def psnr(made, clean):
    errors = (made.double() - clean.double()).square().flatten(1).mean(1)
    return (10 * (255**2 / errors).log10()).mean().item()


class Draws:
    """A ClipRandom of one clip that hands out given numbers."""

    def __init__(self, **values):
        self.values = values

    def __getitem__(self, index):
        return self

    def normal(self, shape):
        return self.values["normal"].reshape(1, *shape)

    def uniform(self, shape, low=0.0, high=1.0):
        return self.values["uniform"].reshape(1, *shape)


# Snow


def snow_draws(height, width, enlarged, seed):
    """The reference's noise, of which ours takes the middle that is enlarged, and its angle."""
    np.random.seed(seed)
    noise, angle = np.random.normal(size=(height, width)), np.random.uniform(-135, -45)
    rows, columns = math.ceil(height / enlarged), math.ceil(width / enlarged)
    top, left = (height - rows) // 2, (width - columns) // 2
    return torch.from_numpy(noise[top : top + rows, left : left + columns]).float(), torch.tensor([angle]).float()


@pytest.mark.parametrize("size", [(224, 224), (90, 131)])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_of_imagecorruptions_is_its_snow(severity, size):
    clean, snow = picture(*size), Snow(table="imagecorruptions")
    noise, angle = snow_draws(*size, snow.setting(severity)[2], severity)
    np.random.seed(severity)
    wanted = np.uint8(reference.snow(clean, severity))
    made = as_frame(snow.apply(clips_of(clean), severity, Draws(normal=noise, uniform=angle))[0])  # type: ignore
    assert difference(made, wanted).max() <= 1
    assert difference(made, wanted).mean() <= 0.01


@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_of_imagenet_c_is_close_to_it_away_from_the_border(severity):
    clean, snow = picture(), Snow()
    noise, angle = snow_draws(224, 224, snow.setting(severity)[2], severity)
    np.random.seed(severity)
    wanted = np.uint8(reference.snow(clean, severity))
    made = as_frame(snow.apply(clips_of(clean), severity, Draws(normal=noise, uniform=angle))[0])  # type: ignore
    assert difference(made, wanted)[44:-44, 44:-44].max() <= 2
    assert difference(made, wanted).mean() <= 0.6


@pytest.mark.parametrize("table", ["imagenet-c-224", "tiny-64"])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_of_imagenet_c_is_the_trimmed_middle(severity, table):
    height, width = 101, 66
    mean, deviation, enlarged, threshold, radius, sigma, _ = setting = Snow(table=table).setting(severity)
    noise, angle = snow_draws(height, width, enlarged, severity)
    layer = zoom(noise.double().numpy() * deviation + mean, enlarged, order=1)
    top, left = (layer.shape[0] - height) // 2, (layer.shape[1] - width) // 2
    layer = np.clip(layer * (layer >= threshold), 0, 1)[top : top + height, left : left + width]
    layer = np.round(reference._motion_blur(np.floor(layer * 255), radius, sigma, angle.item()))
    made = weather_snow.snow_layers(noise[None], angle, setting, height, width, trim=True)[0].numpy()
    assert np.abs(made - layer - np.rot90(layer, 2)).max() <= 2


# Frost


@pytest.mark.parametrize("size", [(224, 224), (340, 200), (400, 600)])
@pytest.mark.parametrize("index", range(6))
def test_frost_of_imagecorruptions_is_its_frost(index, size):
    clean, severity = picture(*size), 1 + index % 5
    rooms = []

    def draw(low, high=None):
        if high is None:
            return index
        rooms.append(high)
        return high // 3

    with patch("numpy.random.randint", draw):
        wanted = np.uint8(reference.frost(clean, severity))
    draws = torch.tensor([(index + 0.5) / 6, *((room // 3 + 0.5) / room for room in rooms)])
    made = as_frame(Frost(table="imagecorruptions").apply(clips_of(clean), severity, Draws(uniform=draws))[0])  # type: ignore
    assert difference(made, wanted).max() <= 1
    assert difference(made, wanted).mean() <= 0.05  # whole levels such as 0.7 * (X + F), which the reference's doubles miss


def test_frost_of_imagenet_c_takes_five_photographs_as_they_are():
    shape, seen = (32, 48), set()
    for which in np.linspace(0, 0.999, 40):
        (crop,) = weather_frost.frost_crops(torch.tensor([[which, 0.0, 0.0]]), shape, "imagenet-c-224")
        path = weather_frost.__dict__["Path"](reference.__file__).parent / "frost" / weather_frost.PHOTOGRAPHS[int(which * 5)]
        assert np.array_equal(crop.permute(1, 2, 0).numpy()[..., ::-1], cv2.imread(str(path))[:32, :48])
        seen.add(path.name)
    assert seen == set(weather_frost.PHOTOGRAPHS[:5])


def test_frost_enlarges_a_small_photograph_just_enough():
    height, width = 400, 500  # the second is 315 by 560
    assert weather_frost.photograph(1, height, width, "imagenet-c-224").shape == (3, 400, 712)
    assert weather_frost.photograph(1, 64, 64, "tiny-64").shape == (3, 94, 168)
    assert Frost().apply(clips_of(picture(720, 1280)), 3, streams()).shape == (1, 3, 1, 720, 1280)


def test_frost_without_photographs_is_one_line():
    with patch("importlib.util.find_spec", return_value=None), pytest.raises(InputError, match="imagecorruptions is not there"):
        weather_frost.photograph(0, 9, 9, "imagenet-c-224")


# Fog


@pytest.mark.parametrize(("size", "side"), [((224, 224), 256), ((300, 400), 512)])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_is_its_fog(severity, size, side):
    clean = picture(*size)
    noise = np.random.default_rng(severity).uniform(-1, 1, side**2 - 1).astype(np.float32)
    used = 0

    def draw(low, high, shape):
        nonlocal used
        used += math.prod(shape)
        return noise[used - math.prod(shape) : used].reshape(shape) * high

    with patch("numpy.random.uniform", draw):
        wanted = np.uint8(reference.fog(clean, severity))
    made = as_frame(Fog().apply(clips_of(clean), severity, Draws(uniform=torch.from_numpy(noise)))[0])  # type: ignore
    assert used == len(noise)
    assert difference(made, wanted).max() <= 1
    assert difference(made, wanted).mean() <= 0.01


def test_plasma_goes_on_across_its_borders():
    field = plasma(streams(seed=1).uniform((256**2 - 1,), -1, 1), 256, 1.7)[0]
    inner = (field[1:] - field[:-1]).abs().mean()
    assert (field[0] - field[-1]).abs().mean() < 1.5 * inner
    assert (field[:, 0] - field[:, -1]).abs().mean() < 1.5 * inner
    assert field.min() == 0 and field.max() == 1


def test_fog_of_yi_is_drawn_once_per_clip():
    made = Fog(table="yi2021", temporal="static").apply(clips_of(picture(), frames=3), 3, streams())
    assert torch.equal(made[:, :, 0], made[:, :, 2])
    made = Fog().apply(clips_of(picture(), frames=3), 3, streams())
    assert not torch.equal(made[:, :, 0], made[:, :, 2])


def test_fog_takes_the_brightest_value_of_each_frame():
    clip = clips_of(picture(), frames=2)
    clip[:, :, 1] //= 2
    made = Fog(temporal="static").apply(clip, 3, streams())
    dark = Fog(temporal="static").apply(clip[:, :, 1:], 3, streams())
    assert torch.equal(made[:, :, 1:], dark)


# Spatter


@pytest.mark.parametrize("size", [(224, 224), (90, 131)])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_spatter_is_its_spatter(severity, size):
    clean = picture(*size)
    np.random.seed(severity)
    wanted = np.uint8(reference.spatter(Image.fromarray(clean), severity))
    np.random.seed(severity)
    noise = torch.from_numpy(np.random.normal(size=size)).float()
    made = as_frame(Spatter().apply(clips_of(clean), severity, Draws(normal=noise))[0])  # type: ignore
    assert difference(made, wanted).max() <= 1
    assert difference(made, clean).max() > 20


def test_spatter_without_a_drop_leaves_the_frame():
    clean = picture(24, 24)
    made = as_frame(Spatter().apply(clips_of(clean), 1, Draws(normal=torch.zeros(24, 24)))[0])  # type: ignore
    assert np.array_equal(made, clean)


# Rain


def rain_by_definition(clean, drops, length, contrast):
    """Yi et al.'s rain in double precision, from the definition."""
    mask = np.zeros(clean.shape[:2])
    for column, row in drops:
        cv2.line(mask, (int(column), int(row)), (int(column) - 1, int(row) + length), 220, 1)
    mask = mask[..., None]
    wet = clean + np.uint8(mask * (1 - clean / 255) * (1 - clean.mean() / 255))
    seen = (cv2.blur(wet, (3, 3)) * mask + clean * (255 - mask)) / 255
    means = seen.mean((0, 1))
    return np.uint8(np.clip((seen - means) * contrast + means, 0, 255))


@pytest.mark.parametrize("size", [(224, 224), (120, 171)])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_rain_is_the_definition(severity, size):
    clean = picture(*size)
    area, length, contrast = Rain().setting(severity)
    draws = streams(seed=severity).uniform((1 + 2 * (size[0] * size[1] // area),))[0]
    drops = weather_rain.rain_drops(draws.numpy(), *size, length)
    made = as_frame(Rain().apply(clips_of(clean), severity, Draws(uniform=draws))[0])  # type: ignore
    assert difference(made, rain_by_definition(clean, drops, length, contrast)).max() <= 1


def test_rain_begins_where_the_reference_lets_it():
    draws = streams(seed=3).uniform((4000,))[0].numpy()
    for slant in (-10, 9):
        draws[0] = (slant + 10.5) / 20
        columns, rows = weather_rain.rain_drops(draws[:3999], 224, 200, 60).T
        assert columns.min() == min(slant, 0) and columns.max() == 199 - max(slant, 0)
        assert rows.min() == 0 and rows.max() == 163
    assert [224 * 224 // area for area, _, _ in Rain.tables["yi2021"]] == [65, 65, 65, 100, 125]


# Strength


@cache
def strength_of_the_reference(name, severity):
    clean = picture()
    np.random.seed(1)
    source = Image.fromarray(clean) if name == "spatter" else clean
    made = [np.uint8(getattr(reference, name)(source, severity)) for _ in range(24)]
    return psnr(torch.from_numpy(np.stack(made)), torch.from_numpy(clean))


@pytest.mark.parametrize("mode", ["iid", "static", "drift"])
@pytest.mark.parametrize(("kind", "severity"), [(Snow, 1), (Snow, 5), (Fog, 3), (Spatter, 3), (Spatter, 5)])
def test_each_mode_is_as_strong_as_the_reference(kind, severity, mode):
    frames = {"iid": 24, "static": 1, "drift": 9}[mode]
    clips = clips_of(picture(), 1 if mode == "iid" else 24, frames)
    made = kind(temporal=mode).apply(clips, severity, streams(len(clips)))
    made = made[0].movedim(1, 0) if mode == "iid" else made[:, :, -1]
    assert abs(psnr(made, clips[:1, :, 0]) - strength_of_the_reference(kind.registered[1], severity)) <= 0.5


@pytest.mark.parametrize(("kind", "severity"), [(Frost, 1), (Frost, 5), (Spatter, 1), (Rain, 1), (Rain, 5)])
def test_drift_is_as_strong_as_standing_still(kind, severity):
    clips = clips_of(picture(), 16, 9)
    standing = kind(temporal="static").apply(clips[:, :, :1], severity, streams(16))
    drifting = kind(temporal="drift").apply(clips, severity, streams(16))
    strength = [psnr(made, clips[:, :, 0]) for made in (standing[:, :, 0], drifting[:, :, 0], drifting[:, :, -1])]
    assert max(strength) - min(strength) <= 0.5


# Motion


def layer_of(kind, temporal="drift", frames=12, severity=3, rate=25.0, seed=0, side=224):
    """What is added to black frames (to bright ones for mud and rain's contrast), float64 (T, H, W)."""
    clip = torch.full((1, 3, frames, side, side), 40, dtype=torch.uint8)
    made = kind(temporal=temporal).apply(clip, severity, streams(seed=seed), rate)
    return made[0].double().mean(0).numpy()


def motions(layer, gap, count=1):
    """The `count` strongest motions over `gap` frames, pixels right and down, by phase correlation of all such pairs."""
    window = np.outer(np.hanning(layer.shape[1]), np.hanning(layer.shape[2]))
    spectra = np.fft.rfft2((layer - layer.mean((1, 2), keepdims=True)) * window)
    both = spectra[gap:] * spectra[:-gap].conj()
    surface = np.fft.irfft2((both / (np.abs(both) + 1e-9)).mean(0), s=layer.shape[1:])
    height, width = surface.shape
    surface = cv2.GaussianBlur(np.roll(surface, (height // 2, width // 2), (0, 1)), (5, 5), 1)
    found = []
    for _ in range(count):
        row, column = np.unravel_index(surface.argmax(), surface.shape)
        assert surface[row, column] > 15 * surface.std()
        found.append((int(column) - width // 2, int(row) - height // 2))
        surface[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4] = 0
    return found


def near(found, wanted):
    """Whether motions are the wanted ones, in any order, within a pixel: layers move by whole ones."""
    wanted = sorted(wanted, key=lambda motion: math.hypot(*motion))
    found = sorted(found, key=lambda motion: math.hypot(*motion))
    return np.abs(np.array(found) - np.array(wanted)).max() <= 1


def similarity(layer, gap=1):
    pairs = zip(layer[:-gap], layer[gap:], strict=True)
    return float(np.mean([np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in pairs]))


@pytest.mark.parametrize("kind", ALL)
def test_neighbouring_frames_are_alike_only_when_they_should_be(kind):
    independent, moving, still = (similarity(layer_of(kind, mode)) for mode in ("iid", "drift", "static"))
    assert still == pytest.approx(1)
    assert 0.2 < moving < 0.9999
    assert moving > independent + 0.1
    assert similarity(layer_of(kind), 8) < moving


@pytest.mark.parametrize("rate", [25.0, 12.5])
@pytest.mark.parametrize("seed", range(2))
def test_snow_falls_along_its_blur(seed, rate):
    angle = math.radians(streams(seed=seed).uniform((), -135, -45).item())
    far = 4 * 224 * 25 / rate
    ways = [(-far * speed * math.cos(angle), -far * speed * math.sin(angle)) for speed in (0.02, 0.014)]
    assert min(down for _, down in ways) > 0
    assert near(motions(layer_of(Snow, rate=rate, seed=seed), 4, count=2), ways)


@pytest.mark.parametrize("rate", [25.0, 50.0])
def test_rain_falls(rate):
    far = 4 * 224 * 25 / rate
    ways = [(-far * speed / 60, far * speed) for speed in (0.04, 0.03)]
    assert near(motions(layer_of(Rain, rate=rate), 4, count=2), ways)


@pytest.mark.parametrize("severity", [3, 5])
@pytest.mark.parametrize("rate", [25.0, 12.5])
def test_drops_slide_down(rate, severity):
    layer = layer_of(Spatter, rate=rate, severity=severity)
    assert near(motions(layer, 8), [(0, 8 * 0.005 * 224 * 25 / rate)])
    assert np.array_equal(layer[0], layer_of(Spatter, "static", severity=severity)[0])


@pytest.mark.parametrize("rate", [25.0, 12.5])
def test_fog_slides_sideways_and_changes(rate):
    sides = set()
    for seed in range(4):
        layer = layer_of(Fog, severity=5, rate=rate, seed=seed)
        ((right, down),) = motions(layer, 4)
        assert abs(abs(right) - 4 * 0.005 * 224 * 25 / rate) <= 1 and abs(down) <= 1
        sides.add(np.sign(right))
        room = 224 - abs(right)
        before, after = layer[0][:, max(-right, 0) :][:, :room], layer[4][:, max(right, 0) :][:, :room]
        assert 0.95 < np.corrcoef(before.ravel(), after.ravel())[0, 1] < 0.99999
    assert sides == {-1, 1}


@pytest.mark.parametrize("rate", [25.0, 5.0])
@pytest.mark.parametrize("turn", [0.0, 0.2, 0.6])
def test_frost_slides_where_it_was_told(turn, rate):
    crops = torch.cat(list(weather_frost.sliding_frost([0.7, 0.5, 0.5, turn], (12, 200, 224), "imagenet-c-224", rate)))
    far = 8 * 0.0025 * 200 * 25 / rate
    wanted = (far * math.cos(2 * math.pi * turn), far * math.sin(2 * math.pi * turn))
    assert near(motions(crops.double().mean(1).numpy(), 8), [wanted])


def test_frost_turns_round_at_the_edge_of_its_photograph():
    photograph = weather_frost.photograph(0, 330, 440, "imagenet-c-224")  # 600 by 900
    crops = torch.cat(list(weather_frost.sliding_frost([0.0, 0.5, 0.5, 0.0], (18, 300, 400), "imagenet-c-224", 1.0)))
    for frame, crop in enumerate(crops):
        left = round(abs(250 - frame * 300 * 0.0025 * 25))
        assert torch.equal(crop, photograph[:, 150:450, left : left + 400])


def test_layers_wrap_without_a_seam():
    """Rolled draws give the rolled layer: nothing of it depends on where the border lies."""
    setting = (0.25, 0.3, 1.0, 0.6, 12, 6, 0.65)
    noise = streams().normal((64, 64))
    parts = noise, noise.roll((32, 32), (1, 2))  # half way round, which is the same for the layer that is turned
    straight, rolled = (next(weather_snow.falling_snow(part, -70.0, setting, (1, 64, 64), 25.0))[0] for part in parts)
    assert straight.any() and torch.equal(straight.roll((32, 32), (0, 1)), rolled)
    drops = streams().uniform((40,))[0].numpy()
    (mask,) = weather_rain.falling_rain(drops, 30, (1, 100, 80), 25.0)
    moved = (drops.reshape(-1, 2) + np.array([17 / 80, 33 / 100], dtype=np.float32)) % 1
    (other,) = weather_rain.falling_rain(moved.ravel(), 30, (1, 100, 80), 25.0)
    assert (mask[0].roll((33, 17), (0, 1)) != other[0]).float().mean() < 0.01
    assert 20 * 31 * 0.9 <= int((mask > 0).sum()) <= 20 * 31


# Clips of other shapes


@pytest.mark.parametrize("temporal", ["static", "drift"])
@pytest.mark.parametrize("kind", ALL)
def test_a_longer_clip_begins_like_a_shorter_one(kind, temporal, monkeypatch):
    """The layers are made in chunks, which must not show."""
    monkeypatch.setattr("robustvideo.corruptions.weather_motion.CHUNK", 16000)
    clips = clips_of(picture(40, 56), frames=35)
    long, short = (kind(temporal=temporal).apply(part, 3, streams()) for part in (clips, clips[:, :, :18]))
    assert torch.equal(long[:, :, :18], short)


@pytest.mark.parametrize("temporal", ["iid", "static", "drift"])
@pytest.mark.parametrize("kind", ALL)
def test_small_oblong_frames_of_every_table(kind, temporal):
    clips = clips_of(picture(9, 30), 2, 3)
    for table in kind.tables:
        for severity in SEVERITIES:
            made = kind(table=table, temporal=temporal).apply(clips, severity, streams(2), rate=0.0)
            assert made.shape == clips.shape and made.dtype == torch.uint8
            alone = kind(table=table, temporal=temporal).apply(clips[1:], severity, streams(2)[torch.tensor([1])], rate=0.0)
            assert torch.equal(made[1:], alone)


@pytest.mark.parametrize("kind", [Snow, Frost, Fog])
def test_tiny_64_is_milder_than_the_table_for_224(kind):
    clips = clips_of(picture(64, 64), 8)
    tiny, full = (psnr(kind(table=table).apply(clips, 3, streams(8)), clips) for table in ("tiny-64", "imagenet-c-224"))
    assert tiny > full + 1
