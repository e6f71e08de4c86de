"""Corruptions of time: which frames are shown, worked out by hand or counted over long videos."""

from collections import Counter
from functools import cache
from itertools import groupby

import numpy as np
import pytest
import torch
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from scipy.ndimage import uniform_filter1d

NAMES = ("sampling", "reverse_sampling", "jumble", "box_jumble", "freeze", "frame_rate", "temporal_blur", "reverse", "frame_drop")
EVERY = [(name, table) for name in NAMES for table in resolve("corruption", name).create().tables]


@cache
def build(spec):
    return resolve("corruption", spec).create()


@pytest.fixture
def order(streams):
    """The order of a corruption's spec as a list of positions; every frame must show one old frame."""

    def make(spec, severity, total, rate=25.0, seed=0):
        corruption = build(spec)
        made = corruption.order(total, rate, corruption.setting(severity), streams(1, seed))
        assert all(len(shown) == 1 for shown in made)
        return [shown[0] for shown in made]

    return make


def moved(positions):
    """How far frames are from home, on average."""
    return np.abs(np.array(positions) - np.arange(len(positions))).mean()


@pytest.mark.parametrize(("name", "table"), EVERY)
@pytest.mark.parametrize("total", [1, 2, 7, 16, 100])
def test_every_order_shows_frames_that_exist(name, table, total, streams):
    corruption = build(f"{name}:table={table}")
    for severity in range(1, 6):
        made = corruption.order(total, 0.0, corruption.setting(severity), streams(1))
        assert 1 <= len(made) <= total
        assert all(len(shown) > 0 and 0 <= min(shown) <= max(shown) < total for shown in made)
        assert len(made) == total or corruption.broken[table] == "shorter"


