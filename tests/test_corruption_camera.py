"""Corruptions of the camera against Pillow, OpenCV, scipy and measured displacements."""

from functools import cache

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.corruptions.camera_motion import shaking, wandering
from robustvideo.corruptions.camera_warp import seen, turned, window
from scipy.ndimage import affine_transform, gaussian_filter
from skimage import data
from skimage.registration import phase_cross_correlation

SIZES = ((224, 224), (120, 160), (61, 33))


def picture(height=224, width=224):
    return cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)


def still(frames, height=224, width=224, count=1):
    """Clips of one picture, (N, 3, T, H, W)."""
    return torch.from_numpy(picture(height, width)).permute(2, 0, 1)[None, :, None].repeat(count, 1, frames, 1, 1)


def frame(clips, at=0, row=0):
    return clips[row, :, at].permute(1, 2, 0).numpy()


@cache
def build(spec):
    return resolve("corruption", spec).create()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("angle", [7.5, 15, 30, 45, 90, 180, 270, -7, -31, 1, 0])
def test_turned_frames_are_pillows(size, angle):
    made = turned(still(1, *size)[0], [angle])
    expected = np.asarray(Image.fromarray(picture(*size)).rotate(angle))
    assert np.array_equal(frame(made[None]), expected)


@pytest.mark.parametrize("severity", range(1, 6))
def test_static_rotate_turns_all_frames_by_the_tables_angle(severity, streams):
    made = build("static_rotate").apply(still(3, 96, 128), severity, streams(1))
    expected = np.asarray(Image.fromarray(picture(96, 128)).rotate((7.5, 15, 30, 45, 90)[severity - 1]))
    assert all(np.array_equal(frame(made, at), expected) for at in range(3))


@pytest.mark.parametrize("severity", range(1, 6))
def test_rotate_turns_every_frame_by_a_whole_angle_within_bounds(severity, streams):
    """The angle of each frame is found among Pillow's pictures."""
    bound = 6 * severity + 1
    known = {Image.fromarray(picture(64, 48)).rotate(angle).tobytes(): angle for angle in range(-bound, bound + 1)}
    made = build("rotate").apply(still(40, 64, 48), severity, streams(1))
    angles = [known[frame(made, at).tobytes()] for at in range(40)]
    assert len(set(angles)) > 8 and min(angles) < -bound / 2 and max(angles) > bound / 2


def test_angles_and_offsets_are_uniform_whole_numbers(streams):
    drawn = wandering("iid", -7, 7, streams(1), 1, 30000, 25.0).flatten()
    values, counts = drawn.unique(return_counts=True)
    assert values.tolist() == list(range(-7, 8))
    assert ((counts - 2000).abs() < 4 * 2000**0.5).all()


@pytest.mark.parametrize("rate", [10.0, 25.0, 0.0])
def test_drift_sways_once_in_two_seconds_within_its_bounds(rate, streams):
    path = wandering("drift", 0, 40, streams(3), 2, 400, rate)
    period = round(2 * (rate or 25.0))
    assert path.shape == (3, 400, 2)
    assert torch.allclose(path[:, period:], path[:, :-period], atol=1e-9)
    assert 0 <= path.min() < 0.5 and 39.5 < path.max() <= 40
    # The steepest a sine of amplitude 20 gets.
    assert path.diff(dim=1).abs().max() <= 20 * 2 * np.pi / period
    assert path[:, 0].unique().numel() == 6


@pytest.mark.parametrize("name", ["rotate", "translate", "shake"])
def test_static_gives_a_still_picture_and_iid_a_restless_one(name, streams):
    for mode in ("static", "iid"):
        made = build(f"{name}:temporal={mode}").apply(still(8, 64, 64), 3, streams(1))
        same = [torch.equal(made[:, :, 0], made[:, :, at]) for at in range(1, 8)]
        assert all(same) if mode == "static" else not any(same)


