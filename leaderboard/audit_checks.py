"""The checks of the audit that can be computed from a store: each reads a cell and what is around it, and says what it found.

A check gives None where it has nothing to look at, an empty text where all is well, and otherwise the evidence in words. Those
that `cells_table` or the leaderboard decides already are read from their flags here, and never decided a second time.
"""

from .audit_evidence import ROUNDING, Near, Seen, accuracy, better, gain

POINT = 0.01
"""One point of accuracy."""

TWO_POINTS = 0.02
"""What restarts, step sizes and losses may make of difference."""

SLACK, RELATIVE = 1e-6, 1e-5
"""Rounding of float32 clips in [0, 1], and of a norm over a whole clip, as a share of it."""

HUGE = 0.5
"""An L-inf budget that lets every clip become grey."""

BRITTLE = 0.5
"""Share of what the gradient attack takes that noise of the same budget takes from a brittle model."""

SURE = 0.9
"""A margin between this and 1, and none beyond, is what scores that are probabilities leave."""

CLIPS = 500
"""Clips of a leaderboard's number."""

TARGETS = 4
"""Classes from which on a targeted attack is asked for."""

UNDECLARED = (None, "", "none")


def points(share: float) -> str:
    """A share as people read it."""
    return f"{100 * share:.1f} %"


def declared(one: Seen, near: Near) -> str | None:
    """C1, threat model declared: norm, budget, threat, input and strength. Source: Carlini et al. 2019."""
    if one.kind != "attack":
        return None
    missing = [name for name in ("norm", "eps", "threat", "input", "strength") if one.spec.get(name) in UNDECLARED]
    return f"the cell does not say its {', '.join(missing)}" if missing else ""


def within_budget(one: Seen, near: Near) -> str | None:
    """C2, the measured change is within the budget; an L1 or L2,1 norm is at least the L2 norm. Source: own."""
    norm, eps = one.budget[0], one.eps
    if not one.attacked or norm not in ("linf", "l2", "l1", "l21"):
        return None
    name = "linf" if norm == "linf" else "l2"
    largest = float("inf") if None in one.clips[name] else max(one.clips[name])
    return f"largest {name} change {largest:.6g}, budget {eps:.6g} ({norm})" if largest > eps + SLACK + RELATIVE * eps else ""


def projected(one: Seen, near: Near) -> str | None:
    """C2, the attack itself keeps its budget. Source: own. The flag `budget-projected`."""
    if not one.attacked:
        return None
    return f"{one.evidence['outside']} of {len(one.correct)} clips were outside" if "budget-projected" in one.flags else ""


def surrogate(one: Seen, near: Near) -> str | None:
    """C21, gradients pass a stand-in (BPDA). Source: Athalye et al. 2018, section 4.1. The flag `surrogate-gradient`."""
    if not one.attacked:
        return None
    return "the defence has no gradient of its own" if "surrogate-gradient" in one.flags else ""


def single_step(one: Seen, near: Near) -> str | None:
    """C5, an iterative attack is not weaker than its single step. Source: Carlini et al. 2019. From the flag."""
    check = one.evidence.get("check", {})
    if check.get("single_step") is None:
        return None
    words = f"{points(check['attack'])} left, after one step {points(check['single_step'])}, on {check['n']} clips"
    return words if "weaker-than-single-step" in one.flags else ""


def fgsm(one: Seen, near: Near) -> str | None:
    """C5, an iterative attack is not weaker than FGSM with the same budget. Source: Carlini et al. 2019."""
    rivals = [other for other in near.attacked if other.attack.name == "fgsm" and _alike(one, other)]
    if not one.strong or not rivals:
        return None
    _, gained = better(one, rivals)
    return f"fgsm leaves {points(gained)} of the clips less" if gained > POINT + ROUNDING else ""


def budget_helps(one: Seen, near: Near) -> str | None:
    """C6, accuracy does not rise with the budget: the best run at each eps counts. Source: Carlini et al. 2019."""
    if not one.full_knowledge:
        return None
    sweep = near.siblings(one, "eps", "step")
    smaller = [other for other in sweep if other.eps < one.eps]
    if not smaller:
        return None
    same = [other for other in sweep if other.eps == one.eps]
    best, gained = better(one, smaller)
    if any(accuracy(other) < accuracy(one) for other in same) or not best or gained <= POINT + ROUNDING:
        return ""
    return f"{points(accuracy(one))} left at eps {one.eps:.4g}, {points(accuracy(best))} at {best.eps:.4g}"


def huge_budget(one: Seen, near: Near) -> str | None:
    """C7, an L-inf budget of a half leaves no more than chance. Source: Carlini et al. 2019; IoAF (2106.09947).

    Chance is one over the classes that labels or predictions name: at most too high.
    """
    if not one.strong or one.budget[0] != "linf" or not one.eps >= HUGE:
        return None
    chance, left = 1 / near.classes, accuracy(one)
    return f"{points(left)} left, chance is {points(chance)}" if left > chance + TWO_POINTS + ROUNDING else ""


def doubled(one: Seen, near: Near) -> str | None:
    """C8, twice the steps change nothing on a sample. Source: Carlini et al. 2019. The flag `not-converged`."""
    check = one.evidence.get("check", {})
    if check.get("doubled") is None:
        return None
    words = f"{points(check['attack'])} left, with twice the steps {points(check['doubled'])}, on {check['n']} clips"
    return words if "not-converged" in one.flags else ""


def more_steps(one: Seen, near: Near) -> str | None:
    """C8, another run with at least twice the steps does not leave less. Source: Carlini et al. 2019; IoAF."""
    longer = [other for other in near.siblings(one, "steps") if _number(other, "steps") >= 2 * _number(one, "steps")]
    return _gained(one, longer, POINT, "steps")