@pytest.mark.parametrize("name", NAMES)
def test_clips_keep_their_shape_and_the_input_its_bytes(name, streams):
    clips = torch.randint(0, 256, (2, 3, 12, 8, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = clips.clone()
    made = build(name).apply(clips, 3, streams(2))
    assert made.shape == clips.shape and made.dtype == torch.uint8
    assert torch.equal(clips, before) and not torch.equal(made, clips)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("severity", range(1, 6))
def test_no_severity_is_the_identity(name, severity, streams):
    """Over one hundred videos of 100 frames; at a rate above what `frame_rate` lowers it to."""
    corruption = build(name)
    drawn = [corruption.order(100, 25.0, corruption.setting(severity), streams(1, seed)) for seed in range(100)]
    assert all(made != [(position,) for position in range(100)] for made in drawn)


def test_sampling_repeats_what_it_keeps(order):
    assert order("sampling", 1, 7) == [0, 0, 2, 2, 4, 4, 6]
    assert order("sampling", 2, 10) == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]
    assert order("sampling", 5, 70) == [0] * 32 + [32] * 32 + [64] * 6


def test_sampling_of_the_cvpr_release_is_shorter(order):
    assert order("sampling:table=schiappa2023", 2, 10) == [0, 4, 8]
    assert order("reverse_sampling:table=schiappa2023", 2, 10) == [8, 4, 0]


@pytest.mark.parametrize("severity", range(1, 6))
def test_reverse_sampling_is_sampling_backwards(severity, order):
    assert order("reverse_sampling", severity, 50) == order("sampling", severity, 50)[::-1]


@pytest.mark.parametrize("table", ["vbench", "rose2022", "schiappa2023"])
@pytest.mark.parametrize("severity", range(1, 6))
def test_jumble_stays_inside_its_windows(table, severity, order):
    width = 2**severity if table == "vbench" else 64 // 2**severity
    made = order(f"jumble:table={table}", severity, 3200 + 1)
    assert sorted(made) == list(range(3201))
    assert all(position // width == at // width for at, position in enumerate(made))
    assert moved(made) == pytest.approx((width - 1 / width) / 3, rel=0.08)


def test_jumble_draws_every_order_of_a_window_equally_often(order):
    made = np.array(order("jumble", 1, 20000)).reshape(-1, 2)
    assert abs((made[:, 0] > made[:, 1]).mean() - 0.5) < 3 * 0.5 / 100


@pytest.mark.parametrize("severity", range(1, 6))
def test_published_box_jumble_permutes_whole_segments(severity, order):
    length = (severity + 1) ** 2
    made = order("box_jumble:table=schiappa2023", severity, 200)
    assert sorted(made) == list(range(200))
    assert made == order("box_jumble:table=rose2022", severity, 200)
    assert all(later == now + 1 or now % length == length - 1 or now == 199 for now, later in zip(made, made[1:], strict=False))
    assert made != list(range(200))


@pytest.mark.parametrize("severity", [3, 4, 5])
def test_published_box_jumble_is_a_no_op_on_sixteen_frames(severity, order):
    assert order("box_jumble:table=rose2022", severity, 16) == list(range(16))


@pytest.mark.parametrize("total", [8, 16, 50, 300])
def test_box_jumble_moves_every_segment_and_further_with_severity(total, order):
    means = []
    for severity in range(1, 6):
        drawn = [order("box_jumble", severity, total, seed=seed) for seed in range(60)]
        assert all(sorted(made) == list(range(total)) for made in drawn)
        if total % 8 == 0:  # else a longer segment in a shorter one's place can overlap its own
            assert all(position != at for made in drawn for at, position in enumerate(made))
        means.append(np.mean([moved(made) for made in drawn]) / total * 8)
    assert means == sorted(means)
    # Two cycles of three neighbours move (1+1+2)/3 on average and a pair 1; a cycle of k moves (k+1)/3.
    assert means == pytest.approx([1, (6 * 4 / 3 + 2) / 8, 5 / 3, (6 * 7 / 3 + 2) / 8, 3], rel=0.08)


def test_freeze_holds_with_its_probability(order):
    for severity in range(1, 6):
        made = np.array(order("freeze", severity, 20001))
        held = made[1:] == made[:-1]
        chance = 0.12 * severity
        assert abs(held.mean() - chance) < 4 * (chance * (1 - chance) / 20000) ** 0.5
        assert np.array_equal(made[1:][~held], np.arange(1, 20001)[~held])
        assert made[0] == 0


@pytest.mark.parametrize(("severity", "kept"), [(1, 40), (2, 20), (3, 10), (4, 5), (5, 1)])
def test_freeze_of_the_cvpr_release_holds_drawn_frames(severity, kept, order):
    made = order("freeze:table=schiappa2023", severity, 100)
    runs = [(position, len(list(group))) for position, group in groupby(made)]
    starts = [position for position, _ in runs]
    assert len(runs) == kept and starts == sorted(starts)
    assert [start + length for start, length in runs] == [*starts[1:], 100]


def test_freeze_of_the_cvpr_release_loses_the_start(order):
    """One of sixteen frames is held: 8.5 remain on average."""
    lengths = [len(order("freeze:table=schiappa2023", 5, 16, seed=seed)) for seed in range(400)]
    assert np.mean(lengths) == pytest.approx(8.5, abs=4 * 4.61 / 20)


def test_frame_rate_shows_the_first_frame_of_each_slot(order):
    assert order("frame_rate", 1, 11, rate=25.0) == [0, 0, 2, 3, 4, 5, 5, 7, 8, 9, 10]
    assert order("frame_rate", 5, 12, rate=24.0) == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8]
    assert order("frame_rate", 2, 6, rate=16.0) == [0, 1, 2, 3, 4, 5]
    assert order("frame_rate", 3, 40, rate=0.0) == order("frame_rate", 3, 40, rate=25.0)


@pytest.mark.parametrize("rate", [25.0, 30000 / 1001, 30.0, 60.0])
@pytest.mark.parametrize("severity", range(1, 6))
def test_frame_rate_leaves_that_many_frames_a_second(rate, severity, order):
    shown = len(set(order("frame_rate", severity, round(rate * 60), rate=rate)))
    assert shown == pytest.approx(60 * (20, 16, 12, 9, 6)[severity - 1], abs=1)


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("frames", [5, 16, 40])
def test_temporal_blur_is_a_box_filter_over_time(severity, frames, streams):
    width = 2 * (3, 5, 7, 9, 11)[severity - 1]
    clips = torch.randint(0, 256, (1, 3, frames, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    made = build("temporal_blur").apply(clips, severity, streams(1))
    values, there = clips.numpy().astype(np.float64), np.ones(clips.shape)
    sums, counts = (uniform_filter1d(item, width, axis=2, mode="constant") for item in (values, there))
    expected = np.floor(sums / counts + 1e-6)
    assert np.array_equal(made.numpy(), expected.astype(np.uint8))


@pytest.mark.parametrize("severity", range(1, 6))
def test_published_temporal_blur_drops_both_ends(severity, streams):
    reach = (3, 5, 7, 9, 11)[severity - 1]
    corruption = build("temporal_blur:table=yi2021")
    made = corruption.order(40, 25.0, corruption.setting(severity), streams(1))
    assert [list(shown) for shown in made] == [list(range(at - reach, at + reach)) for at in range(reach, 40 - reach)]
    assert [list(shown) for shown in corruption.order(6, 25.0, reach, streams(1))] == [list(range(6))]


def test_reverse_grows_to_the_whole_video(order):
    assert order("reverse", 5, 6) == [5, 4, 3, 2, 1, 0]
    assert order("reverse", 4, 7) == [2, 1, 0, 6, 5, 4, 3]
    assert order("reverse", 1, 10) == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8]
    distances = [moved(order("reverse", severity, 120)) for severity in range(1, 6)]
    assert distances == pytest.approx([12, 15, 20, 30, 60], rel=0.01)


@pytest.mark.parametrize(("severity", "loss", "burst"), [(1, 0.1, 2), (2, 0.2, 3), (3, 0.3, 4), (4, 0.4, 5), (5, 0.5, 6)])
def test_frames_drop_in_bursts(severity, loss, burst, order):
    made = np.array(order("frame_drop", severity, 40000))
    lost = made != np.arange(40000)
    gaps = [len(list(group)) for missing, group in groupby(lost) if missing]
    assert lost.mean() == pytest.approx(loss, rel=0.08)
    assert np.mean(gaps) == pytest.approx(burst, rel=0.08)
    # A geometric length: half of all gaps of a mean of 2 are of one frame.
    assert Counter(gaps)[1] / len(gaps) == pytest.approx(1 / burst, rel=0.15)
    assert np.array_equal(made, np.maximum.accumulate(np.where(lost, 0, np.arange(40000))))


def test_a_closed_gap_leaves_the_frames_that_arrived(order):
    held, closed = order("frame_drop", 4, 300), order("frame_drop:gap=skip", 4, 300)
    assert closed == sorted(set(held)) and len(closed) < 300


def test_bursts_are_longer_than_freezes_of_as_many_frames(order):
    """`freeze` severity 4 and `frame_drop` severity 5 lose about half of the frames each."""
    gaps = []
    for name, severity in (("freeze", 4), ("frame_drop", 5)):
        lost = np.array(order(name, severity, 20000)) != np.arange(20000)
        gaps.append(np.mean([len(list(group)) for missing, group in groupby(lost) if missing]))
    assert gaps[1] > 2.5 * gaps[0]


def test_an_unknown_gap_is_refused():
    with pytest.raises(InputError, match="gap"):
        resolve("corruption", "frame_drop:gap=blend")
