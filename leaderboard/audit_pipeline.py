"""Checks of the audit that ask what a pipeline was, or was not, measured with: see `audit_checks`."""

import numpy as np

from ..benchmark.core.specs import split_chain
from .audit_checks import CLIPS, POINT, TARGETS, points
from .audit_evidence import ROUNDING, SEARCH, Near, Seen, accuracy, better, unsearched


def never_disagrees(one: Seen, near: Near) -> str | None:
    """C18, a defence that averages draws is random: passes over some attacked clip disagree. Source: AutoAttack's checks.

    A seed that is fixed inside the defence shows as ten passes of one mind on every clip; so does a defence that is very sure.
    """
    if one is not near.first or one.draws < 2 or not near.attacked:
        return None
    shares = np.concatenate([other.shares for other in near.attacked])
    return "" if ((shares > 0) & (shares < 1)).any() else f"all passes over each of {len(shares)} attacked clips agree"


def adaptive_stronger(one: Seen, near: Near) -> str | None:
    """C19, the adaptive attack is not weaker than the oblivious one. Source: Tramer et al. 2020. From the flag."""
    return _stronger_than("oblivious", one, near)


def stronger_than_grey_box(one: Seen, near: Near) -> str | None:
    """C22, the attack on the whole pipeline is not weaker than that on its classifier alone. Source: Tramer et al. 2020."""
    return _stronger_than("grey-box", one, near)


def _stronger_than(threat: str, one: Seen, near: Near) -> str | None:
    rivals = [other for other in near.attacked if other.threat == threat and other.spec["attack"] == one.spec["attack"]]
    if not one.attacked or one.threat != "adaptive" or not rivals:
        return None
    words = f"{points(accuracy(one))} left, {threat} {points(accuracy(rivals[-1]))}"
    return words if f"adaptive-weaker-than-{threat}" in one.flags else ""


def draws(one: Seen, near: Near) -> str | None:
    """C20, a gradient averages as many draws as the defence does, or twice as many gain nothing. Source: Athalye et al. 2018."""
    if not one.attacked or one.threat != "adaptive" or not one.random or not one.gradients:
        return None
    same = [other for other in near.attacked if other.threat == "adaptive" and other.spec["attack"] == one.spec["attack"]]
    more = [other for other in same if other.eot >= 2 * one.eot]
    best, gained = better(one, more)
    if best and gained >= POINT - ROUNDING:
        return f"eot={best.eot} leaves {points(gained)} of the clips less"
    return (
        f"eot={one.eot}, the defence averages {one.draws}, and no run has twice as many"
        if one.draws > one.eot and not more
        else ""
    )


def no_gradient(one: Seen, near: Near) -> str | None:
    """C21, a defence without gradient meets an attack that needs none. Source: Athalye et al. 2018."""
    if one is not near.first or not any(other.opaque for other in near.pipeline):
        return None
    asked = f"no black-box attack of {SEARCH:,} queries a clip was run"
    words = f"the defence lets no gradient pass, and {asked}: the leaderboard does not list it"
    return words if unsearched(near.pipeline) else ""


def ablation(one: Seen, near: Near) -> str | None:
    """C24, each link of a chain of defences is measured alone. Source: Carlini et al. 2019."""
    links = split_chain(one.defense)
    if one is not near.first or len(links) < 2:
        return None
    missing = [link for link in links if link not in {other.defense for other in near.model if other.ok}]
    return f"not measured alone: {', '.join(missing)}" if missing else ""


def targeted(one: Seen, near: Near) -> str | None:
    """C26, one of the attacks is targeted, where there are four classes or more. Source: Carlini et al. 2019."""
    if one is not near.first or not near.attacked or near.classes < TARGETS:
        return None

    def aims(other: Seen) -> bool:
        values = other.values
        return values.get("target", "none") != "none" or values.get("loss") == "targeted-dlr" or other.attack.name == "vauto"

    return "" if any(aims(other) for other in near.attacked) else f"none of {len(near.attacked)} attacked cells"


def above_clean(one: Seen, near: Near) -> str | None:
    """C27, an attack does not help: a label that leaks, or a bug. Source: own. The flag `attacked-above-clean`."""
    if not one.attacked or near.clean is None:
        return None
    words = f"{points(accuracy(one))}, clean {points(accuracy(near.clean))}"
    return words if "attacked-above-clean" in one.flags else ""


def enough_clips(one: Seen, near: Near) -> str | None:
    """C28, enough clips for a leaderboard. Source: own; 100 clips have an interval of 8 to 10 points to either side."""
    if one is not near.first or not one.ok:
        return None
    return f"{len(one.correct)} clips" if len(one.correct) < CLIPS else ""


def corruptions(one: Seen, near: Near) -> str | None:
    """C32, random noise or corruptions stand beside the attacks. Source: Carlini et al. 2019."""
    if one is not near.first or not near.attacked:
        return None
    mild = [other for other in near.model if other.ok and other.defense == one.defense]
    found = any(other.kind == "corruption" or other.kind == "attack" and other.attack.name == "noise" for other in mild)
    return "" if found else "neither noise nor a corruption was measured"


def cost(one: Seen, near: Near) -> str | None:
    """C34, the calls that an attack took are reported. Source: own."""
    if not one.attacked:
        return None
    if one.gradients + one.queries or not max(value or 0.0 for value in one.clips["linf"]) > 0:
        return ""
    return "clips were changed, and neither a gradient nor a query was counted"


def measured(one: Seen, near: Near) -> str | None:
    """The cell did not fail."""
    return "" if one.ok else one.cell["error"] or "the cell failed"


def decoded(one: Seen, near: Near) -> str | None:
    """Every clip of the cell could be decoded. The flag `failed-clips`."""
    flagged = any(flag.startswith("failed-clips") for flag in one.flags)
    return f"{len(one.cell['failed'])} clips failed, {len(one.correct)} did not" if flagged else ""
