"""Temporal adversarial fine-tuning: declared layers, the loss of Eq. 7, two paths, one plain network in the end."""

import pytest
import torch
from robustvideo.benchmark.core import registry
from robustvideo.benchmark.core.branches import Branches
from robustvideo.benchmark.core.cam import activation_maps, asked_classes, last_maps, over_largest
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import InputSpec, Model
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.benchmark.core.whitebox import WhiteBox
from robustvideo.benchmark.models.build import build_model, state_sha256
from robustvideo.benchmark.training.clips import Split
from robustvideo.benchmark.training.entries import Recipe
from robustvideo.benchmark.training.loop import Plan
from robustvideo.defenses.taf import TAF
from test_training import fresh, goes_on, toy
from torch import nn

CNNS = ("gst", "gst-large", "i3d", "ircsn", "r2plus1d", "resnext3d", "slowfast", "tam", "tpn", "tsm", "x3d")


def tiny(name, **values):
    given = ",".join(f"{key}={value}" for key, value in values.items())
    return build_model(registry.resolve("model", f"{name}:weights=random,{given}".rstrip(",")), "none", "abcde")


def maps_of(model, clips):
    with last_maps(model, len(clips)) as maps:
        model(clips.clone().requires_grad_())
        return maps().detach()


@pytest.mark.parametrize("name", CNNS)
def test_the_declared_layer_is_the_one_that_is_found(name):
    model = tiny(name)
    clips = torch.rand(2, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))
    declared, sha256 = maps_of(model, clips), state_sha256(model)
    assert isinstance(model.net.get_submodule(model.cam), nn.Module) and model.cam
    model.cam = ""
    assert torch.equal(declared, maps_of(model, clips))
    assert state_sha256(model) == sha256, "a declaration is no part of the weights' identity"


def test_every_family_declares_its_layer_but_the_transformer():
    sized = [entry for entry in registry.entries("model").values() if any(field.name == "preset" for field in entry.fields)]
    families = {entry.name: entry.load().family for entry in sized}
    assert {name for name, family in families.items() if family.cam} == set(CNNS)
    assert set(families) == {*CNNS, "timesformer"}


def test_a_declaration_is_taken_at_its_word():
    model = tiny("tsm")
    clips = torch.rand(2, 3, 8, 64, 64)
    model.cam = "layer1.0"
    assert maps_of(model, clips).shape == (2, 8, 32, 16, 16)
    model.cam = "layer9"
    with pytest.raises(InputError, match="model: cam: the network has no submodule 'layer9'; name the one"):
        maps_of(model, clips)


class TwoLayers(nn.Module):
    """Maps F = w x of one channel, scores v_k times the mean of F."""

    def __init__(self, v):
        super().__init__()
        self.conv, self.v = nn.Conv3d(3, 1, 1, bias=False), nn.Parameter(torch.tensor(v))
        nn.init.constant_(self.conv.weight, 1 / 3)

    def forward(self, clips):
        return self.conv(clips).mean(dim=(1, 2, 3, 4))[:, None] * self.v


def test_activation_maps_with_a_gradient_known_by_hand():
    """Grey clips: F = x, so dCE/dF = ((p - onehot) . v) / (t h w) at every position."""
    spec = InputSpec(frames=2, size=2, short_side=2, mean=(0.0,) * 3, std=(1.0,) * 3)
    model = Model(TwoLayers([1.0, -1.0, 2.0]), spec, 3).eval()
    model.cam = "conv"
    grey = torch.tensor([[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.7, 0.8]]])
    clips = grey.expand(1, 3, 2, 2, 2).clone().requires_grad_()
    with last_maps(model, 1) as maps:
        logits = model(clips)
        found = activation_maps(nn.functional.cross_entropy(logits, torch.tensor([1]), reduction="none"), maps())
    odds = torch.tensor([0.45, -0.45, 0.9]).exp()  # the mean of F is 0.45
    slope = ((odds / odds.sum()) * torch.tensor([1.0, -1.0, 2.0])).sum() + 1
    torch.testing.assert_close(found[0].detach(), slope / 8 * grey)
    torch.testing.assert_close(over_largest(found)[0].detach(), (grey - 0.1) / 0.8)


def test_the_loss_is_equation_7_by_hand(streams, monkeypatch):
    """A network without norms that answers (x, 0) for grey clips of value x; the augmented clip is given."""

    class Value(nn.Module):
        def forward(self, clips):
            value = clips.mean(dim=(1, 2, 3, 4))
            return torch.stack((value, 0 * value), dim=1)

    model = Model(Value(), InputSpec(frames=1, size=1, short_side=1, mean=(0.0,) * 3, std=(1.0,) * 3), 2)
    learner = TAF(alpha=0.7).learner(model)
    monkeypatch.setattr(learner, "augmented", lambda clips, labels, rng: torch.full((1, 3, 1, 1, 1), 1.0))
    loss = learner.loss(torch.full((1, 3, 1, 1, 1), 0.0), torch.tensor([0]), streams(1))
    # CE of (0, 0) is ln 2 = 0.693147, of (1, 0) ln(1 + 1/e) = 0.313262.
    assert float(loss) == pytest.approx(0.7 * 0.693147 + 0.3 * 0.313262, abs=1e-5)


def learning(model=None, **values):
    learner = TAF(**values).learner(model or fresh())
    learner.switch(True)
    return learner


