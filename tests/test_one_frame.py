"""One-frame attacks and their merged form, against ART's masked PGD and each other."""

import pytest
import torch
from robustvideo.attacks.framewise import Framewise
from robustvideo.attacks.one_frame import OneFrame
from robustvideo.benchmark.core.budget import changed_frames
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.losses import cross_entropy
from robustvideo.defenses.shuffle import Shuffle

EPS, STEPS = 0.1, 6
"""Wide enough for some frames of some clips to fool, not of all."""


@pytest.fixture(scope="module")
def by_frame(net, clips, labels):
    """I-FGSM on each frame by itself, (T, N, C, T, H, W), by a plain loop."""
    made = []
    for frame in range(8):
        x = clips.clone()
        for _ in range(STEPS):
            leaf = x.clone().requires_grad_()
            (grad,) = torch.autograd.grad(cross_entropy(net(leaf), labels).sum(), leaf)
            x[:, :, frame] += EPS / STEPS * grad[:, :, frame].sign()
            x = torch.clamp(torch.minimum(torch.maximum(x, clips - EPS), clips + EPS), 0, 1)
        made.append(x)
    return torch.stack(made)


@pytest.fixture(scope="module")
def fooled(net, labels, by_frame):
    """(N, T)."""
    return torch.stack([net(made).argmax(dim=1) != labels for made in by_frame], dim=1)


def attack(index, **options):
    return OneFrame(**(dict(eps=EPS, steps=STEPS, index=index) | options))


def test_a_numbered_frame_equals_art_and_a_plain_loop(net, clips, labels, target, streams, by_frame):
    evasion, classification = pytest.importorskip("art.attacks.evasion"), pytest.importorskip("art.estimators.classification")
    peer = classification.PyTorchClassifier(net, torch.nn.CrossEntropyLoss(), (3, 8, 12, 12), 6, clip_values=(0, 1))
    pgd = evasion.ProjectedGradientDescent(peer, eps=EPS, eps_step=EPS / STEPS, max_iter=STEPS, verbose=False)
    for frame in (0, 5, 7):
        mask = torch.zeros_like(clips)
        mask[:, :, frame] = 1
        theirs = torch.from_numpy(pgd.generate(clips.numpy(), labels.numpy(), mask=mask.numpy()))
        mine = attack(str(frame)).run(target(net, 5), clips, labels, streams(5))
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)
        torch.testing.assert_close(mine, by_frame[frame], atol=1e-6, rtol=0)


def test_merged_frames_equal_a_plain_loop(net, clips, labels, target, streams, by_frame):
    wanted = torch.stack([by_frame[frame, :, :, frame] for frame in range(8)], dim=2)
    for until_fooled in (False, True):
        counted = target(net, 5, until_fooled=until_fooled, labels=labels)
        made = Framewise(eps=EPS, steps=STEPS).run(counted, clips, labels, streams(5))
        torch.testing.assert_close(made, wanted, atol=1e-6, rtol=0)
        assert counted.gradients.tolist() == [8 * STEPS] * 5, "no part leaves early"


def test_the_curve_over_frames(net, clips, labels, target, streams, fooled, by_frame):
    assert fooled.any() and not fooled.all()
    for until_fooled in (False, True):
        counted = target(net, 5, until_fooled=until_fooled, labels=labels)
        made = attack("all").run(counted, clips, labels, streams(5))
        assert torch.equal(counted.notes["fooled_by_frame"], fooled.float())
        assert torch.equal(net(made).argmax(dim=1) != labels, fooled.any(dim=1))
    unfooled = ~fooled.any(dim=1)
    assert unfooled.any()
    loss = torch.stack([cross_entropy(net(made), labels) for made in by_frame])
    torch.testing.assert_close(cross_entropy(net(made), labels)[unfooled], loss.amax(dim=0)[unfooled], atol=1e-5, rtol=0)


