"""Square attack against the authors' code: the same on images, no weaker on clips, which that takes as images of 3 T channels."""

import os

import pytest
import torch
from robustvideo.attacks.square import Square, humps, places, tiles
from robustvideo.benchmark.core.budget import l2_norm
from torch import nn

CLIPS, QUERIES, SEEDS, AT = 200, 150, 4, (1, 3, 10, 30, 80, 150)
BOUND = 1.36 * (1 / CLIPS + 1 / (SEEDS * CLIPS)) ** 0.5
"""Kolmogorov and Smirnov: samples of one distribution, of these sizes, differ by more in 1 of 20 cases."""

BUDGETS = {("linf", 1): 0.06, ("l2", 1): 1.5, ("linf", 3): 0.04, ("l2", 3): 1.5}
"""Budgets, by norm and frames, at which many clips withstand."""

COMMIT = "a39220048b3c9f2cca9a4d3a54604793c68eca7e"
OFFICIAL = {
    ("linf", 1): (23, 98, 115, 169, 226, 290),
    ("l2", 1): (8, 24, 42, 60, 112, 141),
    ("linf", 3): (44, 77, 106, 186, 298, 357),
    ("l2", 3): (25, 43, 81, 116, 156, 191),
}
"""Clips of SEEDS runs that AutoAttack's Square at COMMIT had fooled after AT queries; `official` counts them anew."""


def task(frames):
    """A smooth network of clips of 25 x 25 pixels and clips that it gets right."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        convolution = nn.Conv3d(3, 8, (frames, 4, 4), stride=(1, 4, 4))
        net = nn.Sequential(convolution, nn.Tanh(), nn.AdaptiveAvgPool3d((1, 4, 4)), nn.Flatten(), nn.Linear(128, 10))
    net.eval().requires_grad_(False)
    clips = torch.rand(CLIPS, 3, frames, 25, 25, generator=torch.Generator().manual_seed(5))
    return net, clips, net(clips).argmax(dim=1)


@pytest.fixture
def source(monkeypatch):
    """The authors' module, where AUTOATTACK_SOURCE names the folder that holds the package `autoattack`."""
    folder = os.environ.get("AUTOATTACK_SOURCE")
    if not folder:
        pytest.skip(f"AUTOATTACK_SOURCE names no checkout of fra31/auto-attack at {COMMIT}")
    monkeypatch.syspath_prepend(folder)
    from autoattack import square

    return square


def official(source, norm, frames):
    """Counts of OFFICIAL: the authors' code sees the frames of a clip as channels of an image."""
    net, clips, labels = task(frames)
    attack = source.SquareAttack(
        lambda images: net(images.view(-1, *clips.shape[1:])),
        norm={"linf": "Linf", "l2": "L2"}[norm],
        n_queries=QUERIES - 1,  # it asks once more
        eps=BUDGETS[norm, frames],
        resc_schedule=False,
    )
    counts = torch.zeros(len(AT), dtype=torch.long)
    images = clips.flatten(1, 2)
    attack.init_hyperparam(images)
    for seed in range(SEEDS):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            queries, made = attack.attack_single_run(images, labels)
        fooled = net(made.view(clips.shape)).argmax(dim=1) != labels
        counts += torch.tensor([int((fooled & (queries <= at)).sum()) for at in AT])
    return tuple(counts.tolist())


def curve(norm, frames, target, streams, **options):
    """Clips that ours has fooled after AT queries."""
    net, clips, labels = task(frames)
    counted = target(net, CLIPS, until_fooled=True, rows=CLIPS, labels=labels)
    attack = Square(norm=norm, eps=BUDGETS[norm, frames], queries=QUERIES, **options)
    made = attack.run(counted, clips, labels, streams(CLIPS))
    assert torch.equal(net(made).argmax(dim=1) != labels, counted.solved > 0)
    return torch.tensor([((counted.solved > 0) & (counted.solved <= at)).sum() for at in AT])


def lead(counts, norm, frames):
    """By how much the shares that are fooled after AT queries exceed the official ones."""
    return counts / CLIPS - torch.tensor(OFFICIAL[norm, frames]) / (SEEDS * CLIPS)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_success_against_queries_is_that_of_the_official_attack(norm, target, streams):
    assert lead(curve(norm, 1, target, streams), norm, 1).abs().max() < BOUND


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_boxes_are_no_weaker_than_frames_as_channels(norm, target, streams):
    """On a network that is as happy with one as with the other; where frames are averaged, boxes are far stronger."""
    assert lead(curve(norm, 3, target, streams), norm, 3).min() > -BOUND


def test_the_bound_tells_another_attack_apart(target, streams):
    """Squares of a single size, too small, fail the comparison above."""
    assert lead(curve("linf", 1, target, streams, p_init=0.002), "linf", 1).abs().max() > BOUND


@pytest.mark.parametrize(("norm", "frames"), BUDGETS)
def test_the_figures_are_those_of_the_official_attack(norm, frames, source):
    assert official(source, norm, frames) == OFFICIAL[norm, frames]


def test_schedule_and_humps_are_the_official_ones(source):
    attack = source.SquareAttack(None, norm="L2", eps=1.0, resc_schedule=False)
    attack.device = torch.device("cpu")
    for step in range(9000):
        assert Square().box(step, (1, 224, 224)) == (1, round((attack.p_selection(step) * 224**2) ** 0.5))
    for side in (*range(2, 12), 44, 45):
        theirs, mine = attack.eta(side), humps(side, attack.device)
        torch.testing.assert_close(mine if torch.allclose(mine, theirs, atol=1e-5) else mine.T, theirs, atol=1e-6, rtol=1e-5)


