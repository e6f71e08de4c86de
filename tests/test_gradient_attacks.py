"""FGSM and its iterative forms against other people's, and what each promises."""

import pytest
import torch
from robustvideo.attacks.bim import BIM
from robustvideo.attacks.fgsm import FGSM
from robustvideo.attacks.ifgsm import IFGSM
from robustvideo.attacks.mim import MIM
from robustvideo.attacks.pgd import PGD
from robustvideo.benchmark.core.ascent import Momentum, Sign, ascend
from robustvideo.benchmark.core.best import Best
from robustvideo.benchmark.core.budget import Ball
from robustvideo.benchmark.core.losses import cross_entropy
from robustvideo.defenses.shuffle import Shuffle
from test_pgd import frame_networks, labelled_images

FAMILY = [FGSM, IFGSM, BIM, MIM]
CLIPWISE, NET = frame_networks()
IMAGES, LABELS = labelled_images(NET)
WIDE = 0.3
"""A budget at which long steps overshoot, so that the last iterate is not the strongest."""


def ours(attack, target, streams):
    return attack.run(target(CLIPWISE, 6), IMAGES[:, :, None], LABELS, streams(6))[:, :, 0]


def foolboxs(attack, eps):
    foolbox = pytest.importorskip("foolbox")
    return attack(foolbox.attacks).run(foolbox.PyTorchModel(NET, bounds=(0, 1)), IMAGES, LABELS, epsilon=eps)


@pytest.mark.parametrize("eps", [4 / 255, WIDE])
def test_fgsm_equals_torchattacks_and_foolbox(eps, target, streams):
    torchattacks = pytest.importorskip("torchattacks")
    mine = ours(FGSM(eps=eps), target, streams)
    torch.testing.assert_close(mine, torchattacks.FGSM(NET, eps=eps)(IMAGES, LABELS), atol=1e-6, rtol=0)
    theirs = foolboxs(lambda attacks: attacks.LinfFastGradientAttack(), eps)
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)
    theirs = foolboxs(lambda attacks: attacks.L2FastGradientAttack(), 10 * eps)
    torch.testing.assert_close(ours(FGSM(norm="l2", eps=10 * eps), target, streams), theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("eps", [8 / 255, WIDE])
def test_bim_equals_torchattacks_and_foolbox(eps, target, streams):
    torchattacks = pytest.importorskip("torchattacks")
    mine = ours(BIM(eps=eps), target, streams)
    theirs = torchattacks.BIM(NET, eps=eps, alpha=eps / 4, steps=10)(IMAGES, LABELS)
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)
    theirs = foolboxs(lambda attacks: attacks.LinfBasicIterativeAttack(rel_stepsize=0.25, steps=10), eps)
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)
    theirs = foolboxs(lambda attacks: attacks.L2BasicIterativeAttack(rel_stepsize=0.25, steps=10), 10 * eps)
    torch.testing.assert_close(ours(BIM(norm="l2", eps=10 * eps), target, streams), theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("eps", [4 / 255, WIDE])
def test_ifgsm_equals_foolbox_and_the_papers_two_clips(eps, target, streams):
    mine = ours(IFGSM(eps=eps), target, streams)
    theirs = foolboxs(lambda attacks: attacks.LinfBasicIterativeAttack(abs_stepsize=eps / 30, steps=30), eps)
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)
    change = torch.zeros_like(IMAGES)
    for _ in range(30):  # the paper's notation: the change is cut to [-X, 1 - X], then to [-eps, eps]
        leaf = (IMAGES + change).requires_grad_()
        torch.nn.functional.cross_entropy(NET(leaf), LABELS, reduction="sum").backward()
        assert leaf.grad is not None
        change = torch.minimum(torch.maximum(change + eps / 30 * leaf.grad.sign(), -IMAGES), 1 - IMAGES).clamp(-eps, eps)
    torch.testing.assert_close(mine, IMAGES + change, atol=1e-6, rtol=0)


@pytest.mark.parametrize("eps", [8 / 255, WIDE])
@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_mim_equals_torchattacks_and_art(eps, decay, target, streams):
    torchattacks = pytest.importorskip("torchattacks")
    mine = ours(MIM(eps=eps, decay=decay), target, streams)
    theirs = torchattacks.MIFGSM(NET, eps=eps, alpha=eps / 10, steps=10, decay=decay)(IMAGES, LABELS)
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)
    classifier = arts()
    attack = pytest.importorskip("art.attacks.evasion").MomentumIterativeMethod(
        classifier, eps=eps, eps_step=eps / 10, decay=decay, max_iter=10, verbose=False
    )
    theirs = torch.from_numpy(attack.generate(IMAGES.numpy(), LABELS.numpy()))
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)