def restarts(one: Seen, near: Near) -> str | None:
    """C9, more restarts matter little. Source: Carlini et al. 2019."""
    more = [other for other in near.siblings(one, "restarts") if _number(other, "restarts") > _number(one, "restarts")]
    return _gained(one, more, TWO_POINTS, "restarts")


def step_size(one: Seen, near: Near) -> str | None:
    """C10, no other step size is much better than the one that the step rule gives. Source: Kinfu and Vidal 2022."""
    return _sweep(one, near, "step", "none")


def silent_success(one: Seen, near: Near) -> str | None:
    """C11, what the attack saw fooled is fooled when judged afresh; undefended models only. Source: IoAF (2106.09947)."""
    if one.threat != "white-box" or not one.attacked or one.defense != "none" or "solved" not in one.clips:
        return None
    pairs = list(zip(one.clips["solved"], one.clips["correct"], strict=True))
    lost = sum(solved >= 0 and correct > 0 for solved, correct in pairs)
    return f"{lost} of {len(pairs)} clips were fooled on the way and are not at the end" if lost > POINT * len(pairs) else ""


def zero_gradient(one: Seen, near: Near) -> str | None:
    """C12, no gradient is zero everywhere. Source: AutoAttack's checks; IoAF. The flag `zero-gradient`."""
    if not one.attacked or not one.gradients:
        return None
    words = f"{one.evidence.get('zero', 0)} of {len(one.correct)} clips met a gradient of zero while they were right"
    return words if "zero-gradient" in one.flags else ""


def nonfinite_gradient(one: Seen, near: Near) -> str | None:
    """C12, every gradient is finite. Source: AutoAttack's checks; IoAF. The flag `nonfinite-gradient`."""
    if not one.attacked or not one.gradients:
        return None
    words = f"{one.evidence.get('nonfinite', 0)} of {len(one.correct)} clips met a gradient with a NaN or an infinity"
    return words if "nonfinite-gradient" in one.flags else ""


def logits(one: Seen, near: Near) -> str | None:
    """C13, scores are logits: no margin beyond 1, and one that nearly is, betray probabilities. Source: AutoAttack's checks.

    Undefended models only, for a defence that averages draws answers in logarithms. Unsure probabilities stay unseen.
    """
    if one is not near.first or one.defense != "none":
        return None
    margins = [abs(value) for other in near.pipeline if other.ok for value in other.clips["margin"] if value is not None]
    top = max(margins, default=0.0)
    return f"the largest of {len(margins)} margins is {top:.5f}, and none exceeds 1" if SURE <= top <= 1 + RELATIVE else ""


def loss_ablation(one: Seen, near: Near) -> str | None:
    """C14, no other loss is much better than cross-entropy. Source: AutoAttack's checks; Carlini et al. 2019."""
    return _sweep(one, near, "loss", "ce")


def black_box(one: Seen, near: Near) -> str | None:
    """C15, a search without gradients does not beat the best gradient attack. Source: Carlini et al. 2019; AutoAttack."""
    return _beats_reference(one, near) if one.black_box else None


def noise(one: Seen, near: Near) -> str | None:
    """C16, noise takes far less than the gradient attack, up to an L-inf budget of a half. Source: Carlini et al. 2019."""
    rival = near.reference(one) if one.attacked and one.attack.name == "noise" and one.full_knowledge else None
    if rival is None or near.clean is None or one.budget[0] == "linf" and one.eps >= HUGE:
        return None
    by_noise, by_attack = gain(near.clean, one), gain(near.clean, rival)
    words = f"{one.values.get('queries', '?')} draws of noise take {points(by_noise)}, {rival.attack.name} {points(by_attack)}"
    return words if by_noise > POINT + ROUNDING and by_noise >= BRITTLE * by_attack else ""


def transfer(one: Seen, near: Near) -> str | None:
    """C17, clips made on another model do not beat the best gradient attack on this one. Source: Carlini et al. 2019."""
    return _beats_reference(one, near) if one.attacked and one.threat == "transfer" else None


def _beats_reference(one: Seen, near: Near) -> str | None:
    rival = near.reference(one)
    if rival is None:
        return None
    only = [name for name, share in one.correct.items() if share < 0.5 < rival.correct.get(name, 0.0)]
    words = f"{points(accuracy(one))} left, {points(accuracy(rival))} by {rival.attack.name}; it alone fools {len(only)} clips"
    listed = f": {', '.join(only[:3])}{', ...' if len(only) > 3 else ''}" if only else ""
    return words + listed if gain(rival, one) > POINT + ROUNDING else ""


def _alike(one: Seen, other: Seen) -> bool:
    return other.full_knowledge and other.budget == one.budget and other.spec["threat"] == one.spec["threat"]


def _number(one: Seen, name: str) -> float:
    text = one.values.get(name, "")
    return float(text) if text.isdecimal() else float("nan")


def _sweep(one: Seen, near: Near, name: str, preset: str) -> str | None:
    """Whether another value is better than the preset; where the preset was not run, than any."""
    others = near.siblings(one, name)
    by_preset = any(other.values.get(name) == preset for other in others)
    return None if by_preset else _gained(one, others, TWO_POINTS, name)


def _gained(one: Seen, others: list[Seen], by: float, name: str) -> str | None:
    if not one.full_knowledge or not others:
        return None
    best, gained = better(one, others)
    assert best is not None
    return f"{name}={best.values[name]} leaves {points(gained)} of the clips less" if gained >= by - ROUNDING else ""
