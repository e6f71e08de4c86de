"""Auto-PGD against its authors' code and two other people's, and what each of its options promises.

`OFFICIAL` holds what the authors' code leaves: github.com/fra31/auto-attack at `COMMIT` (9 January 2023), APGDAttack and
APGDAttack_targeted with n_iter=100, n_restarts=1, rho=0.75, eot_iter=1, seed=0, n_target_classes=TARGETS, on `world`.
Where AUTOATTACK_SOURCE names a folder with that code, the figures are made anew and both are also run from the same starts.
"""

import copy
import os
import sys

import pytest
import torch
from conftest_models import Net, build_net
from robustvideo.attacks.apgd import APGD
from robustvideo.benchmark.core.attack import Gradient
from robustvideo.benchmark.core.budget import Ball, l2_norm, linf_norm
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import InputSpec, Model
from robustvideo.benchmark.core.losses import margin
from robustvideo.benchmark.core.stepsize import AutoStep
from robustvideo.defenses.shuffle import Shuffle
from torch import nn

COMMIT, TARGETS = "a39220048b3c9f2cca9a4d3a54604793c68eca7e", 2
EPS = {"linf": 4 / 255, "l2": 0.15}
OFFICIAL = {
    ("linf", "ce"): 85,
    ("linf", "dlr"): 69,
    ("linf", "targeted-dlr"): 68,
    ("l2", "ce"): 125,
    ("l2", "dlr"): 110,
    ("l2", "targeted-dlr"): 110,
}
"""Clips of 200 that are still right."""
CASES = sorted(OFFICIAL)


@pytest.fixture(scope="module")
def world():
    """A random 3-D network of six classes, 200 clips of few large patches, and what it says of them."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = Net(6)
    spec = InputSpec(frames=4, size=6, short_side=6, mean=(0.5, 0.5, 0.5), std=(0.1, 0.1, 0.1))
    model = Model(net, spec, 6).eval().requires_grad_(False)
    patches = torch.rand(200, 3, 2, 2, 2, generator=torch.Generator().manual_seed(7))
    clips = patches.repeat_interleave(2, dim=2).repeat_interleave(3, dim=3).repeat_interleave(3, dim=4)
    return model, clips, model(clips).argmax(dim=1)


def left(net, made, labels):
    """How many clips are still right."""
    return int((net(made).argmax(dim=1) == labels).sum())


def official():
    """The authors' module, where a folder with it is named."""
    folder = os.environ.get("AUTOATTACK_SOURCE")
    if not folder:
        pytest.skip(f"AUTOATTACK_SOURCE names no folder with the authors' code at {COMMIT}")
    sys.path.insert(0, folder)
    try:
        return pytest.importorskip("autoattack.autopgd_base")
    finally:
        sys.path.remove(folder)


def theirs(net, norm, loss, **options):
    """The authors' attack object."""
    given = dict(norm={"linf": "Linf", "l2": "L2"}[norm], eps=EPS[norm], n_iter=100, device="cpu") | options
    if loss == "targeted-dlr":
        return official().APGDAttack_targeted(net, n_target_classes=TARGETS, **given)
    return official().APGDAttack(net, loss=loss, **given)


@pytest.mark.parametrize(("norm", "loss"), CASES)
def test_what_the_authors_code_leaves(norm, loss, world):
    net, clips, labels = world
    assert left(net, theirs(net, norm, loss).perturb(clips, labels), labels) == OFFICIAL[norm, loss]


@pytest.mark.parametrize(("norm", "loss"), CASES)
def test_leaves_what_the_authors_code_leaves(norm, loss, world, target, streams):
    net, clips, labels = world
    attack = APGD(norm=norm, eps=EPS[norm], loss=loss, targets=TARGETS)
    made = attack.run(target(net, 200, until_fooled=True, rows=200, labels=labels), clips, labels, streams(200))
    assert abs(left(net, made, labels) - OFFICIAL[norm, loss]) <= 1


class Watched(nn.Module):
    """Keeps what a model was asked and answered."""

    def __init__(self, net):
        super().__init__()
        self.net, self.asked, self.said = net, [], []

    def forward(self, clips):
        logits = self.net(clips)
        self.asked.append(clips.detach().clone())
        self.said.append(logits.detach())
        return logits