def arts():
    classifiers = pytest.importorskip("art.estimators.classification")
    loss = torch.nn.CrossEntropyLoss()
    return classifiers.PyTorchClassifier(NET, loss, (3, 12, 12), 6, clip_values=(0.0, 1.0), device_type="cpu")


@pytest.mark.parametrize("attack", FAMILY)
def test_no_clip_stops_early(attack, net, clips, labels, target, streams):
    full, brief = target(net, 5, labels=labels), target(net, 5, until_fooled=True, labels=labels)
    made = [attack(eps=0.2).run(one, clips, labels, streams(5)) for one in (full, brief)]
    assert torch.equal(*made)
    assert brief.gradients.tolist() == [attack().steps] * 5 == full.gradients.tolist()
    assert brief.queries.sum() == 0


@pytest.mark.parametrize("attack", FAMILY)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_true_class_is_left_whatever_the_model_says(attack, norm, net, clips, labels, target, streams):
    """Without labels ART leaves the predicted class, which drives clips that are wrong back to the truth."""
    wrong = (labels + 1) % 6
    eps = {"linf": 0.02, "l2": 0.5}[norm]
    made = attack(norm=norm, eps=eps).run(target(net, 5), clips, wrong, streams(5))
    assert (cross_entropy(net(made), wrong) > cross_entropy(net(clips), wrong)).all()


@pytest.mark.parametrize(
    ("attack", "norm"), [(PGD, "l1"), *((attack, norm) for attack in [*FAMILY, PGD] for norm in ("linf", "l2"))]
)
def test_a_flat_model_gives_the_clean_clip_back(attack, norm, clips, labels, target, streams):
    flat = lambda x: 0 * x.mean(dim=(2, 3, 4)).repeat(1, 2)  # noqa: E731
    options = dict(random_start=False) if attack is PGD else {}
    made = attack(norm=norm, eps=0.1, **options).run(target(flat, 5), clips, labels, streams(5))
    assert torch.equal(made, clips)


def test_each_rung_is_at_least_as_strong_as_the_one_below(net, clips, labels, target, streams):
    eps = 0.02
    ladder = [FGSM(eps=eps), BIM(eps=eps), PGD(eps=eps)]
    losses = [cross_entropy(net(one.run(target(net, 5), clips, labels, streams(5))), labels).mean() for one in ladder]
    assert losses[0] < losses[1] <= losses[2] * 1.001
    assert IFGSM(eps=eps, loss="cw").single_step() == FGSM(eps=eps, loss="cw") == MIM(eps=eps, loss="cw").single_step()
    assert FGSM().single_step() is None


def test_steps_by_default():
    assert FGSM(eps=0.1).step_size == 0.1
    assert IFGSM().step_size == pytest.approx(4 / 255 / 30)
    assert BIM(eps=8 / 255).step_size == pytest.approx(2 / 255) and BIM(step=0.01).step_size == 0.01
    assert MIM(eps=8 / 255, steps=4).step_size == pytest.approx(2 / 255) and MIM(step=0.01).step_size == 0.01
    assert [attack().calls for attack in FAMILY] == [(1, 0), (30, 0), (10, 0), (10, 0)]


def test_momentum_stays_with_its_clip_when_others_leave(net, clips, labels, target, streams):
    def run(rows):
        counted, best = target(net, 5, until_fooled=True, labels=labels), Best(clips[rows])
        move = Momentum(Sign(0.004), 0.9)
        ball = Ball(clips[rows], "linf", 0.02)
        for _ in range(2):  # the second run starts without the first one's momentum
            ascend(counted, ball, labels[rows], streams(5)[rows], best, loss=cross_entropy, steps=8, move=move)
        return best.clips, counted.gradients[rows]

    whole, steps = run(torch.arange(5))
    assert 0 < steps.min() < steps.max(), "clips must leave one after the other here"
    for number in range(5):
        alone, taken = run(torch.tensor([number]))
        torch.testing.assert_close(alone[0], whole[number], atol=1e-6, rtol=0)
        assert taken[0] == steps[number]


def test_eot_averages_the_draws(net, clips, labels, target, streams):
    """One FGSM step under a random defence goes along the sign of the mean gradient of its draws."""
    made = FGSM(eps=0.01).run(target(net, 5, [Shuffle()], eot=4), clips, labels, streams(5))
    random, scorer = streams(5), Shuffle().protect(lambda x, rng: net(x))
    leaf = clips.clone().requires_grad_()
    first = cross_entropy(scorer(leaf, random), labels).sum()
    rows = torch.arange(5).repeat_interleave(3)
    (first + cross_entropy(scorer(leaf[rows], random.spawn(3)), labels[rows]).sum()).backward()
    assert leaf.grad is not None
    steps = (made - clips).sign()
    inside = (made > 0) & (made < 1) & (leaf.grad.abs() > 1e-7)
    assert inside.float().mean() > 0.95
    assert torch.equal(steps[inside], leaf.grad.sign()[inside])
