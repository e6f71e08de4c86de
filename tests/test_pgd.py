"""PGD against two other people's PGD, and what each of its options promises."""

import pytest
import torch
from robustvideo.attacks.pgd import PGD
from robustvideo.benchmark.core.budget import l2_norm
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.losses import LOSSES, cross_entropy, margin
from robustvideo.defenses.shuffle import Shuffle
from torch import nn

EPS, STEPS = 6 / 255, 5
"""Few small steps from the clean clip: the loss rises at each, so the best iterate is the last one, as the peers return it."""


@pytest.fixture(scope="module")
def frame_model():
    """A smooth network of one-frame clips, and the same network as an image model."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 6))
    net.eval().requires_grad_(False)

    class Clipwise(nn.Module):
        def forward(self, clips):
            return net(clips[:, :, 0])

    return Clipwise(), net


@pytest.fixture(scope="module")
def frames(frame_model):
    images = torch.rand(6, 3, 12, 12, generator=torch.Generator().manual_seed(2))
    return images, frame_model[1](images).argmax(dim=1)


def ours(frame_model, frames, target, streams, **options):
    images, labels = frames
    attack = PGD(eps=options.pop("eps", EPS), steps=STEPS, random_start=False, **options)
    return attack.run(target(frame_model[0], 6), images[:, :, None], labels, streams(6))[:, :, 0]


def test_linf_equals_torchattacks_and_foolbox(frame_model, frames, target, streams):
    torchattacks, foolbox = pytest.importorskip("torchattacks"), pytest.importorskip("foolbox")
    images, labels = frames
    mine = ours(frame_model, frames, target, streams, step=EPS / 10)
    theirs = torchattacks.PGD(frame_model[1], eps=EPS, alpha=EPS / 10, steps=STEPS, random_start=False)(images, labels)
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)
    attack = foolbox.attacks.LinfPGD(abs_stepsize=EPS / 10, steps=STEPS, random_start=False)
    theirs = attack.run(foolbox.PyTorchModel(frame_model[1], bounds=(0, 1)), images, labels, epsilon=EPS)
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)


def test_l2_equals_foolbox(frame_model, frames, target, streams):
    foolbox = pytest.importorskip("foolbox")
    images, labels = frames
    mine = ours(frame_model, frames, target, streams, norm="l2", eps=0.5, step=0.05)
    attack = foolbox.attacks.L2PGD(abs_stepsize=0.05, steps=STEPS, random_start=False)
    theirs = attack.run(foolbox.PyTorchModel(frame_model[1], bounds=(0, 1)), images, labels, epsilon=0.5)
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


def test_l2_keeps_the_budget_where_torchattacks_does_not(net, clips, labels, target, streams):
    """Three clips of three channels make torchattacks' PGDL2 leave its ball without a word; ours keeps it for any N."""
    made = PGD(norm="l2", eps=1.0, steps=6).run(target(net, 3), clips[:3], labels[:3], streams(3))
    assert (l2_norm(made - clips[:3]) <= 1.0 + 1e-5).all()
    torchattacks = pytest.importorskip("torchattacks")
    theirs = torchattacks.PGDL2(net, eps=1.0, alpha=0.2, steps=6)(clips[:3], labels[:3])
    assert (l2_norm(theirs - clips[:3]) > 1.0 + 1e-3).any(), "torchattacks is mended: drop this line"


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_fools_at_a_wide_budget(loss, net, clips, labels, target, streams):
    made = PGD(eps=0.2, steps=20, loss=loss).run(target(net, 5), clips, labels, streams(5))
    assert (net(made).argmax(dim=1) != labels).all()


def test_the_best_iterate_is_kept(net, clips, labels, target, streams):
    """A step far too long overshoots; the result is still the strongest iterate that was seen."""
    seen = []

    def watch(x):
        logits = net(x)
        seen.append(margin(logits, labels).detach())
        return logits

    made = PGD(eps=0.05, steps=12, step=0.05, loss="cw").run(target(watch, 5), clips, labels, streams(5))
    torch.testing.assert_close(margin(net(made), labels), torch.stack(seen).amin(dim=0), atol=1e-4, rtol=1e-4)


def test_more_restarts_are_never_weaker(net, clips, labels, target, streams):
    one = PGD(eps=0.02, steps=3).run(target(net, 5), clips, labels, streams(5))
    five = PGD(eps=0.02, steps=3, restarts=5).run(target(net, 5), clips, labels, streams(5))
    fooled = [net(made).argmax(dim=1) != labels for made in (one, five)]
    assert (fooled[1] | ~fooled[0]).all()
    both = fooled[0] == fooled[1]
    assert (cross_entropy(net(five), labels) >= cross_entropy(net(one), labels) - 1e-5)[both].all()


def test_fooled_clips_leave_the_batch_only_where_that_is_asked(net, clips, labels, target, streams):
    full, brief = target(net, 5), target(net, 5, until_fooled=True)
    attack = PGD(eps=0.2, steps=20)
    strong = attack.run(full, clips, labels, streams(5))
    weak = attack.run(brief, clips, labels, streams(5))
    assert full.gradients.tolist() == [20] * 5
    assert brief.gradients.max() < 20
    assert (net(weak).argmax(dim=1) != labels).all() and (net(strong).argmax(dim=1) != labels).all()
    assert cross_entropy(net(strong), labels).mean() > cross_entropy(net(weak), labels).mean()


def test_a_random_target_never_lets_a_clip_go(net, clips, labels, target, streams):
    random = target(net, 5, [Shuffle()], until_fooled=True)
    PGD(eps=0.2, steps=6).run(random, clips, labels, streams(5))
    assert random.gradients.tolist() == [6] * 5


@pytest.mark.parametrize(("rule", "size"), [("relative", 1 / 255), ("kinfu", 1 / 255)])
def test_step_rules(rule, size):
    assert PGD(rule=rule).step_size == pytest.approx(size)
    assert PGD(rule="relative", steps=5).step_size == pytest.approx(2 / 255), "a short run can still cross the ball"
    assert PGD(rule=rule, step=0.01).step_size == 0.01


@pytest.mark.parametrize("eps", [8.0, 1.0, -0.1])
def test_a_budget_in_grey_levels_is_refused(eps):
    with pytest.raises(InputError, match="did you mean 8/255|did you mean 1/255|is negative"):
        PGD(eps=eps)
    if eps > 0:
        assert PGD(eps=eps, norm="l2").eps == eps
