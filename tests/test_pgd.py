"""PGD against two other people's PGD, and what each of its options promises."""

from dataclasses import replace

import pytest
import torch
from robustvideo.attacks.pgd import PGD
from robustvideo.benchmark.core.ascent import Sparse
from robustvideo.benchmark.core.budget import Ball, l1_norm, l2_norm, linf_norm
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.losses import LOSSES, TARGETED, cross_entropy, margin
from robustvideo.defenses.shuffle import Shuffle
from torch import nn

EPS, STEPS = 6 / 255, 5
"""Few small steps from the clean clip: the loss rises at each, so the best iterate is the last one, as the peers return it."""


def frame_networks():
    """A smooth network of one-frame clips, and the same network as an image model."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 6))
    net.eval().requires_grad_(False)

    class Clipwise(nn.Module):
        def forward(self, clips):
            return net(clips[:, :, 0])

    return Clipwise(), net


def labelled_images(net):
    """Images, and what the network says of them."""
    images = torch.rand(6, 3, 12, 12, generator=torch.Generator().manual_seed(2))
    return images, net(images).argmax(dim=1)


@pytest.fixture(scope="module")
def frame_model():
    return frame_networks()


@pytest.fixture(scope="module")
def frames(frame_model):
    return labelled_images(frame_model[1])


def ours(frame_model, frames, target, streams, /, **options):
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
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("norm", "eps", "step"), [("linf", EPS, EPS / 10), ("l2", 0.5, 0.05)])
def test_a_random_start_equals_foolbox_from_the_same_point(norm, eps, step, frame_model, frames, target, streams):
    foolbox = pytest.importorskip("foolbox")
    images, labels = frames
    attack = PGD(norm=norm, eps=eps, steps=STEPS, step=step)
    mine = attack.run(target(frame_model[0], 6), images[:, :, None], labels, streams(6))[:, :, 0]
    start = Ball(images[:, :, None], norm, eps).random(streams(6))[:, :, 0]
    assert (start != images).any()
    theirs = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm](abs_stepsize=step, steps=STEPS)
    theirs.get_random_start = lambda x0, epsilon: type(x0)(start)
    made = theirs.run(foolbox.PyTorchModel(frame_model[1], bounds=(0, 1)), images, labels, epsilon=eps)
    torch.testing.assert_close(mine, made, atol=1e-6, rtol=0)


def l1_runs(frame_model, frames, target, streams, eps):
    """Ours and foolbox's where many pixels are black or white, so that the step must go to those that can still move."""
    foolbox = pytest.importorskip("foolbox")
    images, labels = (frames[0] * 2 - 0.5).clamp(0, 1), frames[1]
    mine = ours(frame_model, (images, labels), target, streams, norm="l1", eps=eps, step=0.5)
    attack = foolbox.attacks.SparseL1DescentAttack(quantile=0.99, abs_stepsize=0.5, steps=STEPS)
    theirs = attack.run(foolbox.PyTorchModel(frame_model[1], bounds=(0, 1)), images, labels, epsilon=eps)
    return mine, theirs, images


def test_l1_equals_foolbox_inside_the_ball(frame_model, frames, target, streams):
    mine, theirs, images = l1_runs(frame_model, frames, target, streams, eps=8.0)
    assert (mine != images).any()
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)


def test_l1_keeps_the_budget_where_foolbox_does_not(frame_model, frames, target, streams):
    """Foolbox's projection counts one entry too many; ours is held against a solver in tests/test_budget.py."""
    mine, theirs, images = l1_runs(frame_model, frames, target, streams, eps=2.0)
    size = l1_norm((mine - images)[:, :, None])
    assert (size <= 2.0 + 1e-6).all() and (size > 1.9).all()
    assert (l1_norm((theirs - images)[:, :, None]) > 2.0 + 1e-2).any(), "foolbox is mended: compare with it here too"


def test_the_l1_step_goes_to_the_largest_gradients_that_can_move():
    x = torch.full((1, 1, 1, 20, 20), 0.5)
    grad = torch.linspace(-4.0, 2.0, 400).view_as(x)
    x[0, 0, 0, 0, :2] = 0.0
    moved = Sparse(0.6)(x, grad.clone()) - x
    expected = torch.zeros(400)
    expected[2:6] = -0.6 / 4  # a hundredth of 400, past the two that are black already
    torch.testing.assert_close(moved.flatten(), expected)
    grad.flatten()[:-2] = 0.0
    expected = torch.zeros(400)
    expected[-2:] = 0.6 / 2  # no more have a gradient at all, as inside a small mask
    torch.testing.assert_close((Sparse(0.6)(x, grad.clone()) - x).flatten(), expected)
    assert torch.equal(Sparse(0.6)(x, torch.zeros_like(x)), x)


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


def test_restarts_end_when_every_clip_has_left(net, clips, labels, target, streams):
    brief = target(net, 5, until_fooled=True, labels=labels)
    made = PGD(eps=0.2, steps=20, restarts=3).run(brief, clips, labels, streams(5))
    assert (net(made).argmax(dim=1) != labels).all()
    assert brief.gradients.max() < 20


