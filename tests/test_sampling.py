"""Frame indices against the formulas of the papers, and what they promise."""

import numpy as np
import pytest
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import InputSpec
from robustvideo.benchmark.data.sampling import dense, indices, linspace, midpoints, uniform


def test_uniform_is_the_formula_of_tsn():
    # TSN's test-time code in floats, which is exact where T is a power of two.
    for frames in (1, 2, 4, 8, 16, 32):
        for total in range(1, 400):
            tick = total / frames
            assert uniform(total, frames) == [int(tick / 2 + tick * index) for index in range(frames)]


@pytest.mark.parametrize(("total", "frames", "wanted"), [(2, 4, [0, 0, 1, 1]), (1, 3, [0, 0, 0]), (10, 4, [1, 3, 6, 8])])
def test_uniform_by_hand(total, frames, wanted):
    assert uniform(total, frames) == wanted


def test_uniform_takes_one_frame_of_each_segment():
    for total in range(8, 300):
        chosen = uniform(total, 8)
        assert all(total * i / 8 <= index + 0.5 < total * (i + 1) / 8 + 0.5 for i, index in enumerate(chosen))
        assert len(set(chosen)) == 8


@pytest.mark.parametrize(
    ("total", "frames", "interval", "wanted"),
    [
        (9, 4, 2, [1, 3, 5, 7]),  # The window of 7 frames leaves one on each side.
        (10, 4, 2, [1, 3, 5, 7]),
        (7, 4, 2, [0, 2, 4, 6]),
        (5, 4, 2, [0, 2, 4, 1]),  # Too short: it starts again.
        (3, 8, 1, [0, 1, 2, 0, 1, 2, 0, 1]),
        (1, 3, 4, [0, 0, 0]),
        (100, 1, 5, [49]),
    ],
)
def test_dense_by_hand(total, frames, interval, wanted):
    assert dense(total, frames, interval) == wanted


def test_dense_is_centred():
    for total in range(63, 300):
        chosen = dense(total, 32, 2)
        assert abs(chosen[0] - (total - 1 - chosen[-1])) <= 1
        assert {b - a for a, b in zip(chosen, chosen[1:], strict=False)} == {2}


def test_midpoints_are_those_of_numpy_and_differ_from_uniform_as_was_measured():
    different = count = 0
    for total in range(1, 301):
        ends = np.round((total - 1) / 8 * np.arange(9)).astype(int)
        chosen = midpoints(total, 8)
        assert chosen == [int(pair) for pair in (ends[:-1] + ends[1:]) // 2]
        if total >= 8:
            gaps = np.abs(np.subtract(chosen, uniform(total, 8)))
            assert gaps.max() <= 1
            different, count = different + (gaps > 0).sum(), count + 8
    # A third of all indices, N = 8 to 300: an independent count of the two code bases' formulas gave 34 %.
    assert round(100 * different / count) == 34


@pytest.mark.parametrize("frames", [1, 2, 8, 16, 32])
def test_linspace_is_numpy_s(frames):
    for total in range(1, 301):
        exact = np.linspace(0, total - 1, frames)
        # Where floats miss a whole number from below, ours is the whole number.
        assert linspace(total, frames) == np.floor(exact + 1e-9).astype(int).tolist()


@pytest.mark.parametrize(
    ("rate", "wanted"),
    [
        (25.0, [0, 5, 10, 15]),  # 6 frames at 30 a second are 5 at 25
        (30.0, [0, 6, 12, 18]),
        (60.0, [0, 12, 24, 36]),
        (15.0, [0, 3, 6, 9]),
        (29.97, [0, 5, 11, 17]),
        (0.0, [0, 6, 12, 18]),  # unknown: the video's own frames
    ],
)
def test_dense_at_a_rate_counts_in_seconds(rate, wanted):
    spec = InputSpec(4, 224, 256, "dense", 6, rate=30.0)
    total = 200
    start = (total - wanted[-1] - 1) // 2
    assert indices(total, spec, rate) == [start + offset for offset in wanted]
    assert indices(3, spec, rate) == [offset % 3 for offset in wanted], "too short a video starts again"
    native = InputSpec(4, 224, 256, "dense", 6)
    assert indices(total, native, rate) == dense(total, 4, 6)


def test_the_spec_chooses():
    assert indices(300, InputSpec(8, 224, 256)) == uniform(300, 8)
    assert indices(300, InputSpec(8, 224, 256, "dense", 8)) == dense(300, 8, 8)
    assert indices(300, InputSpec(8, 224, 256, "midpoints"), 25.0) == midpoints(300, 8)
    assert indices(300, InputSpec(8, 224, 256, "linspace"), 25.0) == linspace(300, 8)


@pytest.mark.parametrize(
    "call",
    [
        lambda: uniform(0, 8),
        lambda: uniform(8, 0),
        lambda: dense(8, 8, 0),
        lambda: dense(-1, 8, 1),
        lambda: midpoints(0, 8),
        lambda: linspace(8, 0),
    ],
)
def test_senseless_numbers_are_refused(call):
    with pytest.raises(InputError, match="below 1"):
        call()


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf"), float("nan")])
def test_a_senseless_speed_is_refused(speed):
    with pytest.raises(InputError, match="not above 0"):
        dense(8, 8, 1, speed)


def test_an_unknown_sampler_is_refused():
    with pytest.raises(InputError, match="uniform, midpoints, linspace, dense"):
        indices(10, InputSpec(8, 224, 256, "random"))  # type: ignore[arg-type]
