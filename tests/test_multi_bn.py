"""Multiple batch norms: branches by themselves, mixed, and the module that selects."""

import copy

import pytest
import torch
from robustvideo.attacks.ta import TA
from robustvideo.benchmark.core.branches import Branches
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.trained import Armed
from robustvideo.benchmark.core.whitebox import WhiteBox
from robustvideo.benchmark.evaluation.threat import Pipeline, grey_box_differs
from robustvideo.benchmark.training.clips import Split
from robustvideo.benchmark.training.entries import Recipe
from robustvideo.benchmark.training.loop import Plan
from robustvideo.defenses.multi_bn import MultiBN
from test_taf import CNNS, batch, means, tiny
from test_training import fresh, goes_on, toy
from torch import nn

BRIEF = MultiBN(steps=2, ratio=0.3)


def stirred(net, count=3):
    """Branches that differ in all that a norm has."""
    branches, random = Branches(net, count), torch.Generator().manual_seed(4)
    for branch in range(count):
        for norm in branches.norms(branch):
            for value in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
                value.add_(0.2 * torch.rand(value.shape, generator=random))
    return branches


@pytest.mark.parametrize("name", CNNS)
def test_a_certain_selection_is_its_branch_and_each_clip_has_its_own(name):
    model = tiny(name, size=32)
    branches = stirred(model)
    clips = torch.rand(3, 3, 8, 32, 32, generator=torch.Generator().manual_seed(1))
    alone = []
    for branch in range(3):
        with branches.use(branch):
            alone.append(model(clips))
    assert not torch.allclose(alone[0], alone[1], atol=1e-3) and not torch.allclose(alone[1], alone[2], atol=1e-3)
    with branches.mix(torch.eye(3)[[2, 0, 1]]):
        mixed = model(clips)
    torch.testing.assert_close(mixed, torch.stack((alone[2][0], alone[0][1], alone[1][2])), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(model(clips), alone[0], atol=0, rtol=0)


@pytest.mark.parametrize("frames", [1, 4])
def test_a_norm_gives_the_weighted_mean_of_its_branches(frames):
    net = nn.Sequential(nn.BatchNorm2d(5)).eval()
    branches = stirred(net)
    x = torch.randn(2 * frames, 5, 3, 3, generator=torch.Generator().manual_seed(2))
    weights = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.0, 0.4]], requires_grad=True)
    outs = torch.stack([branches.norms(branch)[0](x) for branch in range(3)])
    with branches.mix(weights):
        mixed = net(x)
    wanted = torch.einsum("nb,bnfchw->nfchw", weights, outs.unflatten(1, (2, frames))).flatten(0, 1)
    torch.testing.assert_close(mixed, wanted)
    (slope,) = torch.autograd.grad(mixed.sum(), weights)
    torch.testing.assert_close(slope, outs.detach().unflatten(1, (2, frames)).sum(dim=(2, 3, 4, 5)).T, atol=1e-3, rtol=1e-4)


def test_branches_are_separate(streams):
    learner = BRIEF.learner(fresh())
    learner.switch(True)
    clips, labels = batch()
    learner.loss(clips, labels, streams(8)).backward()
    branches = learner.network.net.branches
    moved = [means(branches.norms(branch)) for branch in range(3)]
    assert all(not torch.equal(moved[one], moved[other]) for one, other in ((0, 1), (0, 2), (1, 2)))
    assert all(norm.weight.grad is not None for branch in range(3) for norm in branches.norms(branch))
    plain = fresh().train()
    torch.manual_seed(0)
    plain(clips)
    norms = [norm for norm in plain.modules() if isinstance(norm, nn.BatchNorm2d)]
    torch.testing.assert_close(moved[0], means(norms), msg="attacked clips leave the clean branch alone", atol=0.05, rtol=0.05)
    assert torch.equal(moved[0][:8], means(norms)[:8]), "in the stem, before any dropout, bit for bit"


def test_the_loss_by_hand(streams, monkeypatch):
    """Three kinds, each with the cross-entropy of its class and that of its kind, and their mean."""
    learner = BRIEF.learner(fresh())
    learner.switch(False)
    clips, labels = batch()
    shifted = [clips, (clips + 0.1).clamp(0, 1), (clips - 0.1).clamp(0, 1)]
    monkeypatch.setattr(learner, "attacked", lambda branch, *given: shifted[branch])
    wanted = 0.0
    for kind, seen in enumerate(shifted):
        normed = torch.addcmul(learner.network.shift, seen, learner.network.scale).transpose(1, 2)
        with learner.network.net.branches.use(kind):
            answer = learner.network.net.net(normed)
        kinds = learner.network.net.selector(normed)
        wanted += -answer.log_softmax(1).gather(1, labels[:, None]).mean() - kinds.log_softmax(1)[:, kind].mean()
    torch.testing.assert_close(learner.loss(clips, labels, streams(8)), wanted / 3)