def test_the_official_attack_fails_on_clips(source, net, clips, labels):
    with pytest.raises(ValueError, match="too many values to unpack"):
        source.SquareAttack(net, norm="Linf", eps=0.03, n_queries=5).perturb(clips, labels)


def test_it_fails_on_images_where_five_tiles_do_not_fill_the_side(source):
    """24 pixels hold six tiles of 4, laid from the margin of five: the sixth hangs over. Ours lays six from the edge."""
    images = torch.rand(2, 3, 24, 24)
    attack = source.SquareAttack(lambda x: x.mean(dim=(2, 3)), norm="L2", eps=1.0, n_queries=5)
    attack.init_hyperparam(images)
    with pytest.raises(RuntimeError, match="must match"):
        attack.attack_single_run(images, torch.zeros(2, dtype=torch.long))


def test_art_fails_on_clips_where_ours_does_not(net, clips, labels, target, streams):
    attacks = pytest.importorskip("art.attacks.evasion")
    estimators = pytest.importorskip("art.estimators.classification")
    wrapped = estimators.PyTorchClassifier(net, nn.CrossEntropyLoss(), (3, 8, 12, 12), 6, clip_values=(0, 1))
    with pytest.raises(ValueError, match="image data|unpack"):
        attacks.SquareAttack(wrapped, eps=0.2, max_iter=5, verbose=False).generate(clips.numpy(), labels.numpy())
    made = Square(eps=0.2, queries=200).run(target(net, 5), clips, labels, streams(5))
    assert (net(made).argmax(dim=1) != labels).all()


def test_boxes_follow_the_schedule():
    """Shares .8, .4, .2, .1, ... of 224 x 224 pixels, or of a clip's volume; the sides of L2 are odd, and 3 at least."""
    steps = (0, 10, 11, 51, 201, 501, 8001)
    assert [Square().box(step, (1, 224, 224)) for step in steps] == [(1, side) for side in (200, 200, 142, 100, 71, 50, 9)]
    assert [Square(norm="l2").box(step, (1, 224, 224)) for step in steps[::2]] == [(1, side) for side in (201, 143, 71, 9)]
    assert Square().box(0, (1, 12, 40)) == (1, 12)
    assert Square(p_init=0.0).box(0, (4, 12, 12)) == (1, 1) and Square(norm="l2", p_init=0.0).box(0, (4, 2, 2)) == (1, 2)
    for step in steps:
        frames, side = Square().box(step, (16, 224, 224))
        share = 0.8 / 2 ** [0, 0, 1, 2, 3, 4, 9][steps.index(step)]
        assert frames == max(1, round(16 * share ** (1 / 3)))
        assert frames * side**2 / (16 * 224**2) == pytest.approx(share, rel=0.1)


def test_boxes_reach_every_edge():
    """The authors' code never draws the last row and column; the paper does."""
    draws = torch.rand(600, 3, generator=torch.Generator().manual_seed(0))
    for box, last in (((1, 3), (5, 3, 6)), ((6, 3), (5, 3, 6)), ((2, 4), (5, 3, 6))):
        index = places(draws, box, (6, 4, 7))
        assert [part.min().item() for part in index[2:]] == [0, 0, 0]
        assert tuple(part.max().item() for part in index[2:]) == last
    assert places(torch.ones(1, 3), (1, 3), (6, 4, 7))[3].max() == 3, "a draw rounded to 1 stays inside"


@pytest.mark.parametrize("side", [1, 2, 3, 8, 15])
def test_humps_are_two_of_opposite_sign(side):
    hump, half = humps(side, torch.device("cpu")), side // 2
    assert hump.norm().item() == pytest.approx(1)
    assert (hump[:half] >= 0).all() and (hump[half:] <= 0).all()


@pytest.mark.parametrize("size", [(12, 20), (20, 12), (2, 3), (24, 24)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_frames_of_any_size(norm, size, target, streams):
    clips = 0.3 + 0.4 * torch.rand(3, 3, 4, *size, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(3, dtype=torch.long)
    made = Square(norm=norm, eps=0.1, queries=20).run(target(lambda x: -x.mean(dim=(2, 3, 4)), 3), clips, labels, streams(3))
    delta = made - clips
    if norm == "linf":
        torch.testing.assert_close(delta.abs(), torch.full_like(delta, 0.1), atol=1e-6, rtol=0)
    else:
        torch.testing.assert_close(l2_norm(delta), torch.full((3,), 0.1), atol=1e-5, rtol=0)


def test_stripes_stand_still_and_a_box_changes_some_frames(net, clips, labels, target, streams):
    """One step after the stripes changes one box, each channel of it as a whole."""
    seen = []

    def watch(x):
        seen.append(x.clone())
        return net(x)

    attack = Square(eps=0.1, queries=2, p_init=0.2)
    attack.run(target(watch, 1), torch.full_like(clips[:1], 0.5), labels[:1], streams(1))
    stripes, boxed = seen
    assert (stripes == stripes[:, :, :1, :1]).all() and stripes.unique().numel() == 2
    found = (boxed != stripes).any(dim=1)[0].nonzero()
    extent = (found.amax(dim=0) - found.amin(dim=0) + 1).tolist()
    frames, side = attack.box(0, (8, 12, 12))
    assert extent[0] == frames < 8 and extent[1] <= side and extent[2] <= side
    first, last = found.amin(dim=0), found.amax(dim=0) + 1
    inside = boxed[0, :, first[0] : last[0], first[1] : last[1], first[2] : last[2]]
    assert (inside == inside[:, :1, :1, :1]).all()


def test_tiles_fill_the_frame_and_stand_still(clips, streams):
    made = tiles(clips[:, :, :, :10], streams(5))
    assert (made == made[:, :, :1]).all() and (made != 0).all()
    torch.testing.assert_close(l2_norm(made), torch.ones(5))