def test_the_start_is_random_unless_told(net, clips, labels, target, streams):
    """ART's default is not."""
    attack = PGD(eps=0.1, steps=1, step=0.0)
    made = [attack.run(target(net, 5), clips, labels, streams(5, seed)) for seed in (0, 1)]
    assert (linf_norm(made[0] - clips) > 0.09).all() and (linf_norm(made[0] - made[1]) > 0.09).all()
    still = replace(attack, random_start=False).run(target(net, 5), clips, labels, streams(5))
    assert torch.equal(still, clips)


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


@pytest.mark.parametrize(("norm", "eps", "step"), [("linf", EPS, EPS / 10), ("l2", 0.5, 0.05), ("l1", 4.0, 0.3)])
def test_a_targeted_run_equals_foolbox(norm, eps, step, frame_model, frames, target, streams):
    foolbox = pytest.importorskip("foolbox")
    images, labels = 0.25 + frames[0] / 2, frames[1]  # off black and white, where foolbox's L1 step mistakes the direction
    mine = ours(frame_model, (images, labels), target, streams, norm=norm, eps=eps, step=step, target="2")
    logits = frame_model[1](images).scatter(1, labels[:, None], -torch.inf)
    classes = torch.where(labels == 2, logits.argmax(dim=1), 2)
    options = dict(abs_stepsize=step, steps=STEPS, random_start=False)
    attacks = foolbox.attacks
    attack = {"linf": attacks.LinfPGD, "l2": attacks.L2PGD, "l1": attacks.SparseL1DescentAttack}[norm](**options)
    criterion = foolbox.criteria.TargetedMisclassification(classes)
    theirs = attack.run(foolbox.PyTorchModel(frame_model[1], bounds=(0, 1)), images, criterion, epsilon=eps)
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)


def targets(net, clips, labels, target, streams, choice, seed=0):
    seen = target(net, len(clips))
    PGD(target=choice, steps=1).run(seen, clips, labels, streams(len(clips), seed))
    assert seen.queries.max() <= 2, "one for the classes, one for the last iterate"
    return seen.notes["target_class"].long()


def test_targets_by_rank_index_and_chance(net, clips, labels, target, streams):
    order = net(clips).argsort(dim=1, descending=True)
    assert torch.equal(order[:, 0], labels)
    assert torch.equal(targets(net, clips, labels, target, streams, "second"), order[:, 1])
    assert torch.equal(targets(net, clips, labels, target, streams, "least"), order[:, -1])
    wrong = order[:, 2]
    assert torch.equal(targets(net, clips, wrong, target, streams, "second"), order[:, 0]), "of clips that are wrong already"
    own = int(labels[0])
    found = targets(net, clips, labels, target, streams, str(own))
    assert torch.equal(found, torch.where(labels == own, order[:, 1], own))
    drawn = torch.stack([targets(net, clips, labels, target, streams, "random", seed) for seed in range(60)])
    assert (drawn != labels).all()
    for clip in range(5):
        assert set(drawn[:, clip].tolist()) == set(range(6)) - {int(labels[clip])}


@pytest.mark.parametrize("loss", sorted(TARGETED))
@pytest.mark.parametrize("choice", ["second", "least", "random", "3"])
def test_every_targeted_loss_reaches_its_target_at_a_wide_budget(loss, choice, net, clips, labels, target, streams):
    """DLR asks only that the target overtakes the true class."""
    seen = target(net, 5)
    logits = net(PGD(eps=0.25, steps=20, loss=loss, target=choice).run(seen, clips, labels, streams(5)))
    classes = seen.notes["target_class"].long()
    if loss == "dlr":
        assert (logits.gather(1, classes[:, None]) > logits.gather(1, labels[:, None])).all()
    else:
        assert torch.equal(logits.argmax(dim=1), classes)


@pytest.mark.parametrize("average", ["loss", "score"])
def test_a_targeted_run_goes_through_random_defences(average, net, clips, labels, target, streams):
    """Labels travel with the draws: one clip alone gets what it gets among others, whatever fits into a pass."""
    attack = PGD(eps=0.1, steps=4, target="random")
    seen = target(net, 5, [Shuffle()], eot=3, average=average, rows=4)
    made = attack.run(seen, clips, labels, streams(5))
    classes = seen.notes["target_class"].long()
    assert (cross_entropy(net(made), classes) < cross_entropy(net(clips), classes)).all()
    random = streams(5)
    for number in range(5):
        row = torch.tensor([number])
        alone = attack.run(target(net, 5, [Shuffle()], eot=3, average=average), clips[row], labels[row], random[row])
        torch.testing.assert_close(alone, made[row], atol=1e-5, rtol=0)


def test_targets_that_are_none_are_refused(net):
    with pytest.raises(InputError, match="a targeted attack without targets"):
        PGD(target="")
    for choice in ("best", "-1", "1.5"):
        with pytest.raises(InputError, match="is no class; write a class index, second, least or random"):
            PGD(target=choice)
    PGD(target="5").check(net.input, 6)
    with pytest.raises(InputError, match="6 is beyond the model's 6 classes; it must be from 0 to 5"):
        PGD(target="6").check(net.input, 6)
