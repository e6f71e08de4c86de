"""Colour, JPEG, pixelation and elastic deformation against the reference code, Pillow, OpenCV and SciPy."""

import io

import cv2
import imagecorruptions
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.core.storage import jpeg
from robustvideo.corruptions import digital_blocks, digital_elastic
from scipy import ndimage

SEVERITIES = range(1, 6)


@pytest.fixture(scope="module", params=[(224, 224), (97, 150)], ids=["square", "wide"])
def frames(request):
    """Natural pictures and plain colours, (5, H, W, 3)."""
    height, width = request.param
    natural = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
    made = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA) for picture in natural]
    values = np.random.default_rng(0)
    made.append(values.integers(0, 256, (height, width, 3), dtype=np.uint8))
    made.append(np.repeat(values.integers(0, 256, (height, width, 1), dtype=np.uint8), 3, axis=2))
    return np.stack(made)


@pytest.fixture(scope="module")
def clip(frames):
    return as_clip(frames)


def as_clip(frames):
    return torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2)[None].contiguous()


def as_frames(clip):
    return clip[0].permute(1, 2, 3, 0).numpy()


def digital(name, **values):
    return resolve("corruption", name, **values).create()


def difference(ours, reference):
    return np.abs(as_frames(ours).astype(int) - np.asarray(reference).astype(int))


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", ["contrast", "jpeg_compression", "pixelate", "brightness", "saturate"])
def test_it_is_the_reference(name, severity, frames, clip, streams):
    square = frames.shape[1] == frames.shape[2]
    # Away from 224 its "nearest" takes a neighbour where a place falls on a border; ImageNet-C itself blows up with boxes.
    boxed = name == "pixelate" and not square
    scale = digital("pixelate").setting(severity)
    reference = [boxes(frame, scale) if boxed else imagecorruptions.corrupt(frame, severity, name) for frame in frames]
    apart = difference(digital(name).apply(clip, severity, streams(1)), reference)
    assert apart.max() <= (1 if name in ("brightness", "saturate") else 0)
    assert (apart > 0).mean() < 0.15


def test_the_tables_of_the_64_pixel_set_and_of_yi(frames, clip, streams):
    scaled = frames / 255
    mean = scaled.mean(axis=(1, 2), keepdims=True)
    for severity, factor in zip(SEVERITIES, (0.5, 0.4, 0.3, 0.2, 0.1), strict=True):
        wanted = ((scaled - mean) * factor + mean) * 255
        apart = difference(digital("contrast", table="yi2021").apply(clip, severity, streams(1)), wanted.astype(np.uint8))
        assert apart.max() <= 1
    for severity, scale in zip(SEVERITIES, (0.9, 0.8, 0.7, 0.6, 0.5), strict=True):
        made = digital("pixelate", table="tiny-64").apply(clip, severity, streams(1))
        assert difference(made, [boxes(frame, scale) for frame in frames]).max() == 0
    made = digital("saturate", table="tiny-64").apply(clip, 5, streams(1))
    assert difference(made, as_frames(digital("saturate").apply(clip, 5, streams(1)))).max() > 20


def boxes(frame, scale):
    height, width = frame.shape[:2]
    small = Image.fromarray(frame).resize((int(width * scale), int(height * scale)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX))


@pytest.mark.parametrize("size", [(4, 5), (33, 57), (112, 113), (256, 340)])
def test_blocks_are_pillows_at_any_size_on_any_device(size):
    frame = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    clip = as_clip([frame])
    for scale in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25):
        made = digital_blocks.pixelated(clip, scale)
        assert difference(made, [boxes(frame, scale)]).max() == 0
        assert torch.equal(digital_blocks.pixelated_torch(clip, scale), made)


def test_bright_black_is_grey_and_gaudy_grey_is_red(streams):
    clip = torch.zeros(1, 3, 1, 2, 2, dtype=torch.uint8)
    assert digital("brightness").apply(clip, 2, streams(1)).unique().tolist() == [51]
    made = digital("saturate").apply(clip + 100, 5, streams(1))
    assert made[0, :, 0, 0, 0].tolist() == [100, 80, 80]


@pytest.mark.parametrize("quality", [85, 80, 10])
def test_jpeg_is_pillows(quality, frames, clip):
    assert difference(jpeg(clip, quality), [pillow_jpeg(frame, quality) for frame in frames]).max() == 0


def pillow_jpeg(frame, quality):
    stored = io.BytesIO()
    Image.fromarray(frame).save(stored, "JPEG", quality=quality)
    return np.asarray(Image.open(stored))


def test_rose_compressed_red_as_blue(frames, clip, streams):
    made = digital("jpeg_compression", table="rose2022").apply(clip, 4, streams(1))
    wanted = [pillow_jpeg(np.ascontiguousarray(frame[..., ::-1]), 10)[..., ::-1] for frame in frames]
    assert difference(made, wanted).max() == 0
    assert difference(made, as_frames(digital("jpeg_compression").apply(clip, 4, streams(1)))).mean() > 0.5


