"""More budget never helps the defender: every attack on shipped models and clips, monotone within one clip."""

from functools import cache

import pytest
import torch
from robustvideo.benchmark.core import registry
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.losses import margin
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.benchmark.data.loader import load
from robustvideo.benchmark.data.selection import balanced
from robustvideo.benchmark.data.shapes import Shapes
from robustvideo.benchmark.evaluation.crafting import keep_budget
from robustvideo.benchmark.evaluation.target import CountedTarget
from robustvideo.benchmark.evaluation.threat import Pipeline
from robustvideo.benchmark.models.build import build_model

OTHERS = ("gst", "gst-large", "i3d", "ircsn", "r2plus1d", "resnext3d", "slowfast", "tam", "timesformer", "tpn", "x3d")
MODELS = ("tsm", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS))
COUNT = 6
BRIEF = {"steps": 4, "queries": 40, "fit_clips": 6}
WIDER = (0.5, 1, 4, 16)
"""Times the attack's own budget."""


@cache
def world(name):
    data = Shapes()
    model = build_model(registry.resolve("model", name), "shapes", data.classes)
    (batch,) = [batch for batch, _ in load(balanced(data.records("test"), COUNT), model.input, COUNT) if batch]
    return model, batch.clips.float() / 255, batch.labels


def attack_at(name, factor):
    entry = registry.find("attack", name)
    values = {key: value for key, value in BRIEF.items() if key in {field.name for field in entry.fields}}
    default = registry.resolve("attack", name).create()
    if "eps" in {field.name for field in entry.fields}:
        values["eps"] = min(default.eps * factor, 1.0 if default.eps == 1 else 0.99)
    if getattr(default, "eps", 0) == 1 and "step" in {field.name for field in entry.fields}:
        values["step"] = default.step * default.steps / BRIEF["steps"]  # few steps from noise must reach as far as all of them
    return registry.resolve("attack", f"{name}:" + ",".join(f"{key}={value}" for key, value in values.items())).create()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", sorted(set(registry.entries("attack")) - {"vauto", "vauto-rand"}))
def test_more_budget_never_helps_the_defender(name, model):
    net, clips, labels = world(model)
    if (name, model) == ("ta", "timesformer"):
        with pytest.raises(InputError, match="need a convolutional network"):
            made_of(name, 1, net, clips, labels)
        return
    right = [made_of(name, factor, net, clips, labels) for factor in WIDER]
    assert all(later <= earlier + 1 for earlier, later in zip(right, right[1:], strict=False)), right


def made_of(name, factor, net, clips, labels):
    """How many clips are right after the attack at a multiple of its budget."""
    attack = attack_at(name, factor)
    streams = ClipRandom.for_clips([str(number) for number in range(COUNT)], 0, "monotone")
    if attack.universal:
        attack = attack.fit(CountedTarget(Pipeline.build(net, []), labels), clips, labels, streams)
    made = attack.run(CountedTarget(Pipeline.build(net, []), labels), clips, labels, streams)
    made, outside = keep_budget(attack, clips, made)
    assert not outside.any(), f"{name} left its own budget"
    with torch.no_grad():
        return int((margin(net(made), labels) > 0).sum())