@pytest.mark.parametrize("name", ["rotate", "translate", "translate:table=vbench", "shake"])
def test_drift_changes_less_from_frame_to_frame_than_iid(name, streams):
    def step(mode):
        spec = f"{name}{',' if ':' in name else ':'}temporal={mode}"
        made = build(spec).apply(still(16, 96, 96, count=4), 4, streams(4), 30.0).float()
        return made.diff(dim=2).abs().mean()

    assert step("drift") < 0.6 * step("iid")


@pytest.mark.parametrize("size", [(224, 224), (120, 160)])
@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("table", ["rose2022", "schiappa2023"])
def test_translate_cuts_windows_from_the_enlarged_frame(size, severity, table, streams):
    """The window of each frame is found among all of OpenCV's enlarged frame on black; offsets are checked, not assumed."""
    height, width = size
    bound = 8 * severity - (table == "schiappa2023")
    large = cv2.resize(picture(*size), (round(width * 256 / 224), round(height * 256 / 224)), interpolation=cv2.INTER_LINEAR)
    large = np.pad(large, ((0, 40), (0, 40), (0, 0)))
    corners = []
    made = build(f"translate:table={table}").apply(still(6, *size), severity, streams(1))
    for at in range(6):
        shown = frame(made, at)
        core = shown[: height // 2, : width // 2]
        scores = cv2.matchTemplate(large, core, cv2.TM_SQDIFF)
        _, _, (left, top), _ = cv2.minMaxLoc(scores)
        corners.append((top, left))
        expected = large[top : top + height, left : left + width]
        assert np.abs(shown.astype(int) - expected).max() <= 1
    tops, lefts = np.array(corners).T
    assert tops.max() <= round(bound * height / 224) and lefts.max() <= round(bound * width / 224)
    assert (len(set(corners)) > 1) == (table == "rose2022"), "drawn per frame, and in schiappa2023 per clip"


def test_translate_is_black_where_the_window_leaves_the_frame(streams):
    white = torch.full((1, 3, 60, 224, 224), 255, dtype=torch.uint8)
    made = build("translate").apply(white, 5, streams(1))
    assert set(made.unique().tolist()) == {0, 255}
    beyond = (made[0, 0, :, :, 0] == 0).sum(dim=1)
    assert 6 <= beyond.max() <= 8
    assert (build("translate").apply(white, 4, streams(1)) == 255).all()


@pytest.mark.parametrize("border", ["black", "reflect"])
def test_windows_agree_with_numpys_padding(border):
    clip = torch.randint(0, 256, (3, 2, 9, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    padded = np.pad(clip.numpy(), ((0, 0), (0, 0), (5, 5), (5, 5)), mode="constant" if border == "black" else "symmetric")
    made = window(clip, [[-4, 3], [5, -2]], 9, 7, border).numpy()
    assert np.array_equal(made[:, 0], padded[:, 0, 1:10, 8:15])
    assert np.array_equal(made[:, 1], padded[:, 1, 10:19, 3:10])


@pytest.mark.parametrize("severity", range(1, 6))
def test_centred_translate_moves_what_the_phase_correlation_measures(severity, streams):
    bound = 8 * severity
    clips = still(12)
    made = build("translate:table=vbench").apply(clips, severity, streams(1))
    moves = []
    for at in range(12):
        shift, _, _ = phase_cross_correlation(frame(clips).mean(axis=2), frame(made, at).mean(axis=2))
        moves.append(shift)
        top, left = (int(value) for value in shift)
        expected = np.pad(picture(), ((40, 40), (40, 40), (0, 0)), mode="symmetric")[40 + top : 264 + top, 40 + left : 264 + left]
        assert np.array_equal(frame(made, at), expected)
    assert np.abs(moves).max() <= bound and np.min(moves) < 0 < np.max(moves)


@pytest.mark.parametrize("size", [(224, 224), (90, 140)])
def test_the_cameras_view_agrees_with_scipy(size):
    """A turned, moved and magnified view; scipy's `reflect` is the half-sample reflection."""
    height, width = size
    shift, degrees, zoom = (5.3, -11.7), 9.0, 1.15
    made = seen(
        still(1, *size)[0], torch.tensor([shift]).double(), torch.tensor([degrees]).double(), torch.tensor([zoom]).double()
    )
    turn = np.deg2rad(degrees)
    # Rows first, as scipy counts them: y = sin x' + cos y', x = cos x' - sin y'.
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / zoom
    middle = (np.array(size) - 1) / 2
    offset = middle + np.array(shift[::-1]) - matrix @ middle
    for channel in range(3):
        expected = affine_transform(picture(*size)[..., channel].astype(float), matrix, offset, order=1, mode="reflect")
        assert np.abs(made[channel, 0].numpy() - expected).max() < 0.05


def test_a_camera_at_rest_changes_nothing():
    clip = still(2, 50, 70)[0]
    zeros = torch.zeros(2, 2, dtype=torch.float64)
    made = seen(clip, zeros, zeros[:, 0], torch.ones(2, dtype=torch.float64))
    assert torch.equal(made.round().to(torch.uint8), clip)


@pytest.mark.parametrize("severity", range(1, 6))
def test_zoom_drift_magnifies_evenly_about_the_drawn_point(severity, streams):
    """Every frame is OpenCV's, which rounds coordinates to 1/32 pixel, magnified about a point in the middle half."""
    final = (1.1, 1.2, 1.35, 1.5, 1.75)[severity - 1]
    clips = still(9, 120, 200)
    made = build("zoom_drift").apply(clips, severity, streams(1))
    assert torch.equal(made[:, :, 0], clips[:, :, 0])
    across, down = (streams(1).uniform((2,), -0.25, 0.25)[0].numpy() + 0.5) * [200, 120] - 0.5
    for at in range(1, 9):
        zoom = final ** (at / 8)
        matrix = np.array([[zoom, 0, across * (1 - zoom)], [0, zoom, down * (1 - zoom)]])
        expected = cv2.warpAffine(picture(120, 200), matrix, (200, 120), flags=cv2.INTER_LINEAR)
        assert np.abs(frame(made, at).astype(int) - expected).mean() < 0.7


@pytest.mark.parametrize("severity", range(1, 6))
def test_zoom_drift_spreads_two_dots_by_the_tables_factor(severity, streams):
    dots = np.zeros((201, 201, 3), dtype=np.uint8)
    for channel, left in enumerate((90, 110)):
        dots[100, left, channel] = 255
    dots = (gaussian_filter(dots.astype(float), (5, 5, 0)) * 150).astype(np.uint8)
    clips = torch.from_numpy(dots).permute(2, 0, 1)[None, :, None].repeat(1, 1, 9, 1, 1)
    made = build("zoom_drift").apply(clips, severity, streams(1))
    spread = np.diff([[centre(made[0, channel, at].numpy()) for channel in (0, 1)] for at in range(9)], axis=1).flatten()
    assert spread[0] == pytest.approx(20, abs=1e-6)
    factor = (1.1, 1.2, 1.35, 1.5, 1.75)[severity - 1] ** (1 / 8)
    assert spread[1:] / spread[:-1] == pytest.approx(np.full(8, factor), abs=3e-3)


def centre(grey):
    """Across, the centre of mass."""
    weights = grey.astype(float)
    return (np.arange(grey.shape[1]) * weights).sum() / weights.sum()


def test_a_zoom_needs_two_frames(streams):
    with pytest.raises(InputError, match="needs 2 or more"):
        build("zoom_drift").apply(still(1, 32, 32), 1, streams(1))


def test_a_shaking_hand_has_the_declared_root_mean_square_and_band(streams):
    path = shaking(streams(200), 3, 500, 50.0, 1)
    assert path.shape == (200, 500, 3)
    assert path.square().mean().sqrt().item() == pytest.approx(1, abs=0.03)
    assert abs(path.mean().item()) < 0.03
    power = torch.fft.rfft(path * torch.hann_window(500, dtype=torch.float64)[:, None], dim=1).abs().square().mean(dim=(0, 2))
    frequencies = torch.fft.rfftfreq(500, 1 / 50)
    inside = (frequencies > 0.75) & (frequencies < 8.25)
    assert power[inside].sum() / power.sum() > 0.999
    assert power[(frequencies > 1) & (frequencies < 2)].sum() > 5 * power[(frequencies > 4) & (frequencies < 8)].sum()


def test_a_shaking_hand_moves_the_same_way_at_any_rate(streams):
    slow, fast = (shaking(streams(2), 3, frames, rate, 1) for frames, rate in ((20, 10.0), (60, 30.0)))
    assert torch.allclose(slow, fast[:, ::3], atol=1e-9)


def test_shake_in_iid_has_the_same_root_mean_square_without_a_path(streams):
    places = shaking(streams(50), 3, 200, 25.0, 200)
    assert places.square().mean().sqrt().item() == pytest.approx(1, abs=0.02)
    assert abs((places[:, 1:] * places[:, :-1]).mean().item()) < 0.02


@pytest.mark.parametrize("pixels", [2, 6, 13])
def test_shake_moves_what_correlation_measures(pixels, streams):
    """Neighbouring frames of a shake that does not turn, on a smooth texture: what is seen moves against the camera."""
    texture = gaussian_filter(np.random.default_rng(0).normal(size=(224, 224, 3)), (2, 2, 0)) * 400 + 128
    clips = torch.from_numpy(texture.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)[None, :, None].repeat(1, 1, 10, 1, 1)
    made = build("shake").change(clips, (pixels, 0.0), streams(1), 25.0)
    steps = np.diff(shaking(streams(1), 3, 10, 25.0, 1)[0, :, :2].numpy(), axis=0) * pixels
    taper = np.outer(np.hanning(224), np.hanning(224))
    views = [(frame(made, at).mean(axis=2) - 128) * taper for at in range(10)]
    for now, later, step in zip(views, views[1:], steps, strict=False):
        down, right = phase_cross_correlation(now, later, upsample_factor=50, normalization=None)[0]
        assert np.abs([right, down] - step).max() < 0.1
    assert np.abs(steps).max() > pixels / 2


@pytest.mark.parametrize("severity", range(1, 6))
def test_shake_shows_what_scipy_shows_along_the_path(severity, streams):
    pixels, degrees = build("shake").setting(severity)
    made = build("shake").apply(still(4, 112, 150), severity, streams(1), 12.5)
    path = shaking(streams(1), 3, 4, 12.5, 1)[0].numpy() * [pixels / 2, pixels / 2, degrees]
    for at, (right, down, angle) in enumerate(path):
        turn, middle = np.deg2rad(angle), np.array([55.5, 74.5])
        matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        offset = middle + [down, right] - matrix @ middle
        expected = affine_transform(picture(112, 150)[..., 1].astype(float), matrix, offset, order=1, mode="reflect")
        assert np.abs(frame(made, at)[..., 1] - expected).max() <= 0.55


def test_shake_scales_with_the_short_side(streams):
    large, small = (build("shake:temporal=static").apply(still(1, side, side + 32), 4, streams(1)) for side in (224, 112))
    moves = []
    for made, side in ((large, 224), (small, 112)):
        shift, _, _ = phase_cross_correlation(picture(side, side + 32).mean(axis=2), frame(made).mean(axis=2), upsample_factor=20)
        moves.append(np.hypot(*shift) / side)
    assert moves[0] > 0.005 and moves[1] == pytest.approx(moves[0], rel=0.15)


@pytest.mark.parametrize("name", ["static_rotate", "rotate", "translate", "zoom_drift", "shake"])
def test_camera_results_do_not_depend_on_the_batch(name, streams):
    corruption = build(name)
    clips = still(4, 40, 56, count=3)
    before = clips.clone()
    together = corruption.apply(clips, 4, streams(3))
    alone = corruption.apply(clips[:1], 4, streams(1))
    assert torch.equal(together[:1], alone) and torch.equal(clips, before)
    assert together.shape == clips.shape and together.dtype == torch.uint8
