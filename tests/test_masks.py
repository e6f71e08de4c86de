"""Masks against counting pixels one by one."""

import pytest
import torch
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.masks import (
    border_mask,
    border_thickness,
    check_frames,
    check_place,
    frame_mask,
    patch_mask,
    patch_size,
    random_places,
)


def frames_of(height, width, count=2, frames=4):
    return torch.zeros(count, 3, frames, height, width)


@pytest.mark.parametrize(
    ("height", "width", "ratio", "thickness", "area"),
    [(112, 112, 0.15, 4, 0.1378), (240, 320, 0.1, 7, 0.0995), (224, 224, 0.1, 5, 0.0873), (12, 12, 1.0, 6, 1.0)],
)
def test_border_thickness_of_common_sizes(height, width, ratio, thickness, area):
    clips = frames_of(height, width)
    assert border_thickness("x", (height, width), ratio) == thickness
    assert float(border_mask(clips, thickness).mean()) == pytest.approx(area, abs=5e-5)


@pytest.mark.parametrize("ratio", [0.31, 0.4, 0.5, 5 / 9, 0.75, 0.99, 1.0])
@pytest.mark.parametrize("size", [(12, 12), (13, 20), (31, 9)])
def test_the_border_is_the_thickest_that_fits_the_ratio(size, ratio):
    """Areas by counting: one pixel more would be too much, or there is no room for it."""
    clips = frames_of(*size)
    areas = [float(border_mask(clips, thickness)[0].double().mean()) for thickness in range(min(size) // 2 + 1)]
    fits = max(thickness for thickness, area in enumerate(areas) if area <= ratio + 1e-9)
    if fits:
        assert border_thickness("x", size, ratio) == fits
    else:
        with pytest.raises(InputError):
            border_thickness("x", size, ratio)


@pytest.mark.parametrize(
    ("height", "width", "ratio", "size"),
    [(112, 112, 0.15, (43, 43)), (240, 320, 0.1, (75, 101)), (224, 224, 0.25, (112, 112)), (12, 20, 1.0, (12, 20))],
)
def test_patch_size(height, width, ratio, size):
    assert patch_size("x", (height, width), ratio) == size
    assert size[0] * size[1] / (height * width) <= ratio


def test_a_patch_lies_where_it_is_said_to():
    clips, rows, columns = frames_of(7, 9, frames=3), torch.tensor([[0, 1, 4], [2, 2, 3]]), torch.tensor([[6, 0, 1], [5, 4, 6]])
    wanted = torch.zeros(2, 1, 3, 7, 9)
    for clip in range(2):
        for frame in range(3):
            row, column = rows[clip, frame], columns[clip, frame]
            wanted[clip, 0, frame, row : row + 3, column : column + 2] = 1
    assert torch.equal(patch_mask(clips, (3, 2), rows, columns), wanted)
    shared = patch_mask(clips, (3, 2), rows[:, :1], columns[:, :1])
    assert torch.equal(shared, wanted[:, :, :1])


def test_random_places_reach_every_corner_and_no_farther(streams):
    clips = frames_of(5, 6, count=40, frames=20)
    rows, columns = random_places(clips, (4, 4), streams(40), per_frame=True)
    places = set(zip(rows.flatten().tolist(), columns.flatten().tolist(), strict=True))
    assert places == {(row, column) for row in range(2) for column in range(3)}, "the bottom-right corner is one of them"
    counts = torch.bincount((rows * 3 + columns).flatten(), minlength=6)
    assert ((counts - 800 / 6).abs() < 4 * (800 / 6) ** 0.5).all(), "equally often"
    assert (rows[:, 0] != rows[:, 1]).any()


def test_random_places_belong_to_the_clip(streams):
    clips, random = frames_of(30, 30, count=6), streams(6)
    rows, columns = random_places(clips, (3, 3), streams(6), per_frame=False)
    assert rows.shape == columns.shape == (6, 1)
    assert len(set(rows.flatten().tolist())) > 1, "clips differ"
    for number in range(6):
        alone = random_places(clips[:1], (3, 3), random[torch.tensor([number])], per_frame=False)
        assert (alone[0] == rows[number]).all() and (alone[1] == columns[number]).all()


def test_a_patch_may_fill_the_frame(streams):
    clips = frames_of(8, 8)
    size = patch_size("x", (8, 8), 1.0)
    mask = patch_mask(clips, size, *random_places(clips, size, streams(2), per_frame=True))
    assert mask.min() == 1


def test_frame_mask():
    mask = frame_mask(frames_of(2, 2), torch.tensor([[0, 3], [1, 2]]))
    assert mask.shape == (2, 1, 4, 1, 1)
    assert mask.flatten(1).tolist() == [[1, 0, 0, 1], [0, 1, 1, 0]]
    assert frame_mask(frames_of(2, 2), torch.zeros(2, 0, dtype=torch.long)).sum() == 0


@pytest.mark.parametrize(("measure", "ratio"), [(patch_size, 0.005), (patch_size, 0.0), (border_thickness, 0.1)])
def test_a_region_of_no_pixels_is_refused_and_what_would_do_is_said(measure, ratio):
    with pytest.raises(
        InputError, match=f"^attack x: ratio: {ratio:g} leaves a .* of no pixels in a frame of 12x12; .* at least"
    ):
        measure("attack x", (12, 12), ratio)
    with pytest.raises(InputError) as refused:
        measure("attack x", (12, 12), ratio)
    least = float(str(refused.value).rsplit(" ", 1)[1])
    assert measure("attack x", (12, 12), least)
    with pytest.raises(InputError):
        measure("attack x", (12, 12), least - 2e-4)


@pytest.mark.parametrize(("row", "column", "name"), [(9, 0, "row"), (0, 10, "column"), (-1, 0, "row")])
def test_a_patch_beyond_the_frame_is_refused(row, column, name):
    check_place("attack x", (12, 12), (4, 3), 8, 9)
    with pytest.raises(InputError, match=f"^attack x: {name}: .* beyond the frame's 12; it must be from 0 to [89]$"):
        check_place("attack x", (12, 12), (4, 3), row, column)


def test_more_frames_than_the_clip_has_are_refused():
    assert check_frames("attack x", 4, 4) is None
    with pytest.raises(InputError, match="^attack x: frames: 5 is more than the clip's 4; "):
        check_frames("attack x", 4, 5)
