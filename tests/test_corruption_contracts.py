"""What every registered corruption must keep; a new one is tested the moment its file exists."""

import pytest
import torch
from robustvideo.benchmark.core import registry
from robustvideo.benchmark.core.corruption import SEVERITIES, Corruption, Pixels, Timeline
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.rng import ClipRandom

SPECS = sorted({"imgaug:imgcorruptlike.Fog", *registry.entries("corruption")} - {"imgaug"})
FRAMES, HEIGHT, WIDTH = 8, 64, 80


def make(spec, **values):
    return registry.resolve("corruption", spec, **values).create()


def on_frames(spec, **values):
    """The corruption where it acts on clips in memory."""
    return make(spec, **({"stage": "frames"} | values))


def streams(count, seed=0):
    return ClipRandom.for_clips([f"clip {number}" for number in range(count)], seed, "contract")


@pytest.fixture(scope="module")
def clips():
    """Four clips with edges, colours and motion, uint8."""
    down, across = torch.linspace(0, 1, HEIGHT)[:, None], torch.linspace(0, 1, WIDTH)[None, :]
    made = torch.empty(4, 3, FRAMES, HEIGHT, WIDTH)
    for number in range(4):
        for frame in range(FRAMES):
            bars = ((across * (4 + number) + frame / 8) % 1 > 0.5).float().expand(HEIGHT, WIDTH)
            made[number, :, frame] = torch.stack([0.15 + 0.6 * bars, 0.2 + 0.6 * down * bars, 0.7 - 0.5 * down.expand_as(bars)])
    return (made * 255).to(torch.uint8)


@pytest.mark.parametrize("spec", SPECS)
def test_it_says_what_it_is(spec):
    corruption, entry = make(spec), registry.find("corruption", spec.partition(":")[0])
    assert isinstance(corruption, Corruption)
    assert all(len(settings) == 5 for settings in corruption.tables.values())
    assert set(corruption.broken) <= set(corruption.tables)
    assert corruption.table not in corruption.broken or spec.startswith("imgaug"), "the default table must be sane"
    assert "Formula: " in entry.doc and "Source: " in entry.doc


@pytest.mark.parametrize("spec", SPECS)
def test_every_table_and_mode_changes_clips_and_leaves_the_input_alone(spec, clips):
    before, default = clips.clone(), on_frames(spec)
    for table in default.tables:
        for mode in default.modes if table == default.table else (default.temporal,):
            corruption = on_frames(spec, table=table, temporal=mode)
            for severity in (1, 5):
                made = corruption.apply(clips, severity, streams(4))
                assert made.dtype == torch.uint8 and made.shape == clips.shape
                # Published severities that do nothing to a short clip are flagged; a rare event need not happen in one.
                harmless = table in default.broken or isinstance(default, Timeline) and severity == 1
                assert harmless or not torch.equal(made, clips), (table, mode, severity)
    assert torch.equal(clips, before)


@pytest.mark.parametrize("spec", SPECS)
def test_same_seed_same_bytes_whatever_the_batch(spec, clips):
    for mode in on_frames(spec).modes:
        corruption = on_frames(spec, temporal=mode)
        whole = corruption.apply(clips, 3, streams(4))
        assert torch.equal(whole, corruption.apply(clips, 3, streams(4)))
        random = streams(4)
        for number in (2, 0):
            row = torch.tensor([number])
            assert torch.equal(corruption.apply(clips[row], 3, random[row]), whole[row]), mode


@pytest.mark.parametrize("spec", [spec for spec in SPECS if isinstance(make(spec), Pixels)])
def test_temporal_modes_are_what_they_say(spec, clips):
    """On a still clip `static` leaves it still, and `iid` and `drift` do not."""
    still = clips[:, :, :1].expand(-1, -1, FRAMES, -1, -1).contiguous()
    for mode in make(spec).modes:
        made = make(spec, temporal=mode).apply(still, 3, streams(4)).float()
        change = (made[:, :, 1:] - made[:, :, :-1]).abs().flatten(1).mean(dim=1)
        assert (change == 0).all() == (mode == "static"), mode


@pytest.mark.parametrize("spec", [spec for spec in SPECS if make(spec).modes != ("static",) and isinstance(make(spec), Pixels)])
def test_another_seed_gives_other_draws(spec, clips):
    corruption = make(spec)
    assert not torch.equal(corruption.apply(clips, 3, streams(4)), corruption.apply(clips, 3, streams(4, seed=1)))


@pytest.mark.parametrize("spec", [spec for spec in SPECS if isinstance(make(spec), Timeline)])
def test_new_orders_show_frames_that_there_are(spec):
    corruption = make(spec)
    for total in (corruption.fewest, 7, 30, 250):
        for severity in SEVERITIES:
            order = corruption.order(total, 25.0, corruption.setting(severity), streams(1))
            assert order and all(len(frames) for frames in order)
            assert all(0 <= index < total for frames in order for index in frames)


@pytest.mark.parametrize("spec", SPECS)
def test_bad_input_is_one_clear_line(spec, clips):
    for field in ("table", "temporal", "stage", "storage"):
        with pytest.raises(InputError, match=f"{field}.*'nonsense' is unknown"):
            make(spec, **{field: "nonsense"})
    for severity in (0, 6):
        with pytest.raises(InputError, match="severity: .*from 1 to 5"):
            on_frames(spec).apply(clips, severity, streams(4))


def test_a_clip_that_is_too_small_is_refused():
    smallest = {spec: make(spec).smallest for spec in SPECS}
    spec = max(smallest, key=lambda one: smallest[one])
    assert smallest[spec] > 1
    tiny = torch.zeros(1, 3, FRAMES, smallest[spec] - 1, WIDTH, dtype=torch.uint8)
    with pytest.raises(InputError, match=f"pixels on the short side.*{smallest[spec]} or more"):
        on_frames(spec).apply(tiny, 1, streams(1))


@pytest.mark.parametrize("storage", ["jpeg80", "jpeg85", "mp4v"])
def test_storage_takes_some_of_the_noise_away(storage, clips):
    plain = make("gaussian_noise").apply(clips, 3, streams(4)).double()
    stored = make("gaussian_noise", storage=storage).apply(clips, 3, streams(4)).double()
    assert (stored - clips.double()).square().mean() < 0.9 * (plain - clips.double()).square().mean()