@pytest.fixture
def double():
    """Double precision, so that rounding does not part two ways."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("norm", "loss"), CASES)
def test_goes_the_authors_way_from_the_same_start(norm, loss, world, target, streams, double):
    """Point by point. At the first checkpoint they compare the loss of the first step with 0, and we with the start's loss, as
    the paper does: a clip or two at the very threshold part there."""
    official()
    net, clips, labels = copy.deepcopy(world[0]).double(), world[1][:60].double(), world[2][:60]
    ours, other = Watched(net), Watched(net)
    attack = APGD(norm=norm, eps=EPS[norm], loss=loss, targets=1)
    attack.run(target(ours, 60, rows=60, labels=labels), clips, labels, streams(60))
    asked, said = ours.asked[-101:], ours.said[-101:]
    run = theirs(other, norm, loss)
    run.init_hyperparam(clips)
    run.y_target = net(clips).argsort(dim=1)[:, -2]
    run.attack_single_run(clips, labels, x_init=asked[0])
    gaps = torch.stack([linf_norm(mine - his) for mine, his in zip(asked, other.asked, strict=True)])
    if loss == "dlr":  # it is constant where the true class ranks third: there the gradient is rounding
        gaps[torch.stack([margin(logits, labels) <= 0 for logits in said]).cumsum(dim=0) > 0] = 0
    parted = (gaps > 1e-6).float().argmax(dim=0)
    assert set(parted.tolist()) <= {0, 23}, "0: never; 23: after the first checkpoint"
    assert (parted > 0).sum() <= 3


@pytest.fixture(scope="module")
def frames():
    """A smooth network of images and of one-frame clips, 40 images, and what it says of them."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 6))
    net.eval().requires_grad_(False)
    images = torch.rand(40, 3, 12, 12, generator=torch.Generator().manual_seed(2))
    return net, images, net(images).argmax(dim=1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["ce", "dlr", "targeted-dlr"])
def test_as_strong_as_torchattacks_on_one_frame_clips(norm, loss, frames, target, streams):
    """Theirs gets the number of classes told (by default it takes 10 for granted) and five target classes."""
    torchattacks = pytest.importorskip("torchattacks")
    net, images, labels = frames
    eps, name = {"linf": 2 / 255, "l2": 0.1}[norm], {"linf": "Linf", "l2": "L2"}[norm]
    attack = APGD(norm=norm, eps=eps, loss=loss, steps=30)
    clipwise = nn.Sequential(nn.Flatten(1, 2), net)  # (N, 3, 1, H, W) to images
    mine = attack.run(target(clipwise, 40, rows=40, until_fooled=True, labels=labels), images[:, :, None], labels, streams(40))
    if loss == "targeted-dlr":
        other = torchattacks.APGDT(net, norm=name, eps=eps, steps=30, n_classes=6)
    else:
        other = torchattacks.APGD(net, norm=name, eps=eps, steps=30, loss=loss)
    his = left(net, other(images, labels), labels)
    assert 8 <= his <= 32, "a budget that tells attacks apart"
    assert abs(left(net, mine[:, :, 0], labels) - his) <= 1


@pytest.mark.parametrize(("norm", "art_norm"), [("linf", "inf"), ("l2", 2)])
def test_no_weaker_than_art_on_one_frame_clips(norm, art_norm, frames, target, streams):
    """ART starts anywhere in the ball, counts a step as rising only above the highest loss, and returns a run's last point."""
    evasion, estimators = pytest.importorskip("art.attacks.evasion"), pytest.importorskip("art.estimators.classification")
    net, images, labels = frames
    eps = {"linf": 2 / 255, "l2": 0.1}[norm]
    clipwise = nn.Sequential(nn.Flatten(1, 2), net)
    attack = APGD(norm=norm, eps=eps, steps=30)
    mine = attack.run(target(clipwise, 40, rows=40, until_fooled=True, labels=labels), images[:, :, None], labels, streams(40))
    wrapped = estimators.PyTorchClassifier(
        copy.deepcopy(net), nn.CrossEntropyLoss(), (3, 12, 12), 6, clip_values=(0, 1), device_type="cpu"
    )
    settings = dict(norm=art_norm, eps=eps, eps_step=2 * eps, max_iter=30, nb_random_init=1, batch_size=40, verbose=False)
    other = evasion.AutoProjectedGradientDescent(wrapped, **settings)
    his = left(net, torch.from_numpy(other.generate(images.numpy(), labels.numpy())), labels)
    assert left(net, mine[:, :, 0], labels) <= his <= 32


