"""What each attack costs beside the passes it asks for: `python tests/speed/attacks.py [runs] [full] [name ...]`.

The bare loop makes as many passes forward and backward to the input, and forward alone, of the same module on the same batch as
the attack had gradient calls and queries; both run on the whole batch to full strength. Then `vauto` is run beside its members
one by one, each on every clip, where a clip leaves a member's run as soon as that member fools it.

A pass of the tiny TSM takes 3 ms a clip, so that a few passes over memory show; `full` takes two clips and a ResNet-50 TSM of 224
pixels instead, as people use it.
"""

import sys

import torch
from pgd import full, tiny
from robustvideo.attacks.vauto import VAuto
from robustvideo.benchmark.core import registry
from robustvideo.benchmark.core.attack import Attack
from robustvideo.benchmark.core.interfaces import Model
from robustvideo.benchmark.core.losses import cross_entropy
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.benchmark.evaluation.target import CountedTarget
from robustvideo.benchmark.evaluation.threat import Pipeline
from timing import medians
from torch import Tensor

BRIEF = {"steps": "20", "queries": "100", "fit_clips": "16"}
"""So that a run takes seconds. APGD keeps its length: in a short run it stops at every step to adapt, which it seldom does."""


def bare(model: Model, clips: Tensor, labels: Tensor, gradients: int, queries: int) -> None:
    """The passes, and nothing else."""
    for _ in range(gradients):
        leaf = clips.detach().requires_grad_()
        torch.autograd.grad(cross_entropy(model(leaf), labels).sum(), leaf)
    with torch.no_grad():
        for _ in range(queries):
            model(clips)


def run(model: Model, clips: Tensor, labels: Tensor, attack: Attack, until_fooled: bool = False) -> CountedTarget:
    """The attack as the harness runs it, and what it asked for."""
    target = CountedTarget(Pipeline.build(model, []), labels, until_fooled=until_fooled)
    attack.run(target, clips, labels, streams(len(clips)))
    return target


def streams(count: int) -> ClipRandom:
    """One stream per clip."""
    return ClipRandom.for_clips([str(number) for number in range(count)], 0, "speed")


def brief(name: str, large: bool) -> Attack:
    """A registered attack with few steps and queries."""
    known = {field.name for field in registry.find("attack", name).fields}
    values = ",".join(f"{key}={value}" for key, value in BRIEF.items() if key in known and (large or name != "apgd"))
    return registry.resolve("attack", f"{name}:{values}" if values else name).create()


def per_call(names: list[str], runs: int, large: bool) -> None:
    """A line per attack: its time over that of the passes it asked for."""
    model, clips, labels = full() if large else tiny(16)
    which = "a ResNet-50 TSM" if large else "the tiny TSM"
    print(f"{which}, {len(clips)} clips, medians of {runs} runs; should be <= 1.15")
    for name in names:
        attack = brief(name, large)
        if attack.universal:
            attack = attack.fit(CountedTarget(Pipeline.build(model, []), labels), clips, labels, streams(len(clips)))
        asked = run(model, clips, labels, attack)
        gradients, queries = (round(int(count.sum()) / len(clips)) for count in (asked.gradients, asked.queries))
        if not gradients + queries:
            print(f"  {name:14} asks for nothing once it is made", flush=True)
            continue

        def ours(attack: Attack = attack) -> object:
            return run(model, clips, labels, attack)

        def passes(gradients: int = gradients, queries: int = queries) -> object:
            return bare(model, clips, labels, gradients, queries)

        found = medians({"bare": passes, "attack": ours}, runs)
        ratio = found["attack"] / found["bare"]
        print(f"  {name:14} {ratio:5.2f}x   {gradients} gradient calls, {queries} queries, {found['attack']:.2f} s", flush=True)


def ensemble(runs: int) -> None:
    """`vauto` against its members without sharing survivors."""
    model, clips, labels = tiny(8)
    vauto = VAuto()
    members = [member for member in vauto.members(model.classes) if member]
    jobs = {
        "vauto": lambda: run(model, clips, labels, vauto, until_fooled=True),
        "members, fooled clips leave": lambda: [run(model, clips, labels, one, until_fooled=True) for one in members],
    }
    found = medians(jobs, runs)
    print(f"vauto on the undefended tiny TSM, {len(clips)} clips; should be <= 0.50 of its members")
    for name, seconds in found.items():
        print(f"  {name:28} {seconds:7.1f} s  {seconds / found['members, fooled clips leave']:5.2f}x", flush=True)


def main() -> None:
    """Prints both tables."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    torch.set_num_threads(2)
    every = sorted(set(registry.entries("attack")) - {"vauto", "vauto-rand"})
    names = [name for name in sys.argv[2:] if name != "full"]
    per_call(names or every, runs, "full" in sys.argv[2:])
    if not sys.argv[2:]:
        ensemble(1)


if __name__ == "__main__":
    main()
