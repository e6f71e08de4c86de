"""Patch and border against ART's masked PGD and against a plain loop over one sticker."""

import pytest
import torch
from robustvideo.attacks.frame_border import FrameBorder
from robustvideo.attacks.masked_pgd import MaskedPGD
from robustvideo.benchmark.core.budget import changed_area
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.losses import cross_entropy, margin
from robustvideo.benchmark.core.masks import border_mask

STEPS = 6
PATCH = dict(ratio=0.2, row=7, column=3)
"""Of 12x12 pixels: 5x5, from row 7 and column 3 on, so at the bottom edge."""


@pytest.fixture(scope="module")
def patch(clips):
    mask = torch.zeros(len(clips), 1, 1, 12, 12)
    mask[..., 7:12, 3:8] = 1
    return mask


@pytest.fixture(scope="module")
def border(clips):
    return border_mask(clips, 1)


def regions(request):
    return [
        (MaskedPGD, PATCH, request.getfixturevalue("patch")),
        (FrameBorder, dict(ratio=0.35), request.getfixturevalue("border")),
    ]


@pytest.mark.parametrize("eps", [0.1, 1.0])
def test_equal_to_art_with_the_same_mask(eps, net, clips, labels, target, streams, request):
    """Few small steps from the clean clip: the loss rises at each, so the best iterate is the last one, as ART returns it."""
    evasion, classification = pytest.importorskip("art.attacks.evasion"), pytest.importorskip("art.estimators.classification")
    peer = classification.PyTorchClassifier(net, torch.nn.CrossEntropyLoss(), (3, 8, 12, 12), 6, clip_values=(0, 1))
    for attack, where, mask in regions(request):
        mine = attack(eps=eps, steps=STEPS, step=eps / 20, random_start=False, **where).run(
            target(net, 5), clips, labels, streams(5)
        )
        pgd = evasion.ProjectedGradientDescent(peer, eps=eps, eps_step=eps / 20, max_iter=STEPS, verbose=False)
        theirs = pgd.generate(clips.numpy(), labels.numpy(), mask=mask.expand_as(clips).numpy())
        torch.testing.assert_close(mine, torch.from_numpy(theirs), atol=1e-6, rtol=0)
        assert (mine != clips).any()


@pytest.mark.parametrize("per_frame", ["nothing", "pattern"])
@pytest.mark.parametrize("random_start", [False, True])
def test_nothing_changes_outside_the_region(per_frame, random_start, net, clips, labels, target, streams, request):
    for attack, where, mask in regions(request):
        made = attack(steps=3, per_frame=per_frame, random_start=random_start, **where).run(
            target(net, 5), clips, labels, streams(5)
        )
        assert torch.equal(made * (1 - mask), clips * (1 - mask))
        assert (changed_area(made - clips) == mask.mean(dim=(1, 2, 3, 4))).all(), "and everything inside it does"


@pytest.mark.parametrize("random_start", [False, True])
def test_a_sticker_is_the_same_in_all_frames(random_start, net, clips, labels, target, streams, request):
    for attack, where, mask in regions(request):
        made = attack(steps=20, per_frame="nothing", random_start=random_start, **where).run(
            target(net, 5), clips, labels, streams(5)
        )
        shown = made * mask
        assert torch.equal(shown, shown[:, :, :1].expand_as(shown))
        assert (margin(net(made), labels) < margin(net(clips), labels)).all()


def test_a_sticker_equals_sign_ascent_on_its_own_pixels(net, clips, labels, target, streams, patch):
    """Autograd to one sticker (N, C, 1, H, W) that is pasted into every frame."""
    sticker = clips.mean(dim=2, keepdim=True)
    for step in range(STEPS):
        leaf = sticker.clone().requires_grad_()
        # The first gradient is the clean clip's; its mean over frames is what the sticker starts as.
        pasted = torch.where(patch > 0, leaf.expand_as(clips), clips)
        seen = pasted if step else pasted + (clips - pasted).detach()
        (grad,) = torch.autograd.grad(cross_entropy(net(seen), labels).sum(), leaf)
        sticker = (sticker + 0.02 * grad.sign()).clamp(0, 1)
    wanted = torch.where(patch > 0, sticker.expand_as(clips), clips)
    attack = MaskedPGD(steps=STEPS, step=0.02, random_start=False, per_frame="nothing", **PATCH)
    made = attack.run(target(net, 5), clips, labels, streams(5))
    torch.testing.assert_close(made, wanted, atol=1e-6, rtol=0)


