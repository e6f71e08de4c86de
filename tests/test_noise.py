"""Random noise: that it is uniform, keeps its strongest draw, and stays below the attacks that look at gradients."""

import pytest
import torch
from robustvideo.attacks.noise import Noise
from robustvideo.attacks.pgd import PGD
from robustvideo.benchmark.core.budget import l2_norm
from robustvideo.benchmark.core.losses import margin
from robustvideo.defenses.shuffle import Shuffle
from scipy import stats


def channel_means(x):
    return x.mean(dim=(2, 3, 4))


def test_linf_draws_are_uniform(target, streams):
    clean, labels = torch.full((50, 3, 4, 5, 5), 0.5), torch.zeros(50, dtype=torch.long)
    delta = Noise(eps=0.2, queries=1).run(target(channel_means, 50), clean, labels, streams(50)) - clean
    assert stats.kstest(delta.flatten().numpy() / 0.2, stats.uniform(-1, 2).cdf).pvalue > 0.01


def test_l2_draws_are_uniform_in_the_ball(target, streams):
    """Radius^d is uniform, the direction has the coordinates of a uniform point of the sphere."""
    count, size = 400, 12
    clean, labels = torch.full((count, 3, 1, 2, 2), 0.5), torch.zeros(count, dtype=torch.long)
    delta = Noise(norm="l2", eps=0.4, queries=1).run(target(channel_means, count), clean, labels, streams(count)) - clean
    radius = l2_norm(delta)
    assert stats.kstest((radius.numpy() / 0.4) ** size, "uniform").pvalue > 0.01
    share = (delta.flatten(1)[:, 0] / radius).square().numpy()
    assert stats.kstest(share, stats.beta(0.5, (size - 1) / 2).cdf).pvalue > 0.01


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_strongest_draw_is_kept(norm, net, clips, labels, target, streams):
    seen, margins = [], []

    def watch(x):
        logits = net(x)
        seen.append(x.clone())
        margins.append(margin(logits, labels))
        return logits

    attack = Noise(norm=norm, eps={"linf": 0.05, "l2": 2.0}[norm], queries=20)
    counted = target(watch, 5)
    made = attack.run(counted, clips, labels, streams(5))
    assert counted.queries.tolist() == [20] * 5 and len({tuple(x[0, 0, 0, 0].tolist()) for x in seen}) == 20
    strongest = torch.stack(margins).argmin(dim=0)
    assert torch.equal(made, torch.stack([seen[draw][clip] for clip, draw in enumerate(strongest.tolist())]))
    torch.testing.assert_close(margin(net(made), labels), torch.stack(margins).amin(dim=0))


def test_fooled_clips_leave_only_where_that_is_asked(net, clips, labels, target, streams):
    """A model that compares channels, and clips whose first channel leads by more and more."""
    lead = torch.tensor([0.0, 1e-3, 5e-3, 0.1, 0.1])
    close = torch.full((5, 3, 4, 5, 5), 0.4)
    close[:, 0] += lead.view(5, 1, 1, 1)
    first = torch.zeros(5, dtype=torch.long)
    full, brief = (target(channel_means, 5, until_fooled=leave) for leave in (False, True))
    made = [Noise(eps=0.1, queries=40).run(one, close, first, streams(5)) for one in (full, brief)]
    assert full.queries.tolist() == [40] * 5
    fooled = [margin(channel_means(one), first) <= 0 for one in made]
    assert fooled[0].tolist() == fooled[1].tolist() == [True, True, True, False, False]
    assert torch.equal(brief.queries < 40, fooled[1])
    assert (margin(channel_means(made[0]), first) <= margin(channel_means(made[1]), first)).all()
    random = target(net, 5, [Shuffle()], until_fooled=True, labels=labels)
    Noise(eps=0.5, queries=8).run(random, clips, labels, streams(5))
    assert len(set(random.queries.tolist())) == 1


def test_more_draws_are_never_weaker_and_gradients_are_stronger(net, clips, labels, target, streams):
    eps = 0.02
    few, many = (
        margin(net(Noise(eps=eps, queries=queries).run(target(net, 5), clips, labels, streams(5))), labels) for queries in (5, 50)
    )
    assert (many <= few).all() and (many < few).any()
    assert (margin(net(PGD(eps=eps, loss="cw").run(target(net, 5), clips, labels, streams(5))), labels) < many).all()
