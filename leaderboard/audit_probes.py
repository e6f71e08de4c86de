"""Checks of the audit that ask what a pipeline did on a few clips, and whether a model is what its card says.

The probes are decided by `checks.own_flags`; here their flags are read, and said in words, once for each pipeline.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ..benchmark.evaluation.stats import interval
from .audit_checks import points
from .audit_evidence import ROUNDING, Near, Seen, accuracy

Look = Callable[[Seen, Near], str | None]


def probed(flag: str, words: Callable[[Mapping[str, Any]], str]) -> Look:
    """A check that reads a flag of the first probe of a pipeline.

    Args:
        flag: What `own_flags` calls it.
        words: The evidence, from the probe.
    """

    def look(one: Seen, near: Near) -> str | None:
        first = next((other for other in near.attacked if "probe" in other.evidence), None)
        if one is not first:
            return None
        return words(one.evidence["probe"]) if flag in one.flags else ""

    return look


def slopes(probe: Mapping[str, Any]) -> str:
    """Changes of the margins by gradient, and as they were."""
    pairs = zip(probe["predicted"], probe["measured"], strict=True)
    return "change of the margin by gradient and as measured: " + ", ".join(f"{one} and {other}" for one, other in pairs)


probabilities = probed("probabilities", lambda probe: f"scores of {probe['n']} clips add up to 1 within {probe['sums']:.1g}")
"""C13, scores are logits, behind a defence too. Source: AutoAttack's checks."""

quantised = probed("quantised-scores", lambda probe: f"scores lie {probe['grid']:.3g} apart, in a range of {probe['range']:.3g}")
"""C13, scores are not rounded, for then a gradient is zero almost everywhere. Source: AutoAttack's checks."""

slope = probed("gradient-disagrees", slopes)
"""C12, the gradient is that of the scores: by finite differences. Source: Athalye et al. 2018; IoAF."""

undeclared = probed(
    "undeclared-randomness",
    lambda probe: f"scores differ by {probe['again']:.3g} under the same draws, by {probe['other']:.3g} under others",
)
"""C18, what the harness does not draw is not random. Source: AutoAttack's checks."""

fixed = probed("fixed-draws", lambda probe: f"scores of {probe['n']} clips are the same under other draws")
"""C18, a defence that says that it is random is: else an attacker who averages draws is fed the same one. Source: own."""

optimises = probed("optimises-at-test-time", lambda probe: f"read {probe['backward']} tensors of a backward pass to decide")
"""C23, no optimisation at test time. Source: AutoAttack's checks; RobustBench's third rule."""


def rising(one: Seen, near: Near) -> str | None:
    """C8, the loss no longer rises on clips that stay right. Source: IoAF (2106.09947). The flag `loss-still-rising`."""
    climb = one.evidence.get("climb")
    if climb is None:
        return None
    words = f"{points(climb['late'])} of the rise came with the last tenth of {climb['calls']} gradients, on {climb['n']} clips"
    return words if "loss-still-rising" in one.flags else ""


def card(one: Seen, near: Near) -> str | None:
    """C3, clean accuracy is that of the model's card, within the interval. Source: Carlini et al. 2019."""
    if "card" not in one.evidence:
        return None
    low, high = interval(one.clips["correct"], one.clips["group"])
    said = one.evidence["card"]
    words = f"{points(accuracy(one))} [{points(low)}, {points(high)}], the card says {points(said)}"
    return "" if low - ROUNDING <= said <= high + ROUNDING else words