def test_a_start_is_noise_inside_the_region_alone(net, clips, labels, target, streams, patch):
    def start(**options):
        attack = MaskedPGD(steps=1, step=0.0, **PATCH, **options)
        return attack.run(target(net, 5), clips, labels, streams(5))

    noisy = start()
    assert torch.equal(noisy * (1 - patch), clips * (1 - patch))
    assert ((noisy - clips).abs().amax(dim=1, keepdim=True) > 0).float().mean() == pytest.approx(25 / 144)
    assert torch.equal(start(random_start=False), clips)
    sticker = start(per_frame="nothing") * patch
    assert torch.equal(sticker, sticker[:, :, :1].expand_as(sticker)), "a sticker is one from the start"
    assert torch.unique(sticker[:, :, 0][patch[:, :, 0].expand(-1, 3, -1, -1) > 0]).numel() > 300


def test_places(net, clips, labels, target, streams):
    def where(**options):
        made = MaskedPGD(ratio=0.1, steps=2, position="random", **options).run(target(net, 5), clips, labels, streams(5))
        return (made != clips).any(dim=1)  # (N, T, H, W)

    still, moving = where(), where(per_frame="place")
    assert (still == still[:, :1]).all(), "one place per clip"
    assert (still[0] != still[1:]).flatten(1).any(dim=1).any(), "clips differ"
    assert (moving != moving[:, :1]).any(dim=(1, 2, 3)).all(), "frames differ"
    for changed in (still, moving):
        assert (changed.flatten(2).sum(dim=2) == 9).all()


def test_a_patch_of_the_whole_frame_is_pgd(net, clips, labels, target, streams):
    from robustvideo.attacks.pgd import PGD

    for eps in (0.05, 0.3):
        whole = MaskedPGD(eps=eps, ratio=1.0, steps=4, step=0.01, position="random", random_start=False)
        plain = PGD(eps=eps, steps=4, step=0.01, random_start=False)
        made = [attack.run(target(net, 5), clips, labels, streams(5)) for attack in (whole, plain)]
        assert torch.equal(*made)


def test_more_restarts_are_never_weaker(net, clips, labels, target, streams):
    one, four = (
        MaskedPGD(steps=2, restarts=restarts, **PATCH).run(target(net, 5), clips, labels, streams(5)) for restarts in (1, 4)
    )
    fooled = [net(made).argmax(dim=1) != labels for made in (one, four)]
    assert (fooled[1] | ~fooled[0]).all()
    gain = (cross_entropy(net(four), labels) - cross_entropy(net(one), labels))[fooled[0] == fooled[1]]
    assert gain.min() >= -1e-5 and gain.max() > 1e-3


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MaskedPGD(eps=8.0), "attack masked-pgd: eps: 8 is the whole pixel range or more; did you mean 8/255"),
        (lambda: FrameBorder(eps=8.0), "attack frame-border: eps: 8 is"),
        (lambda: MaskedPGD(per_frame="place"), "attack masked-pgd: per_frame: a fixed place .*; add position=random"),
    ],
)
def test_bad_parameters_are_refused_at_once(build, message):
    with pytest.raises(InputError, match=f"^{message}"):
        build()


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (MaskedPGD(ratio=0.2, row=8), "attack masked-pgd: row: 8 puts a patch of 5 pixels beyond the frame's 12"),
        (MaskedPGD(ratio=0.001), "attack masked-pgd: ratio: 0.001 leaves a patch of no pixels"),
        (FrameBorder(ratio=0.1), "attack frame-border: ratio: 0.1 leaves a border of no pixels"),
    ],
)
def test_a_region_that_the_frame_cannot_hold_is_refused(attack, message, net, clips, labels, target, streams):
    with pytest.raises(InputError, match=f"^{message}"):
        attack.run(target(net, 5), clips, labels, streams(5))
    with pytest.raises(InputError, match=f"^{message}"):
        attack.check(net.input, net.classes)


@pytest.mark.parametrize("per_frame", ["nothing", "pattern", "place"])
@pytest.mark.parametrize("until_fooled", [False, True])
def test_every_form_keeps_clips_apart_and_the_budget(per_frame, until_fooled, net, clips, labels, target, streams):
    def run(eps, rows):
        attack = MaskedPGD(eps=eps, ratio=0.3, steps=12, restarts=2, position="random", per_frame=per_frame)
        counted = target(net, 5, until_fooled=until_fooled, labels=labels)
        return attack.run(counted, clips[rows], labels[rows], streams(5)[rows]) - clips[rows]

    every = torch.arange(5)
    assert not run(0.0, every).any()
    assert run(0.05, every).abs().max() <= 0.05 + 1e-6
    together = run(1.0, every)
    assert (changed_area(together) <= 0.3).all()
    for number in range(5):
        torch.testing.assert_close(run(1.0, every[[number]]), together[[number]], atol=1e-5, rtol=0)
