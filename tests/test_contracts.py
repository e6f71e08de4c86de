"""What every registered component must keep; a new file is tested the moment it exists."""

import dataclasses

import pytest
import torch
from robustvideo.attacks.vauto import VAuto
from robustvideo.benchmark.core import registry
from robustvideo.benchmark.core.attack import Attack
from robustvideo.benchmark.core.budget import NORMS, changed_area, changed_frames, norm_of
from robustvideo.benchmark.core.losses import margin
from robustvideo.benchmark.core.params import REQUIRED
from robustvideo.benchmark.core.trained import Armed, Trained
from robustvideo.benchmark.evaluation.threat import Pipeline

ATTACKS, DEFENSES = sorted(registry.entries("attack")), sorted(registry.entries("defense"))
EVERY = [(kind, name) for kind in registry.FOLDERS for name in sorted(registry.entries(kind))]


@pytest.fixture(autouse=True)
def brief_ensembles(monkeypatch):
    """Their members have no parameters that a spec could make brief."""
    monkeypatch.setattr(VAuto, "steps", 4)
    monkeypatch.setattr(VAuto, "queries", 30)


def make(kind, name, **values):
    entry = registry.find(kind, name)
    given = {key: str(value) for key, value in values.items() if key in {field.name for field in entry.fields}}
    return registry.resolve(kind, name + (":" + ",".join(f"{k}={v}" for k, v in given.items()) if given else "")).create()


def attack_of(name, target, clips, labels, streams, **values):
    """A brief form of an attack, with its perturbation made on the same clips where one serves all."""
    attack = make("attack", name, **({"steps": 4, "queries": 30, "ratio": 0.4} | values))
    count = len(clips)
    return attack.fit(target(count), clips, labels, streams(count, 7)) if attack.universal else attack


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_the_source_says_what_the_class_is(kind, name):
    entry = registry.find(kind, name)
    component = getattr(registry._import(entry), entry.attribute)
    assert component.registered == (kind, name)
    assert str(component.version) == entry.version
    assert dataclasses.is_dataclass(component) and component.__dataclass_params__.frozen
    for declared, read in zip(dataclasses.fields(component), entry.fields, strict=True):
        assert declared.name == read.name
        assert (REQUIRED if declared.default is dataclasses.MISSING else declared.default) == read.default
        assert read.help, f"{name}:{read.name} has no help"


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_docstring_and_round_trip(kind, name):
    entry = registry.find(kind, name)
    assert entry.summary.endswith((".", ")")) or len(entry.summary) > 20
    if kind in ("attack", "defense"):
        assert "Source:" in entry.doc
    if all(field.default is not REQUIRED for field in entry.fields):
        component = registry.resolve(kind, name)
        assert str(registry.resolve(kind, str(component))) == str(component)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_say_what_they_compute(name):
    entry = registry.find("attack", name)
    assert "Formula: " in entry.doc
    attack = make("attack", name)
    assert isinstance(attack, Attack) and attack.norm in NORMS
    assert set(attack.reports) <= {"frames", "area", "thickness", "roughness", "queries"}
    assert all(count >= 0 for count in attack.calls) and sum(attack.calls) > 0 or name == "append"


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("eps", [0.0, 4 / 255, 0.5])
def test_attacks_keep_their_budget(name, eps, net, clips, labels, target, streams):
    attack = attack_of(name, lambda count: target(net, count), clips, labels, streams, eps=eps)
    made = attack.run(target(net, 5), clips, labels, streams(5))
    delta = (made - clips).double()
    assert made.shape == clips.shape and made.dtype == clips.dtype
    assert made.min() >= 0 and made.max() <= 1
    assert (norm_of(attack.norm, delta) <= attack.eps + 1e-6 * max(1.0, attack.eps)).all()
    assert (changed_area(delta) <= attack.limits.area + 1e-6).all()
    assert attack.limits.frames is None or (changed_frames(delta) <= attack.limits.frames).all()
    if not attack.eps and attack.norm != "append":
        assert torch.equal(made, clips), "no budget, no change"
    if attack.eps:
        assert (made != clips).any(), "an attack that changes nothing"


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("defended", [False, True])
@pytest.mark.parametrize("until_fooled", [False, True])
def test_attacks_are_deterministic_and_do_not_mix_clips(name, defended, until_fooled, net, clips, labels, target, streams):
    defenses = [make("defense", "shuffle")] if defended else []

    def against(count):
        return target(net, count, defenses, until_fooled=until_fooled, labels=labels[:count])

    attack = attack_of(name, against, clips, labels, streams)
    whole = attack.run(against(5), clips, labels, streams(5))
    again = attack.run(against(5), clips, labels, streams(5))
    assert torch.equal(whole, again)
    random = streams(5)
    for number in range(5):
        row = torch.tensor([number])
        alone = attack.run(against(5), clips[row], labels[row], random[row])
        torch.testing.assert_close(alone, whole[row], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_leave_their_input_alone_and_do_harm(name, net, clips, labels, target, streams):
    """With a wide budget the margin of the true class shrinks; attacks on attention aim elsewhere and need only move it."""
    before = clips.clone()
    attack = attack_of(name, lambda count: target(net, count), clips, labels, streams, eps=0.3, steps=10, queries=100)
    made = attack.run(target(net, 5), clips, labels, streams(5))
    assert torch.equal(clips, before)
    moved = margin(net(clips), labels) - margin(net(made), labels)
    assert (moved.abs() if name == "ta" else moved).mean() > 0


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in ("ta", "vauto", "vauto-rand")])
def test_a_clip_without_gradient_disturbs_nothing(name, net, clips, labels, target, streams):
    """One clip never improves: what was found of the others must not be written over the input, nor move its ball."""

    def partly_blind(x):
        seen = (x[:, :1, :1, :1, :1] != clips[:1, :1, :1, :1, :1]).float()  # the first clip's gradient is cut off
        return net(seen * x + (1 - seen) * x.detach())

    before = clips.clone()
    attack = attack_of(name, lambda count: target(net, count), clips, labels, streams, eps=0.05)
    made = attack.run(target(partly_blind, 5), clips, labels, streams(5))
    assert torch.equal(clips, before)
    assert (norm_of(attack.norm, (made - clips).double()) <= attack.eps + 1e-6).all()


