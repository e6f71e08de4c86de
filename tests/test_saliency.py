"""Frame saliency against ART's, one clip at a time where ART is right; and where it is wrong."""

import pytest
import torch
from conftest_models import build_net
from robustvideo.attacks.saliency import Saliency
from robustvideo.benchmark.core.budget import changed_frames, linf_norm
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.losses import cross_entropy
from robustvideo.defenses.shuffle import Shuffle

EPS, STEPS = 12 / 255, 5
"""With steps of eps/10 the loss rises at each, so the best iterate is the last, as ART returns it; clips need 3 to 7 frames."""


@pytest.fixture(scope="module")
def peer(net):
    """ART's attack, and ART's PGD with the same budget."""
    evasion, classification = pytest.importorskip("art.attacks.evasion"), pytest.importorskip("art.estimators.classification")
    model = classification.PyTorchClassifier(net, torch.nn.CrossEntropyLoss(), (3, 8, 12, 12), 6, clip_values=(0, 1))

    def attack(method, steps=STEPS, frame_index=2, eps=EPS):
        pgd = evasion.ProjectedGradientDescent(model, eps=eps, eps_step=eps / 10, max_iter=steps, verbose=False)
        if not method:
            return lambda x, y, **more: torch.from_numpy(pgd.generate(x.numpy(), y.numpy(), **more))
        art = evasion.FrameSaliencyAttack(model, pgd, method=method, frame_index=frame_index, verbose=False)
        return lambda x, y: torch.from_numpy(art.generate(x.numpy(), y.numpy()))

    return attack


def one_by_one(attack, clips, labels):
    return torch.cat([attack(clips[[number]], labels[[number]]) for number in range(len(clips))])


def saliency_of(net, clips, labels):
    leaf = clips.clone().requires_grad_()
    (grad,) = torch.autograd.grad(cross_entropy(net(leaf), labels).sum(), leaf)
    return grad.abs().mean(dim=(1, 3, 4))


def attack(method, **options):
    return Saliency(**(dict(eps=EPS, method=method, steps=STEPS, step=EPS / 10) | options))


def test_iterative_equals_art(net, clips, labels, peer, target, streams):
    theirs = one_by_one(peer("iterative_saliency"), clips, labels)
    counted = target(net, 5, until_fooled=True, labels=labels)
    mine = attack("iterative").run(counted, clips, labels, streams(5))
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)
    frames = changed_frames(mine - clips)
    assert counted.notes["frames_used"].tolist() == frames.tolist()
    assert frames.unique().numel() > 1 and frames.max() < 8, "clips stop by themselves, at different numbers"


def test_refresh_equals_art(net, clips, labels, peer, target, streams):
    theirs = one_by_one(peer("iterative_saliency_refresh"), clips, labels)
    for number, frames in enumerate(changed_frames(theirs - clips).tolist()):
        row, counted = torch.tensor([number]), target(net, 1)
        # Full strength, as ART: PGD on a frame does not end with the step that fools.
        mine = attack("refresh", frames=frames).run(counted, clips[row], labels[row], streams(1))
        torch.testing.assert_close(mine, theirs[row], atol=1e-6, rtol=0)


def test_refresh_does_not_mix_clips_as_art_does(net, clips, labels, peer, target, streams):
    """In a batch ART perturbs every clip's next frame in every clip, again and again: over the budget, without a word."""
    eps = EPS / 2  # so small that clips need several frames, and different numbers of them
    theirs = peer("iterative_saliency_refresh", steps=10, eps=eps)(clips, labels)
    assert linf_norm(theirs - clips).max() > 1.5 * eps, "ART is mended: drop this line"
    refresh, counted = attack("refresh", steps=10, eps=eps, step=eps / 10), target(net, 5, until_fooled=True, labels=labels)
    mine = refresh.run(counted, clips, labels, streams(5))
    assert linf_norm(mine - clips).max() <= eps + 1e-6
    fooled = net(mine).argmax(dim=1) != labels
    assert counted.notes["frames_used"][fooled].tolist() == changed_frames(mine - clips)[fooled].tolist()
    for number in range(5):
        row, alone = torch.tensor([number]), target(net, 5, until_fooled=True, labels=labels)
        made = refresh.run(alone, clips[row], labels[row], streams(5)[row])
        torch.testing.assert_close(made, mine[row], atol=1e-6, rtol=0)


def test_oneshot_perturbs_the_most_salient_frames_where_art_perturbs_all(net, clips, labels, peer, target, streams):
    theirs = peer("one_shot")(clips, labels)
    assert torch.equal(theirs, peer("")(clips, labels)), "ART is mended: drop this line"
    assert (changed_frames(theirs - clips) == 8).all()
    mine = attack("oneshot", frames=3).run(target(net, 5), clips, labels, streams(5))
    chosen = saliency_of(net, clips, labels).argsort(dim=1, descending=True)[:, :3]
    mask = torch.zeros(5, 8).scatter_(1, chosen, 1)
    assert torch.equal((mine != clips).any(dim=4).any(dim=3).any(dim=1), mask.bool())
    masked = peer("")(clips, labels, mask=mask[:, None, :, None, None].expand_as(clips).numpy())
    torch.testing.assert_close(mine, masked, atol=1e-6, rtol=0)


def test_frames_are_frames_where_art_takes_channels(net, clips, labels, peer, target, streams):
    """ART's default axis for frames is that of channels in NCTHW clips, so that it changes all frames at once."""
    theirs = one_by_one(peer("iterative_saliency", frame_index=1), clips, labels)
    assert (changed_frames(theirs - clips) == 8).all()
    mine = attack("iterative").run(target(net, 5, until_fooled=True, labels=labels), clips, labels, streams(5))
    assert (changed_frames(mine - clips) < 8).all()