def test_worst_is_done_with_the_first_frame_that_fools(net, clips, labels, target, streams, fooled, by_frame):
    counted = target(net, 5, until_fooled=True, labels=labels)
    made = attack("worst").run(counted, clips, labels, streams(5))
    assert torch.equal(net(made).argmax(dim=1) != labels, fooled.any(dim=1))
    first = fooled.int().argmax(dim=1)
    for clip in range(5):
        if fooled[clip].any():
            assert (made[clip] != clips[clip]).any(dim=0).flatten(1).any(dim=1).nonzero().flatten().tolist() == [first[clip]]
            assert counted.gradients[clip] <= STEPS * (first[clip] + 1)
        else:
            assert counted.gradients[clip] == STEPS * 8


def test_worst_at_full_strength_is_the_strongest_frame(net, clips, labels, target, streams, by_frame, fooled):
    counted = target(net, 5)
    made = attack("worst").run(counted, clips, labels, streams(5))
    assert counted.gradients.tolist() == [STEPS * 8] * 5
    loss = torch.stack([cross_entropy(net(one), labels) for one in by_frame], dim=1)
    strongest = torch.where(fooled.any(dim=1, keepdim=True) & ~fooled, -1.0, loss).amax(dim=1)
    torch.testing.assert_close(cross_entropy(net(made), labels), strongest, atol=1e-5, rtol=0)


def test_random_frames_belong_to_the_clip(net, clips, labels, target, streams):
    def frames(seed):
        made = attack("random").run(target(net, 5), clips, labels, streams(5, seed))
        assert (changed_frames(made - clips) == 1).all()
        return (made != clips).any(dim=4).any(dim=3).any(dim=1).int().argmax(dim=1)

    drawn = torch.stack([frames(seed) for seed in range(12)])
    assert set(drawn.flatten().tolist()) == set(range(8))
    assert (drawn != drawn[:, :1]).any()


@pytest.mark.parametrize("index", ["worst", "all", "2", "random"])
def test_one_frame_of_a_random_target(index, net, clips, labels, target, streams):
    random = target(net, 5, [Shuffle()], until_fooled=True, labels=labels)
    made = attack(index).run(random, clips, labels, streams(5))
    assert (changed_frames(made - clips) == 1).all()
    assert random.gradients.tolist() == [STEPS * (8 if index in ("worst", "all") else 1)] * 5


def test_a_single_step_is_fgsm_on_the_same_frame(net, clips, labels, target, streams):
    one = attack("3").single_step()
    made = one.run(target(net, 5), clips, labels, streams(5))
    leaf = clips.clone().requires_grad_()
    (grad,) = torch.autograd.grad(cross_entropy(net(leaf), labels).sum(), leaf)
    wanted = clips.clone()
    wanted[:, :, 3] = (clips[:, :, 3] + EPS * grad[:, :, 3].sign()).clamp(0, 1)
    torch.testing.assert_close(made, wanted, atol=1e-6, rtol=0)
    assert attack("worst").single_step() is None


@pytest.mark.parametrize("index", ["8", "12"])
def test_a_frame_beyond_the_clip_is_refused(index, net, clips, labels, target, streams):
    message = f"^attack one-frame: index: {index} is beyond the clip's 8 frames; it must be from 0 to 7$"
    with pytest.raises(InputError, match=message):
        OneFrame(index=index).run(target(net, 5), clips, labels, streams(5))
    with pytest.raises(InputError, match=message):
        OneFrame(index=index).check(net.input, net.classes)


@pytest.mark.parametrize("index", ["first", "-1", "1.5", ""])
def test_what_is_no_frame_is_refused(index):
    with pytest.raises(InputError, match="^attack one-frame: index: .* is no frame; "):
        OneFrame(index=index)


@pytest.mark.parametrize("index", ["3", "all", "random"])
@pytest.mark.parametrize("defended", [False, True])
def test_every_choice_of_frame_keeps_clips_apart(index, defended, net, clips, labels, target, streams):
    def run(rows):
        counted = target(net, 5, [Shuffle()] if defended else [], until_fooled=True, labels=labels)
        return attack(index).run(counted, clips[rows], labels[rows], streams(5)[rows])

    together = run(torch.arange(5))
    for number in range(5):
        torch.testing.assert_close(run(torch.tensor([number])), together[[number]], atol=1e-5, rtol=0)