@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_with_given_fields_is_imagecorruptions(severity, frames, clip, monkeypatch):
    corruption = digital("elastic_transform", table="imagecorruptions")
    jitter, fields = draws(len(frames), frames.shape[1:3], severity)
    reference = []
    for frame, (across, down) in zip(frames, fields.transpose(0, 1), strict=True):
        reach, given = 0.005 * frame.shape[0], iter((across, down))
        monkeypatch.setattr(
            np.random, "uniform", lambda *_, given=given, reach=reach, **__: next(given).numpy().astype(float) * reach
        )
        reference.append(imagecorruptions.corrupt(frame, severity, "elastic_transform"))
    made = corruption.bent(clip[0], jitter, fields, corruption.setting(severity))
    assert difference(made[None], reference).max() <= 1


@pytest.mark.parametrize("table", ["imagenet-c-224", "tiny-64"])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_with_given_draws_is_the_definition(table, severity, frames, clip):
    corruption = digital("elastic_transform", table=table)
    jitter, fields = draws(len(frames), frames.shape[1:3], severity)
    setting = corruption.setting(severity)
    reference = [elastic(frame, own, fields[:, at], setting) for at, (frame, own) in enumerate(zip(frames, jitter, strict=True))]
    made = corruption.bent(clip[0], jitter, fields, setting)
    assert difference(made[None], reference).max() <= 1


def draws(count, size, seed):
    source = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 2, generator=source) * 2 - 1, torch.rand(2, count, *size, generator=source) * 2 - 1


def elastic(frame, jitter, fields, setting):
    """The definition by OpenCV and SciPy, in double precision."""
    amplitude, sigma, reach = setting
    height, width = frame.shape[:2]
    corners = np.float32([[1, 1], [1, -1], [-1, -1]]) * (min(height, width) // 3) + np.float32([width // 2, height // 2])
    matrix = cv2.getAffineTransform(corners, corners + reach * jitter.numpy())
    bent = cv2.warpAffine(frame.astype(np.float32) / 255, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    across, down = (ndimage.gaussian_filter(field.double().numpy(), sigma, mode="reflect", truncate=3) for field in fields)
    rows, columns = np.mgrid[:height, :width]
    places = [rows + amplitude * down, columns + amplitude * across]
    channels = [ndimage.map_coordinates(bent[..., channel], places, order=1, mode="reflect") for channel in range(3)]
    return (np.stack(channels, axis=-1).clip(0, 1) * 255).astype(np.uint8)


def test_elastic_is_as_strong_as_the_reference(streams):
    picture = cv2.resize(skimage.data.coffee(), (224, 224), interpolation=cv2.INTER_AREA)
    np.random.seed(0)
    reference = [imagecorruptions.corrupt(picture, 3, "elastic_transform") for _ in range(16)]
    made = digital("elastic_transform", table="imagecorruptions").apply(as_clip([picture] * 16), 3, streams(1))
    assert psnr(as_frames(made), picture) == pytest.approx(psnr(np.stack(reference), picture), abs=0.5)


def psnr(made, clean):
    squares = ((made.astype(float) - clean) ** 2).mean(axis=(1, 2, 3))
    return (10 * np.log10(255**2 / squares)).mean()


def test_elastic_moves_frames_alike_only_where_it_is_static(streams):
    clip = as_clip([cv2.resize(skimage.data.coffee(), (64, 64))] * 3)
    for temporal in ("iid", "static"):
        made = digital("elastic_transform", temporal=temporal).apply(clip, 2, streams(1))
        assert bool((made[:, :, 0] == made[:, :, 1]).all()) == (temporal == "static")


@pytest.mark.parametrize("size", [(3, 3), (5, 40), (60, 44)])
@pytest.mark.parametrize("twice", [True, False])
def test_any_device_samples_alike(size, twice):
    source = torch.Generator().manual_seed(0)
    values = torch.rand(3, 4, *size, generator=source) * 255
    for count in (1, 4):
        x, y = torch.rand(2, count, *size, generator=source) * 300 - 150
        apart = digital_elastic.sampled(values, x, y, twice) - digital_elastic.sampled_torch(values, x, y, twice)
        assert float(apart.abs().max()) < 1e-2


def test_the_cpus_filter_is_the_matrix_product():
    fields = torch.rand(2, 3, 40, 61, generator=torch.Generator().manual_seed(0)) * 2 - 1
    product = digital_elastic.gaussian_matrix(40, 2.5) @ fields @ digital_elastic.gaussian_matrix(61, 1.5).T
    assert torch.allclose(digital_elastic.smoothed(fields, 2.5, 1.5), product, atol=1e-5)