@pytest.mark.parametrize("name", [name for name in ATTACKS if make("attack", name).black_box])
def test_black_box_attacks_ask_for_scores_alone_and_keep_their_cap(name, net, clips, labels, target, streams):
    counted = target(net, 5)
    attack = attack_of(name, lambda count: target(net, count), clips, labels, streams, queries=20)
    attack.run(counted, clips, labels, streams(5))
    assert counted.gradients.sum() == 0
    assert counted.queries.min() > 0 and counted.queries.max() <= attack.calls[1]


@pytest.mark.parametrize("name", DEFENSES)
def test_defenses_do_what_they_declare(name, net, clips, streams):
    defense = make("defense", name)
    if isinstance(defense, Trained):
        defense = Armed(defense, defense.network(net).eval().requires_grad_(False))
    scorer = defense.protect(lambda x, rng: net(x))
    one = scorer(clips, streams(5))
    assert one.shape == (5, 6)
    assert torch.equal(one, scorer(clips, streams(5)))
    random = streams(5)
    for number in range(5):
        row = torch.tensor([number])
        torch.testing.assert_close(scorer(clips[row], random[row]), one[row], atol=1e-5, rtol=0)
    differs = any(not torch.equal(one, scorer(clips, streams(5, seed))) for seed in range(1, 6))
    assert differs == defense.stochastic
    if defense.gradient != "none":
        leaf = clips.clone().requires_grad_()
        (grad,) = torch.autograd.grad(scorer(leaf, streams(5)).logsumexp(1).sum(), leaf)
        assert torch.isfinite(grad).all() and (grad != 0).any()
    assert Pipeline.build(net, [defense]).draws == (defense.draws if defense.stochastic else 1)