def test_steps_halve_where_the_loss_stops_rising():
    """Ten steps: checkpoints after 2, then after each."""
    clean = torch.full((2, 1, 1, 1, 2), 0.5)
    grad, logits = torch.ones_like(clean), torch.zeros(2, 3)

    def found(*losses):
        return Gradient(grad, torch.tensor(losses), logits)

    ball = Ball(clean, "linf", 0.4)
    state = AutoStep(clean, found(1.0, 1.0), "linf", eps=0.05, steps=10, rho=0.75)
    torch.testing.assert_close(state.advance(ball), clean + 0.1)
    state.learn(found(2.0, 0.5))
    # z = 0.7, x = 0.6 + 0.75 * 0.1 + 0.25 * 0.1
    torch.testing.assert_close(state.advance(ball), clean + 0.2)
    state.learn(found(3.0, 0.6))
    torch.testing.assert_close(state.x, torch.stack([clean[0] + 0.2, clean[1]]))
    # The momentum of the second points back to where it was before it was taken back: 0.5 + 0.75 * 0.05 + 0.25 * (0.5 - 0.6)
    torch.testing.assert_close(state.advance(ball), torch.stack([clean[0] + 0.3, clean[1] + 0.0125]))
    part = state[torch.tensor([1])]
    torch.testing.assert_close(part.advance(ball[torch.tensor([1])]), state.advance(ball)[1:])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_starts_on_the_surface_of_the_ball(norm, world, target, streams):
    seen = Watched(world[0])
    grey = torch.full((4, 3, 4, 6, 6), 0.5)
    APGD(norm=norm, eps=0.1, steps=1).run(target(seen, 4, rows=4), grey, torch.zeros(4, dtype=torch.long), streams(4))
    size = {"linf": linf_norm, "l2": l2_norm}[norm](seen.asked[0] - grey)
    torch.testing.assert_close(size, torch.full((4,), 0.1))


@pytest.mark.parametrize(
    ("options", "gradients", "queries"),
    [
        (dict(loss="ce"), 9, 0),
        (dict(loss="dlr", restarts=3), 27, 0),
        (dict(loss="targeted-dlr", targets=2), 18, 1),
        (dict(loss="targeted-dlr", targets=9), 45, 1),
    ],
)
def test_counts(options, gradients, queries, net, clips, labels, target, streams):
    """Eight steps take nine gradients; six classes leave five to aim at."""
    full, brief = target(net, 5, labels=labels), target(net, 5, labels=labels, until_fooled=True)
    attack = APGD(eps=0.2, steps=8, **options)
    attack.run(full, clips, labels, streams(5))
    attack.run(brief, clips, labels, streams(5))
    assert full.gradients.tolist() == [gradients] * 5 and full.queries.tolist() == [queries] * 5
    assert (brief.gradients == brief.solved - queries).all(), "a fooled clip leaves at once"
    assert attack.calls[0] >= gradients and attack.calls[1] >= queries


def test_aims_at_the_best_scored_other_classes(net, clips, labels, target, streams):
    aimed = []

    class Spy(nn.Module):
        def forward(self, x):
            return net(x)

    counted = target(Spy(), 5, labels=labels)
    plain = counted.gradient
    counted.gradient = lambda x, goal, loss, rng: (aimed.append(goal), plain(x, goal, loss, rng))[1]
    wrong = (labels + 1) % 6  # clips that are misclassified from the start: the true class is not aimed at either
    APGD(eps=0.01, steps=1, loss="targeted-dlr", targets=9).run(counted, clips, wrong, streams(5))
    goals = torch.stack(aimed[::2])
    assert goals.shape == (5, 5, 2) and (goals[:, :, 0] == wrong).all() and (goals[:, :, 1] != wrong).all()
    scores = net(clips).gather(1, goals[:, :, 1].T)
    assert (scores.diff(dim=1) < 0).all()


@pytest.mark.parametrize(("loss", "classes"), [("dlr", 2), ("targeted-dlr", 3)])
def test_too_few_classes_are_refused_before_any_gradient(loss, classes, clips, target, streams):
    counted = target(build_net(classes), 5)
    with pytest.raises(InputError, match=f"needs at least {classes + 1} classes, the model has {classes}"):
        APGD(loss=loss).run(counted, clips, torch.zeros(5, dtype=torch.long), streams(5))
    assert counted.gradients.tolist() == [0] * 5


def test_of_a_random_target_the_highest_mean_loss_counts(net, clips, labels, target, streams):
    random = target(net, 5, [Shuffle()], eot=3, until_fooled=True, labels=labels)
    seen, plain = [], random.gradient

    def watch(*given):
        found = plain(*given)
        seen.append((given[0].clone(), found.loss))
        return found

    random.gradient = watch
    made = APGD(eps=0.2, steps=6).run(random, clips, labels, streams(5))
    best = torch.stack([loss for _, loss in seen]).argmax(dim=0)
    assert torch.equal(made, torch.stack([seen[step][0][clip] for clip, step in enumerate(best.tolist())]))
    assert random.gradients.tolist() == [21] * 5 and random.queries.tolist() == [0] * 5


@pytest.mark.parametrize("eps", [8.0, 1.0, -0.1])
def test_a_budget_in_grey_levels_is_refused(eps):
    with pytest.raises(InputError, match="did you mean 8/255|did you mean 1/255|is negative"):
        APGD(eps=eps)
    if eps > 0:
        assert APGD(eps=eps, norm="l2").eps == eps