def test_refresh_takes_the_most_salient_frame_of_the_clip_as_it_stands(net, clips, labels, target, streams):
    two = attack("refresh", frames=2).run(target(net, 5), clips, labels, streams(5))
    one = attack("refresh", frames=1).run(target(net, 5), clips, labels, streams(5))
    first = saliency_of(net, clips, labels).argmax(dim=1)
    second = saliency_of(net, one, labels).scatter(1, first[:, None], -1.0).argmax(dim=1)
    wanted = torch.zeros(5, 8).scatter_(1, torch.stack([first, second], dim=1), 1).bool()
    assert torch.equal((two != clips).any(dim=4).any(dim=3).any(dim=1), wanted)
    rows = torch.arange(5)
    assert torch.equal(two[rows, :, first], one[rows, :, first]), "what was added stays"


@pytest.mark.parametrize("method", ["iterative", "refresh"])
def test_frames_is_a_cap(method, net, clips, labels, target, streams):
    counted = target(net, 5, until_fooled=True, labels=labels)
    made = attack(method, frames=4).run(counted, clips, labels, streams(5))
    assert (changed_frames(made - clips) <= 4).all()
    used, fooled = counted.notes["frames_used"], net(made).argmax(dim=1) != labels
    assert fooled.any() and (~fooled).any()
    assert torch.equal(~used.isnan(), fooled), "a clip that was never fooled has no number"
    assert (changed_frames(made - clips) == 4)[~fooled].all()


@pytest.mark.parametrize("method", ["iterative", "refresh"])
def test_at_full_strength_no_clip_stops(method, net, clips, labels, target, streams):
    full, brief = target(net, 5), target(net, 5, until_fooled=True, labels=labels)
    strong, weak = (attack(method).run(one, clips, labels, streams(5)) for one in (full, brief))
    assert (changed_frames(strong - clips) == 8).all() and (changed_frames(weak - clips) < 8).all()
    assert (cross_entropy(net(strong), labels) > cross_entropy(net(weak), labels)).all()
    assert torch.equal(full.notes["frames_used"], brief.notes["frames_used"]), "when it was fooled first is kept all the same"


@pytest.mark.parametrize("method", ["oneshot", "iterative", "refresh"])
def test_a_clip_that_is_wrong_already_needs_no_frame(method, net, clips, labels, target, streams):
    other = (labels + 1) % 6
    counted = target(net, 5, until_fooled=True, labels=other)
    made = attack(method, frames=3).run(counted, clips, other, streams(5))
    assert counted.notes["frames_used"].tolist() == [0] * 5
    assert torch.equal(made, clips)


@pytest.mark.parametrize("method", ["oneshot", "iterative", "refresh"])
def test_a_random_target_is_never_left_early(method, net, clips, labels, target, streams):
    random = target(net, 5, [Shuffle()], until_fooled=True, labels=labels)
    made = attack(method, frames=5, eps=0.3).run(random, clips, labels, streams(5))
    assert (changed_frames(made - clips) == 5).all()
    assert random.gradients.tolist() == [5 * (STEPS + 1) if method == "refresh" else STEPS + 1] * 5
    assert "frames_used" not in random.notes


def test_bad_numbers_of_frames_are_refused(net, clips, labels, target, streams):
    with pytest.raises(InputError, match="^attack saliency: frames: oneshot does not know how many; say so, such as frames=4$"):
        Saliency(method="oneshot")
    with pytest.raises(InputError, match="^attack saliency: frames: 9 is more than the clip's 8; "):
        Saliency(frames=9).run(target(net, 5), clips, labels, streams(5))
    with pytest.raises(InputError, match="^attack saliency: frames: 9 is more than the clip's 8; "):
        Saliency(frames=9).check(net.input, net.classes)
    assert Saliency(frames=3).limits.frames == 3 and Saliency().limits.frames is None


@pytest.mark.parametrize("method", ["oneshot", "iterative", "refresh"])
@pytest.mark.parametrize("defended", [False, True])
def test_every_method_keeps_clips_apart(method, defended, net, clips, labels, target, streams):
    def run(rows):
        counted = target(net, 5, [Shuffle()] if defended else [], until_fooled=True, labels=labels)
        brief = attack(method, frames=4, steps=3, eps=0.2, random_start=True)
        return brief.run(counted, clips[rows], labels[rows], streams(5)[rows]), counted.notes.get("frames_used")

    together, used = run(torch.arange(5))
    assert linf_norm(together - clips).max() <= 0.2 + 1e-6
    for number in range(5):
        alone, own = run(torch.tensor([number]))
        torch.testing.assert_close(alone, together[[number]], atol=1e-5, rtol=0)
        assert used is None or own[number] == used[number] or own[number].isnan() and used[number].isnan()


@pytest.mark.parametrize("seed", range(4))
def test_refresh_keeps_its_ball_while_clips_leave(seed, target, streams):
    """Steps of eps/2 let clips leave in the middle of a frame, while the others have moved already."""
    net, clips = build_net(seed=seed), torch.rand(8, 3, 8, 12, 12, generator=torch.Generator().manual_seed(seed))
    labels, refresh = net(clips).argmax(dim=1), attack("refresh", steps=10, step=EPS / 2)
    made = refresh.run(target(net, 8, until_fooled=True, labels=labels), clips, labels, streams(8))
    assert linf_norm(made - clips).max() <= EPS + 1e-6
    for number in range(8):
        row = torch.tensor([number])
        alone = refresh.run(target(net, 8, until_fooled=True, labels=labels), clips[row], labels[row], streams(8)[row])
        torch.testing.assert_close(alone, made[row], atol=1e-5, rtol=0)
