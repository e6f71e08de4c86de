"""Orders of accuracies that should not be, where chance does not explain them.

The audit names most of them where they are larger than a point or two, for whoever made the numbers to look into. Here they are
tested on the clips that both cells have: the sign test of source videos, which is McNemar's exact test where each clip is a video
of its own and every pass agrees (McNemar 1947). All tests of a submission are adjusted together (Holm 1979).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .audit_checks import points
from .audit_evidence import Near, Seen, accuracy
from .gate.paired import mcnemar
from .submission_schema import Problem

ALPHA = 0.05
"""Chance of any false alarm in a submission."""

CORRUPTED = ("dataset", "split", "limit", "manifest_sha256", "seed", "model", "weights_sha256", "defense", "corruption", "dtype")
"""What corrupted cells share but for the severity, with `defense_sha256` and versions."""


class Pair(NamedTuple):
    """Two cells of which one should not be better.

    Attributes:
        rule: Which order this is.
        harder: The cell that should be no better.
        easier: The other one.
        words: What they are.
    """

    rule: str
    harder: Seen
    easier: Seen
    words: str


def alarms(placed: Sequence[tuple[Seen, Near]], cells: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """An alarm for each pair of cells in the wrong order.

    The orders: robust accuracy is not above clean accuracy; of one attack with full knowledge, a larger eps or more steps are not
    weaker; an adaptive attack is not weaker than the same one made without knowledge of the defence; severity 5 of a corruption
    is not milder than severity 1.

    Args:
        placed: Cells that are no corruptions, with what is around them.
        cells: All cells.
    """
    pairs = [pair for one, near in placed for pair in _pairs(one, near)] + list(_severities(cells))
    p = [better(pair.harder, pair.easier) for pair in pairs]
    made = []
    for pair, adjusted in zip(pairs, holm(p), strict=True):
        if adjusted < ALPHA:
            numbers = f"{points(accuracy(pair.harder))} against {points(accuracy(pair.easier))}, p = {adjusted:.2g}"
            words = f"{pair.words}, and leaves more: {numbers} (cell {pair.easier.cell['cell']})"
            made.append(Problem("alarm", pair.rule, pair.harder.cell["cell"], words))
    return made


def better(one: Seen, other: Seen) -> float:
    """Exact one-sided p of `one` being right on more source videos than `other`, of those in which they differ."""
    groups = dict(zip(one.clips["id"], one.clips["group"], strict=True))
    sums: dict[str, float] = {}
    for name, share in one.correct.items():
        if name in other.correct:
            sums[groups[name]] = sums.get(groups[name], 0.0) + share - other.correct[name]
    gained, lost = (sum(sign * total > 1e-9 for total in sums.values()) for sign in (1, -1))
    return float(mcnemar(np.array(gained), np.array(lost)))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p, in the order given."""
    order = sorted(range(len(p)), key=lambda number: p[number])
    made, least = [0.0] * len(p), 0.0
    for place, number in enumerate(order):
        least = max(least, min(1.0, (len(p) - place) * p[number]))
        made[number] = least
    return made


def _pairs(one: Seen, near: Near) -> Iterator[Pair]:
    if not one.attacked:
        return
    if near.clean is not None:
        yield Pair("above-clean", one, near.clean, "is attacked")
    if one.full_knowledge:
        yield from (
            Pair("larger-eps-weaker", one, other, "has a larger eps")
            for other in near.siblings(one, "eps")
            if other.eps < one.eps
        )
        steps = _steps(one)
        fewer = [other for other in near.siblings(one, "steps") if _steps(other) < steps]
        yield from (Pair("more-steps-weaker", one, other, "has more steps") for other in fewer)
    if one.threat == "adaptive":
        rivals = [other for other in near.attacked if other.threat == "oblivious" and other.spec["attack"] == one.spec["attack"]]
        yield from (Pair("adaptive-weaker", one, other, "knows the defence") for other in rivals)


def _steps(one: Seen) -> float:
    text = one.values.get("steps", "")
    return float(text) if text.isdecimal() else float("nan")


def _severities(cells: Sequence[Mapping[str, Any]]) -> Iterator[Pair]:
    ends: dict[str, dict[int, Seen]] = {}
    for cell in cells:
        spec = cell["spec"]
        if spec["kind"] == "corruption" and cell["status"] == "ok":
            place = [*(spec[name] for name in CORRUPTED), spec.get("defense_sha256"), sorted(spec["versions"].items())]
            ends.setdefault(str(place), {})[spec["severity"]] = Seen(cell, "")
    for found in ends.values():
        if 1 in found and 5 in found:
            yield Pair("severity-milder", found[5], found[1], "is severity 5, the other one severity 1")