def batch(count=8):
    clips, labels = toy(count, 0)
    return clips.float() / 255, labels


def test_the_augmentation_is_the_published_one(streams):
    learner = learning()
    clips, labels = batch()
    inner = 0.3 + 0.4 * clips
    before = inner.clone()
    made = learner.augmented(inner, labels, streams(8))
    assert torch.equal(inner, before) and not made.requires_grad
    sizes = (made - inner).abs()
    torch.testing.assert_close(sizes[sizes > 0], torch.full_like(sizes[sizes > 0], 32 / 255), atol=1e-6, rtol=0)
    assert (sizes > 0).float().mean() > 0.9
    attack = registry.resolve("attack", "ta:eps=64/255,step=32/255,steps=1").create()
    learner.switch(False)
    target = WhiteBox(learner.score, learner.network)
    assert torch.equal(made, attack.run(target, inner, labels, streams(8))), "the same numbers as attack ta's"


def test_the_label_rule():
    logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]]).repeat(40, 1)
    labels = torch.tensor([0, 1]).repeat(40)
    drawn = asked_classes(logits, labels, ClipRandom.for_clips([str(row) for row in range(80)], 0, "test"))
    assert set(drawn[0::2].tolist()) == {1, 2}, "right: a random wrong class"
    assert set(drawn[1::2].tolist()) == {1}, "wrong: the true class"


def means(norms):
    return torch.cat([norm.running_mean for norm in norms]).clone()


def test_augmented_clips_move_the_statistics_of_their_own_path_alone(streams, monkeypatch):
    clips, labels = batch()
    learner, plain = learning(), fresh().train()
    start = means(learner.branches.norms(0))
    assert torch.equal(start, means(learner.branches.norms(1))) and len(learner.branches) == 13
    torch.manual_seed(0)
    learner.loss(clips, labels, streams(8)).backward()
    torch.manual_seed(0)
    plain(clips)
    clean, other = means(learner.branches.norms(0)), means(learner.branches.norms(1))
    assert torch.equal(clean, means([norm for norm in plain.modules() if isinstance(norm, nn.BatchNorm2d)]))
    assert not torch.equal(clean, other) and not torch.equal(start, other)
    assert all(norm.weight.grad is not None for path in (0, 1) for norm in learner.branches.norms(path))


def test_what_is_deployed_is_the_plain_network(streams):
    defense, model = TAF(), fresh()
    learner = learning(model)
    clips, labels = batch()
    before = model.net.state_dict()
    untouched = {key: value.clone() for key, value in before.items()}
    optimizer = torch.optim.SGD(learner.learning(), lr=0.1)
    learner.loss(clips, labels, streams(8)).backward()
    optimizer.step()
    learner.switch(False)
    state = defense.saved(learner.network).state_dict()
    assert list(state) == list(before) and all(torch.equal(value, untouched[key]) for key, value in before.items())
    other = fresh()
    other.net.load_state_dict(state)
    assert torch.equal(other(clips), learner.score(clips, streams(8)))
    assert not torch.equal(other(clips), model(clips))
    assert defense.inside(learner.network) is learner.network


@pytest.mark.parametrize("name", CNNS)
def test_a_step_on_every_network(name, streams):
    model = tiny(name, size=32)
    learner = learning(model)
    clips = torch.rand(2, 3, 8, 32, 32, generator=torch.Generator().manual_seed(1))
    loss = learner.loss(clips, torch.tensor([0, 1]), streams(2))
    loss.backward()
    assert torch.isfinite(loss) and len(learner.branches) == sum(
        1 for part in model.modules() if isinstance(part, (nn.BatchNorm2d, nn.BatchNorm3d))
    )
    silent = [key for key, value in learner.named_parameters() if value.grad is None]
    assert not silent


def test_a_transformer_is_refused(streams):
    learner = learning(tiny("timesformer"))
    with pytest.raises(InputError, match="it has no convolutional feature maps over space and time; class activation maps need"):
        learner.loss(torch.rand(2, 3, 8, 64, 64), torch.tensor([0, 1]), streams(2))


def test_more_time_steps_than_the_maps_have(streams):
    clips, labels = batch()
    with pytest.raises(InputError, match="defense taf: frames: 9 is more than the 2 time steps of the model's last feature maps"):
        learning(frames=9).loss(clips, labels, streams(8))


QUICK = Recipe(epochs=3, batch_size=12, lr=3e-3)


def test_it_learns_and_a_killed_training_goes_on_bit_for_bit(tmp_path):
    def plan(**more):
        return Plan(TAF().learner(fresh()), Split(*toy(24, 0)), Split(*toy(8, 1)), QUICK, TAF().trial, **more)

    whole, _ = goes_on(plan, tmp_path / "keep.partial", after=2)
    assert whole.history[-1].accuracy == 1.0 and whole.history[-1].robust == 1.0
    assert whole.history[-1].loss < 0.7 * whole.history[0].loss
    assert any(key.startswith("branches.further.0.") for key in whole.learner.state_dict()), "the adversarial path goes on too"


def test_a_branch_comes_off_again_after_an_error():
    model = fresh()
    branches, own = Branches(model, 2), model.net.bn1
    with pytest.raises(ZeroDivisionError), branches.use(1):
        assert model.net.bn1 is not own
        raise ZeroDivisionError
    assert model.net.bn1 is own