def test_attacks_go_through_their_own_branch(streams):
    learner = BRIEF.learner(fresh())
    clips, labels = batch()
    asked = []
    forward = learner.network.net.forward

    def watched(seen):
        asked.append(learner.network.net._asked)
        return forward(seen)

    learner.network.net.forward = watched
    made = [learner.attacked(branch, clips, labels, streams(8)) for branch in (1, 2)]
    assert set(asked) == {1, 2}
    assert (made[0] - clips).abs().amax() <= 4 / 255 + 1e-6
    changed = (made[1] != clips).any(dim=1).flatten(2).float().mean(dim=2)
    assert (changed > 0.1).all() and (changed <= 0.3).all()


def test_the_gradient_reaches_the_clip_through_the_selector():
    """The branches are equal, so the selection alone makes no difference; where they differ, it does."""
    network = BRIEF.network(fresh())
    clips = batch(4)[0].requires_grad_()

    def slope(net):
        (grad,) = torch.autograd.grad(net(clips)[:, 0].sum(), clips)
        return grad

    def cut(net):
        other = copy.deepcopy(net)
        selector = other.net.selector.forward
        other.net.selector.forward = lambda seen: selector(seen).detach()
        return other

    torch.testing.assert_close(slope(network), slope(cut(network)), atol=1e-6, rtol=1e-3)
    for branch in range(3):
        for norm in network.net.branches.norms(branch):
            norm.bias.data.add_(0.5 * branch)
    assert (slope(network) - slope(cut(network))).abs().max() > 1e-3 * slope(network).abs().max()


def test_it_stands_in_the_pipeline_as_one_model(streams):
    model = fresh()
    network = BRIEF.network(model).eval().requires_grad_(False)
    armed = Armed(BRIEF, network)
    pipeline = Pipeline.build(model, [armed])
    clips = batch(4)[0]
    assert pipeline.model is network and not grey_box_differs([BRIEF])
    assert torch.equal(pipeline.scorer(clips, streams(4)), network(clips))
    torch.testing.assert_close(network(clips), model(clips), atol=1e-5, rtol=1e-4)  # untrained, all branches are the model's
    made = TA(steps=1).run(WhiteBox(pipeline.scorer, network), clips, torch.zeros(4, dtype=torch.long), streams(4))
    assert (made != clips).any(), "its feature maps are found within"


def test_its_start_does_not_depend_on_what_came_before():
    torch.rand(3)
    state = torch.random.get_rng_state()
    one, other = BRIEF.network(fresh()).state_dict(), BRIEF.network(fresh()).state_dict()
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(one[key], other[key]) for key in one) and any("selector" in key for key in one)


def plain(count, seed):
    """Dark clips and bright ones without texture, in which noise and patches show."""
    labels = torch.arange(count) % 2
    level = torch.randint(20, 80, (count,), generator=torch.Generator().manual_seed(seed)) + 120 * labels
    return level.to(torch.uint8).view(-1, 1, 1, 1, 1).expand(-1, 3, 2, 32, 32).contiguous(), labels


def test_it_learns_to_tell_the_kinds_apart_and_the_classes(streams, monkeypatch):
    learner = MultiBN(eps=16 / 255, ratio=0.3, steps=2).learner(fresh())
    kinds = {}
    for name, (clips, labels) in (("train", plain(12, 0)), ("new", plain(8, 1))):
        clean = clips.float() / 255
        kinds[name] = [clean, *(learner.attacked(kind, clean, labels, streams(len(labels))) for kind in (1, 2))]
    monkeypatch.setattr(learner, "attacked", lambda kind, *given: kinds["train"][kind])
    learner.switch(True)
    optimizer = torch.optim.AdamW(learner.learning(), lr=5e-3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(24):
            optimizer.zero_grad()
            learner.loss(kinds["train"][0], plain(12, 0)[1], streams(12)).backward()
            optimizer.step()
    learner.switch(False)
    with learner.network.net.asked("kinds"):
        right = [(learner.network(seen).argmax(dim=1) == kind).float().mean() for kind, seen in enumerate(kinds["new"])]
    assert min(right) >= 0.75
    answers = [(learner.network(seen).argmax(dim=1) == plain(8, 1)[1]).all() for seen in kinds["new"]]
    assert all(answers), "and what they show, whatever their kind"


def test_a_killed_training_goes_on_bit_for_bit(tmp_path):
    recipe = Recipe(epochs=2, batch_size=4, lr=3e-3)

    def plan(**more):
        return Plan(BRIEF.learner(fresh()), Split(*toy(8, 0)), Split(*toy(4, 1)), recipe, BRIEF.trial, **more)

    _, resumed = goes_on(plan, tmp_path / "keep.partial")
    assert len(resumed.history) == recipe.epochs


def test_a_network_without_batch_norms_is_refused():
    with pytest.raises(InputError, match="defense multi-bn: model: .*timesformer.* has no batch norms; choose one that has"):
        MultiBN().learner(tiny("timesformer"))
