"""What every registered component must keep; a new file is tested the moment it exists."""

import dataclasses

import pytest
import torch
from robustvideo.benchmark.core import registry
from robustvideo.benchmark.core.budget import l2_norm, linf_norm
from robustvideo.benchmark.core.params import REQUIRED
from robustvideo.benchmark.evaluation.threat import Pipeline

ATTACKS, DEFENSES = sorted(registry.entries("attack")), sorted(registry.entries("defense"))
EVERY = [(kind, name) for kind in registry.FOLDERS for name in sorted(registry.entries(kind))]


def make(kind, name, **values):
    entry = registry.find(kind, name)
    given = {key: str(value) for key, value in values.items() if key in {field.name for field in entry.fields}}
    return registry.resolve(kind, name + (":" + ",".join(f"{k}={v}" for k, v in given.items()) if given else "")).create()


def norm_of(attack, delta):
    return (linf_norm if attack.norm == "linf" else l2_norm)(delta)


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
@pytest.mark.parametrize("eps", [0.0, 4 / 255])
def test_attacks_keep_their_budget(name, eps, net, clips, labels, target, streams):
    attack = make("attack", name, eps=eps, steps=4)
    made = attack.run(target(net, 5), clips, labels, streams(5))
    assert made.shape == clips.shape and made.dtype == clips.dtype
    assert (norm_of(attack, made - clips) <= eps * (1 + 1e-5) + 1e-7).all()
    assert made.min() >= 0 and made.max() <= 1
    if eps:
        assert (made != clips).any(), "an attack that changes nothing"


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("defended", [False, True])
def test_attacks_are_deterministic_and_do_not_mix_clips(name, defended, net, clips, labels, target, streams):
    attack, defenses = make("attack", name, steps=4), [make("defense", "shuffle")] if defended else []
    whole = attack.run(target(net, 5, defenses), clips, labels, streams(5))
    again = attack.run(target(net, 5, defenses), clips, labels, streams(5))
    assert torch.equal(whole, again)
    random = streams(5)
    for number in range(5):
        row = torch.tensor([number])
        alone = attack.run(target(net, 5, defenses), clips[row], labels[row], random[row])
        torch.testing.assert_close(alone, whole[row], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_leave_their_input_alone_and_raise_the_loss(name, net, clips, labels, target, streams):
    before = clips.clone()
    made = make("attack", name, eps=0.1, steps=10).run(target(net, 5), clips, labels, streams(5))
    assert torch.equal(clips, before)
    loss = torch.nn.functional.cross_entropy
    assert loss(net(made), labels) > loss(net(clips), labels)


@pytest.mark.parametrize("name", DEFENSES)
def test_defenses_do_what_they_declare(name, net, clips, streams):
    defense = make("defense", name)
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
