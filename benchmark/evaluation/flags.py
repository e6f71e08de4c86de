"""Flags: what makes a number suspect, read from a cell's evidence and from its neighbours; nothing is run.

Sources: Carlini et al. 2019, On Evaluating Adversarial Robustness; Athalye et al. 2018, Obfuscated Gradients Give a False Sense
of Security.
"""

from collections.abc import Mapping
from typing import Any

POINT = 0.01
"""A change of accuracy that counts, in the sense of the checks: one point."""

STILL_RISING = 0.05
"""Share of an attack's climb that its last tenth may bring."""

CLIMB_CALLS, CLIMB_CLIPS = 20, 2
"""A climb of fewer gradients is straight where it is sound, too, and that of a single clip is no trend."""

SUMS = 1e-5
"""How far from 1 probabilities may add up by rounding (AutoAttack's checks)."""

GRID = 1e-3
"""Step of quantised scores, as a share of their range; that of half precision is below it."""

SAME = 1e-4
"""Scores that differ by less, as a share of their range, are the same (AutoAttack's checks)."""

SLOPE = 5.0
"""Factor by which finite differences may differ from the gradient, for networks have kinks."""


def own_flags(cell: Mapping[str, Any]) -> list[str]:
    """Flags that a stored cell raises by itself."""
    evidence, flags = cell["evidence"], []
    if cell.get("failed"):
        flags.append(f"failed-clips:{len(cell['failed'])}")
    if cell.get("corruption", {}).get("broken"):
        flags.append(f"published-severities:{cell['corruption']['broken']}")
    if evidence.get("zero"):
        flags.append("zero-gradient")
    if evidence.get("nonfinite"):
        flags.append("nonfinite-gradient")
    if evidence.get("surrogate"):
        flags.append("surrogate-gradient")
    if evidence.get("outside"):
        flags.append("budget-projected")
    check = evidence.get("check", {})
    if check.get("doubled") is not None and abs(check["doubled"] - check["attack"]) >= POINT:
        flags.append("not-converged")
    if check.get("single_step") is not None and check["attack"] > check["single_step"] + POINT:
        flags.append("weaker-than-single-step")
    climb = evidence.get("climb", {})
    if climb.get("late", 0.0) > STILL_RISING and climb["calls"] >= CLIMB_CALLS and climb["n"] >= CLIMB_CLIPS:
        flags.append("loss-still-rising")
    return flags + probe_flags(evidence.get("probe", {}), cell.get("declared", {}).get("stochastic", False))


def probe_flags(probe: Mapping[str, Any], stochastic: bool) -> list[str]:
    """Flags that a probe raises.

    Args:
        probe: As `probes.probe` gave it; empty where there was none.
        stochastic: Whether the defence declares that two passes may differ.
    """
    if not probe or any(probe[name] is None for name in ("range", "sums", "again", "other")):
        return []
    span, pairs = probe["range"], list(zip(probe.get("predicted", []), probe.get("measured", []), strict=True))
    found = {
        "probabilities": probe["sums"] <= SUMS,
        "quantised-scores": probe["grid"] >= GRID * span > 0,
        "undeclared-randomness": probe["again"] > SAME * span or not stochastic and probe["other"] > SAME * span,
        "fixed-draws": stochastic and probe["other"] == 0,
        "optimises-at-test-time": probe["backward"] > 0,
        "gradient-disagrees": 2 * sum(_disagree(*pair, SAME * span) for pair in pairs) > len(pairs),
    }
    return [name for name, fired in found.items() if fired]


def _disagree(predicted: float | None, measured: float | None, least: float) -> bool:
    """Whether a gradient says something else than two passes; changes below `least` say nothing."""
    if predicted is None or measured is None:
        return False  # not finite: that has a flag of its own
    return max(predicted, abs(measured)) > least and not predicted / SLOPE <= measured <= predicted * SLOPE


def cross_flags(
    top1: float, clean: float | None, oblivious: float | None, threat: str, grey_box: float | None = None
) -> list[str]:
    """Flags from neighbours: the same model and defence without attack, and the rows of the same attack that knew less.

    Args:
        top1: Accuracy of the attacked row.
        clean: Accuracy of the same defended model on clean clips, where it was measured.
        oblivious: Accuracy of the same attack made without knowledge of the defence, where it was measured.
        threat: The row's threat.
        grey_box: Accuracy of the same attack made on the retrained classifier alone, where it was measured.
    """
    flags = []
    if clean is not None and top1 > clean + POINT:
        flags.append("attacked-above-clean")
    if threat.startswith("adaptive") and oblivious is not None and top1 > oblivious + POINT:
        flags.append("adaptive-weaker-than-oblivious")
    if threat.startswith("adaptive") and grey_box is not None and top1 > grey_box + POINT:
        flags.append("adaptive-weaker-than-grey-box")
    return flags
