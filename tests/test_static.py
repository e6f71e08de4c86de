"""One pattern for all frames: against other people's PGD on images, and what follows from its having no order."""

import pytest
import torch
from robustvideo.attacks.static import Static
from robustvideo.benchmark.core.budget import l2_norm
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.losses import cross_entropy, margin
from robustvideo.defenses.shuffle import Shuffle
from torch import nn

FRAMES, STEPS, EPS = 8, 5, 6 / 255


@pytest.fixture(scope="module")
def still(net):
    """Still clips of random images; to an image attack the network is one that repeats its image over time."""
    images = torch.rand(5, 3, 12, 12, generator=torch.Generator().manual_seed(4))

    class Repeated(nn.Module):
        def forward(self, images):
            return net(images[:, :, None].expand(-1, -1, FRAMES, -1, -1))

    return images, images[:, :, None].repeat(1, 1, FRAMES, 1, 1), Repeated().eval()


def run(net, clips, labels, target, streams, **options):
    return Static(**options).run(target(net, len(clips)), clips, labels, streams(len(clips)))


def test_linf_on_a_still_clip_is_the_image_attack_of_torchattacks(net, still, target, streams):
    torchattacks = pytest.importorskip("torchattacks")
    images, clips, model = still
    labels = net(clips).argmax(dim=1)
    made = run(net, clips, labels, target, streams, eps=EPS, steps=STEPS, step=EPS / 10, random_start=False)
    theirs = torchattacks.PGD(model, eps=EPS, alpha=EPS / 10, steps=STEPS, random_start=False)(images, labels)
    torch.testing.assert_close(made, theirs[:, :, None].expand_as(made), atol=1e-6, rtol=0)


def test_l2_on_a_still_clip_is_the_image_attack_of_foolbox(net, still, target, streams):
    """The clip's L2 norm is the image's times the root of the number of frames. No pixel is near black or white, where a pattern
    that is cut off and an image that is cut off part ways."""
    foolbox = pytest.importorskip("foolbox")
    images, clips, model = 0.2 + 0.6 * still[0], 0.2 + 0.6 * still[1], still[2]
    labels, root = net(clips).argmax(dim=1), FRAMES**0.5
    options = dict(norm="l2", eps=0.5 * root, step=0.05 * root, steps=STEPS, random_start=False)
    made = run(net, clips, labels, target, streams, **options)
    attack = foolbox.attacks.L2PGD(abs_stepsize=0.05, steps=STEPS, random_start=False)
    theirs = attack.run(foolbox.PyTorchModel(model, bounds=(0, 1)), images, labels, epsilon=0.5)
    torch.testing.assert_close(made, theirs[:, :, None].expand_as(made), atol=1e-5, rtol=0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_frame_changes_alike_until_pixels_are_cut(norm, net, clips, labels, target, streams):
    inner = 0.2 + 0.6 * clips
    change = run(net, inner, labels, target, streams, norm=norm, eps=0.1, steps=4) - inner
    torch.testing.assert_close(change, change[:, :, :1].expand_as(change), atol=1e-6, rtol=0)
    assert change.abs().amax() > 0.005
    cut = run(net, clips, labels, target, streams, norm=norm, eps=0.1, steps=4) - clips
    whole = cut.abs().amax(dim=2, keepdim=True) * cut.sum(dim=2, keepdim=True).sign()
    torch.testing.assert_close(cut, (clips + whole).clamp(0, 1) - clips, atol=1e-6, rtol=0)


def test_shuffling_the_frames_does_not_touch_it(net, clips, labels, target, streams):
    """Shuffling attacked frames is attacking shuffled frames: temporal shuffling cannot take the pattern away."""
    inner = 0.2 + 0.6 * clips
    made = run(net, inner, labels, target, streams, eps=0.1, steps=4)
    seen = []
    shuffled = Shuffle().protect(lambda x, rng: seen.append(x) or net(x))
    for batch in (made, inner):
        shuffled(batch, streams(5))
    torch.testing.assert_close(seen[0] - seen[1], (made - inner)[:, :, :1].expand_as(made), atol=1e-6, rtol=0)
    assert not torch.equal(seen[1], inner), "the frames were shuffled"


def test_the_published_search_stops_short_of_the_default(net, clips, labels, target, streams):
    def loss(**options):
        made = run(net, clips, labels, target, streams, eps=0.1, steps=10, **options)
        return cross_entropy(net(made), labels).mean()

    assert Static(steps=30, rule="published").step_size == pytest.approx(4 / 255 / 30)
    assert Static(steps=30).step_size == pytest.approx(1 / 255)
    assert loss() > loss(rule="published", random_start=False)


def test_fooled_clips_leave_and_restarts_take_up_the_others(net, clips, labels, target, streams):
    brief = target(net, 5, until_fooled=True)
    made = Static(eps=0.3, steps=10, restarts=3).run(brief, clips, labels, streams(5))
    fooled = margin(net(made), labels) <= 0
    assert fooled.any() and (brief.gradients[fooled] < 30).all() and (brief.gradients[~fooled] == 30).all()
    once = Static(eps=0.3, steps=10).run(target(net, 5, until_fooled=True), clips, labels, streams(5))
    assert (fooled | (margin(net(once), labels) > 0)).all(), "a restart never loses what was found"


def test_l2_budgets_hold_for_the_whole_clip(net, clips, labels, target, streams):
    made = run(net, clips, labels, target, streams, norm="l2", eps=2.0, steps=20)
    assert (l2_norm(made - clips) <= 2.0 + 1e-5).all()
    inner = 0.2 + 0.6 * clips
    reached = l2_norm(run(net, inner, labels, target, streams, norm="l2", eps=2.0, steps=20) - inner)
    assert (reached > 1.9).all(), "nothing is wasted where no pixel is cut"


def test_a_budget_in_grey_levels_is_refused():
    with pytest.raises(InputError, match="attack static: eps.*did you mean 4/255"):
        Static(eps=4.0)
