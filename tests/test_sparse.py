"""The sparse attack against the same objective by torch's own Adam, and its mask, budget and choice."""

import pytest
import torch
from robustvideo.attacks.sparse import START, Sparse, unlikely
from robustvideo.benchmark.core.budget import changed_frames, norm_of
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.losses import margin

FRAMES = 8


def run(net, clips, labels, target, streams, **options):
    return Sparse(**options).run(target(net, len(clips)), clips, labels, streams(len(clips)))


def test_it_descends_the_published_objective(net, clips, labels, target, streams):
    """Few steps that fool no clip and go straight down: the last iterate is the best."""
    inner = 0.2 + 0.6 * clips
    truth, steps, allowed = net(inner).argmax(dim=1), 5, [1, 4, 6]
    leaf = torch.full_like(inner, START).requires_grad_()
    mask = torch.zeros(FRAMES).index_fill(0, torch.tensor(allowed), 1).view(1, 1, -1, 1, 1)
    optimiser = torch.optim.Adam([leaf], lr=0.001)
    for _ in range(steps):
        norm = sum((leaf[:, :, t] * mask[:, :, t]).square().mean(dim=(1, 2, 3)).sqrt() for t in allowed)
        sure = net(inner + leaf * mask).softmax(dim=1).gather(1, truth[:, None])[:, 0]
        optimiser.zero_grad()
        (3.0 * norm - (1 - sure + 1e-6).log()).sum().backward()
        optimiser.step()
    made = run(net, inner, truth, target, streams, frames=3, steps=steps, weight=3.0, eps=50.0)
    assert (net(made).argmax(dim=1) == truth).all()
    torch.testing.assert_close(made, (inner + leaf * mask).detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("count", "positions"), [(1, [4]), (2, [2, 6]), (3, [1, 4, 6]), (8, list(range(8))), (None, list(range(8)))]
)
def test_only_the_allowed_frames_change(count, positions, net, clips, labels, target, streams):
    attack = Sparse(frames=count, steps=4)
    assert attack.limits.frames == count
    change = attack.run(target(net, 5), clips, labels, streams(5)) - clips
    changed = change.abs().amax(dim=(1, 3, 4)) > 0
    assert changed.all(dim=0).nonzero().flatten().tolist() == positions and changed.sum() == 5 * len(positions)


def test_more_frames_than_the_clip_has(net, clips, labels, target, streams):
    with pytest.raises(InputError, match="attack sparse: frames: 9 is more than the clip's 8 frames; it must be from 1 to 8"):
        run(net, clips, labels, target, streams, frames=9)
    with pytest.raises(InputError, match="it must be from 1 to 8"):
        Sparse(frames=9).check(net.input, net.classes)
    assert Sparse(frames=8).check(net.input, net.classes) is None


def test_the_cap_holds_and_the_price_shrinks_the_change(net, clips, labels, target, streams):
    def size(**options):
        made = run(net, clips, labels, target, streams, steps=40, step=0.002, **options)
        return norm_of("l21", (made - clips).double()), margin(net(made), labels) <= 0

    free, fooled = size(eps=100.0, weight=0.0)
    dear, also = size(eps=100.0, weight=1.0)
    assert fooled.all() and also.all() and (dear < free).all()
    cap = 0.5 * float(dear.amin())
    assert (size(eps=cap)[0] <= cap + 1e-6).all()


def test_of_the_iterates_that_fool_the_smallest_counts(net, clips, labels, target, streams):
    seen = []

    def watch(x):
        logits = net(x)
        seen.append(torch.where(margin(logits, labels) <= 0, norm_of("l21", x - clips), torch.inf).detach())
        return logits

    counted = target(watch, 5, until_fooled=True)
    made = Sparse(steps=60, step=0.002).run(counted, clips, labels, streams(5))
    assert counted.gradients.tolist() == [60] * 5, "no clip leaves before it is polished"
    size = torch.stack(seen)
    assert size.isfinite().any(dim=0).all()
    torch.testing.assert_close(norm_of("l21", made - clips), size.amin(dim=0), atol=1e-5, rtol=0)
    assert (changed_frames(made - clips) > 0).all()


def test_a_sure_model_still_has_a_gradient():
    """1 - p_y is 0 in float32 there, and the published guard 1e-6 leaves no slope."""
    logits = torch.tensor([[60.0, 0.0, 1.0], [0.5, 0.2, -1.0]], requires_grad=True)
    labels = torch.zeros(2, dtype=torch.long)
    value = unlikely(logits, labels)
    wanted = (1 - logits.double().softmax(dim=1)[:, 0]).log()
    torch.testing.assert_close(value[1].double(), wanted[1], atol=1e-6, rtol=0)
    (grad,) = torch.autograd.grad(value.sum(), logits)
    assert float(value[0].detach()) == pytest.approx(-60 + float(torch.tensor([0.0, 1.0]).logsumexp(0)), abs=1e-4)
    assert (grad.abs() > 0).all()
