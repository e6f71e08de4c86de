"""Frame indices against the formulas of the papers, and what they promise."""

import pytest
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import InputSpec
from robustvideo.benchmark.data.sampling import dense, indices, uniform


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


def test_the_spec_chooses():
    assert indices(300, InputSpec(8, 224, 256)) == uniform(300, 8)
    assert indices(300, InputSpec(8, 224, 256, "dense", 8)) == dense(300, 8, 8)


@pytest.mark.parametrize("call", [lambda: uniform(0, 8), lambda: uniform(8, 0), lambda: dense(8, 8, 0), lambda: dense(-1, 8, 1)])
def test_senseless_numbers_are_refused(call):
    with pytest.raises(InputError, match="below 1"):
        call()


def test_an_unknown_sampler_is_refused():
    with pytest.raises(InputError, match="uniform, dense"):
        indices(10, InputSpec(8, 224, 256, "random"))  # type: ignore[arg-type]
