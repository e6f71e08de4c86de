"""Judges the cells of a store against a baseline, paired on the same clips.

The models are tested on their per-clip worst case, then every cell of the grid; both at once, so that the chance of any false
alarm in a run is 5 % (see `paired`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..results import Results
from .baseline import Baseline, Clips, Measured
from .identity import changed, identity, names, nickname, one_checkpoint, short, short_threat, work
from .judged import VERDICTS, Exit, Judged, Report, Verdict
from .paired import ALPHA, Block, Maxima, flip, interval, mcnemar
from .policy import Policy

SLACK = 1e-9  # a drop of exactly what is allowed is allowed, whatever the rounding of means


@dataclass(frozen=True)
class Pair:
    """Two measurements of the same clips.

    Attributes:
        judged: What is known without a test.
        ids: Of the clips.
        groups: Their source videos.
        before: Share of right passes in the baseline, (clips,).
        after: In the store.
    """

    judged: Judged
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    before: NDArray[np.floating]
    after: NDArray[np.floating]


def judge(results: Results, baseline: Baseline, policy: Policy, draws: int = 2000, seed: int = 0) -> Report:
    """The verdict on every cell of the baseline, and on every model's per-clip worst case.

    A cell of the store is the one of the baseline if all but its weights and conditions is the same; where it was measured
    several times, the one under the conditions of the baseline counts, and of these a successful one and the newest. A model's
    worst case goes over the attacks of all threats that could be compared, advisory and acknowledged ones left out: they must
    fail nothing.

    Args:
        results: The store's cells.
        baseline: What they are compared with.
        policy: What is forbidden.
        draws: Most sign flips of the test.
        seed: Of the random ones.

    Raises:
        InputError: The policy names cells that the baseline has not, the store holds two checkpoints of one model, or broken
            clip lists.
    """
    policy.require([cell.name for cell in baseline.cells])
    found, used = _match(results, baseline)
    clips = Clips()
    settled: list[Judged] = []
    pairs: list[tuple[Measured, Pair]] = []
    for cell in baseline.cells:
        one = _paired(cell, found.get(cell.hash), policy, clips)
        if isinstance(one, Judged):
            settled.append(one)
        else:
            pairs.append((cell, one))
    worst, lacking = _models(baseline, pairs, policy)
    models, cells, flips = _tested([worst, [pair for _, pair in pairs]], draws, seed)
    cells, models = _ordered([*cells, *settled]), _ordered([*models, *lacking])
    left = [cell["spec"] for cell in results.cells if cell["cell"] not in used]
    return Report(
        cells=cells,
        models=models,
        baseline=baseline.name,
        stores=tuple(str(folder) for folder in results.folders),
        policy=policy.name,
        draws=flips,
        seed=seed,
        new=tuple(sorted(names(left))),
        exit=_exit([*cells, *models]),
    )


def _match(results: Results, baseline: Baseline) -> tuple[dict[str, Mapping[str, Any]], set[str]]:
    """By hash of the baseline's cells, those of the store; and the hashes of all of the store that are no news."""
    exact: dict[Any, list[Mapping[str, Any]]] = {}
    alike: dict[Any, list[Mapping[str, Any]]] = {}
    for cell in results.cells:
        exact.setdefault(identity(cell["spec"]), []).append(cell)
        alike.setdefault(nickname(cell["spec"]), []).append(cell)
    found, pools, used = {}, [], set()
    for cell in baseline.cells:
        pool = exact.get(identity(cell.spec)) or alike.get(nickname(cell.spec))
        if not pool:
            continue
        used |= {one["cell"] for one in pool}
        comparable = [one for one in pool if not changed(cell.spec, one["spec"])]
        pools += [one["spec"] for one in comparable or pool]
        found[cell.hash] = max(comparable or pool, key=lambda one: (one["status"] == "ok", one["provenance"]["started"]))
    one_checkpoint(pools, ", ".join(str(folder) for folder in results.folders) or "the store")
    return found, used


def _paired(cell: Measured, stored: Mapping[str, Any] | None, policy: Policy, clips: Clips) -> Pair | Judged:
    """A cell with its clips, or its verdict where there is nothing to compare."""
    known = _known(cell, policy)
    if stored is None:
        return replace(known, verdict="MISSING", reason="the store does not have it")
    why = changed(cell.spec, stored["spec"])
    if stored["status"] != "ok":
        return replace(known, verdict="ERROR", reason=str(stored["error"]) or "it failed without a message")
    if why:
        return replace(known, verdict="INCOMPARABLE", reason=why)
    ids, groups, after = clips.sort(stored)
    known = replace(known, after=float(after.mean()))
    if ids != cell.ids:
        return replace(known, verdict="INCOMPARABLE", reason=_unpaired(cell.ids, ids))
    if groups != cell.groups:
        return replace(known, verdict="INCOMPARABLE", reason="the clips are the same and their source videos are not")
    return Pair(known, ids, groups, cell.correct, after)


def _known(cell: Measured, policy: Policy) -> Judged:
    spec, rule = cell.spec, policy.rule(cell.name)
    return Judged(
        name=cell.name,
        model=spec["model"],
        defense=spec["defense"],
        work=work(spec),
        threat=short_threat(spec) if spec["kind"] == "attack" else "",
        tier=rule.tier,
        verdict="PASS",
        before=float(cell.correct.mean()),
        after=math.nan,
        clips=len(cell.ids),
        groups=len(set(cell.groups)),
        allowed=rule.max_drop,
        must_see=rule.must_see,
        line=cell.line,
        hash=cell.hash,
        acknowledged=policy.accepted(cell.name),
    )


def _unpaired(before: Sequence[str], after: Sequence[str]) -> str:
    """Which clips only one of both has; they are no smaller list of clips that both have."""
    sides = {"only in the baseline": set(before) - set(after), "only in the store": set(after) - set(before)}
    told = [f"{len(ids)} clips {where}: {', '.join(sorted(ids)[:3])}" for where, ids in sides.items() if ids]
    return "; ".join(told)


def _models(baseline: Baseline, pairs: Sequence[tuple[Measured, Pair]], policy: Policy) -> tuple[list[Pair], list[Judged]]:
    """The per-clip worst case of every model and defence, and those of which no attack could be compared."""
    rows: dict[Any, list[Measured]] = {}
    for cell in baseline.cells:
        if cell.spec["kind"] == "attack" and policy.rule(cell.name).tier != "advisory" and not policy.accepted(cell.name):
            rows.setdefault(_row(cell.spec), []).append(cell)
    compared = {cell.hash: pair for cell, pair in pairs}
    titles = _titles([cells[0].spec for cells in rows.values()])
    made, lacking = [], []
    for title, cells in zip(titles, rows.values(), strict=True):
        known = replace(_known(cells[0], policy), name=title, work="worst", threat="", hash="", acknowledged=None)
        rule = policy.rule(title)
        known = replace(known, tier=rule.tier, allowed=rule.max_drop, must_see=rule.must_see)
        usable = [compared[cell.hash] for cell in cells if cell.hash in compared]
        usable = [pair for pair in usable if pair.ids == usable[0].ids]
        left = len(cells) - len(usable)
        if not usable:
            reason = f"none of its {len(cells)} attacks could be compared"
            lacking.append(replace(known, verdict="INCOMPARABLE", before=math.nan, reason=reason))
            continue
        before = np.min([pair.before for pair in usable], axis=0)
        after = np.min([pair.after for pair in usable], axis=0)
        reason = f"{left} of its {len(cells)} attacks could not be compared" if left else ""
        known = replace(known, before=float(before.mean()), after=float(after.mean()), reason=reason, clips=len(before))
        made.append(Pair(known, usable[0].ids, usable[0].groups, before, after))
    return made, lacking


def _row(spec: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the attacks of a worst case share; those that append frames have one of their own, as on the leaderboard."""
    place = tuple(spec.get(key) for key in ("dataset", "split", "limit", "manifest_sha256", "seed", "model", "defense"))
    return (*place, spec.get("norm") == "append")


def _titles(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    plain = [f"{short('model', spec['model'])}|{short('defense', spec['defense'])}|worst" for spec in specs]
    plain = [title + ("-appended" if spec.get("norm") == "append" else "") for title, spec in zip(plain, specs, strict=True)]
    places = [f"{spec['dataset']}/{spec['split']}/{spec.get('limit') or 'all'}/seed {spec['seed']}" for spec in specs]
    return [f"{one}|{where}" if plain.count(one) > 1 else one for one, where in zip(plain, places, strict=True)]


def _tested(families: Sequence[Sequence[Pair]], draws: int, seed: int) -> tuple[list[Judged], list[Judged], int]:
    """Verdicts of both families of tests, and how many flips were made."""
    sets = [_by_clips(family) for family in families]
    blocks = [[Block.of(np.array([p.before - p.after for p in pairs]), pairs[0].groups) for pairs in family] for family in sets]
    drops, gains, flips = flip(blocks, draws, seed)
    judged = [
        [one for pairs, block in zip(family, made, strict=True) for one in _judged(pairs, block, number, drops, gains)]
        for number, (family, made) in enumerate(zip(sets, blocks, strict=True))
    ]
    return judged[0], judged[1], flips


def _by_clips(family: Sequence[Pair]) -> list[list[Pair]]:
    found: dict[Any, list[Pair]] = {}
    for pair in family:
        found.setdefault((pair.ids, pair.groups), []).append(pair)
    return list(found.values())


def _judged(pairs: Sequence[Pair], block: Block, family: int, drops: Maxima, gains: Maxima) -> list[Judged]:
    """Verdicts of one family's tests on one set of clips."""
    adjusted, gained = drops.adjusted(family, block.statistic), gains.adjusted(family, -block.statistic)
    low, high = interval(block)
    evenness = float(block.sizes.mean() ** 2 / (block.sizes**2).mean())
    fewest = drops.smallest(family, evenness, len(block.groups))
    detectable = 1.0 if fewest is None else fewest / len(block.groups)
    moved = np.array([pair.before - pair.after for pair in pairs])
    lost, better = (moved > 0).sum(axis=1), (moved < 0).sum(axis=1)
    p = mcnemar(lost, better)
    made = []
    for number, pair in enumerate(pairs):
        one = replace(
            pair.judged,
            groups=len(block.groups),
            lost=int(lost[number]),
            gained=int(better[number]),
            p=float(p[number]),
            adjusted=float(adjusted[number]),
            detectable=detectable,
            lost_clips=tuple(pair.ids[k] for k in np.flatnonzero(moved[number] > 0)),
            gained_clips=tuple(pair.ids[k] for k in np.flatnonzero(moved[number] < 0)),
            low=float(low[number]),
            high=float(high[number]),
        )
        made.append(replace(one, verdict=_verdict(one, float(gained[number]))))
    return made


def _verdict(one: Judged, gained: float) -> Verdict:
    """Of a cell that could be compared.

    Where less can be lost than the size that must be seen, no such drop could have been missed: an accuracy of zero passes.
    """
    if one.drop > one.allowed + SLACK:
        return "REGRESSED" if one.adjusted < ALPHA else "SUSPECT"
    if gained < ALPHA and one.drop < 0:
        return "IMPROVED"
    return "INCONCLUSIVE" if one.detectable > one.must_see + SLACK and one.before > one.must_see + SLACK else "PASS"


def _ordered(cells: Sequence[Judged]) -> tuple[Judged, ...]:
    """The worst verdict first, then the largest drop; an acknowledgement stays only where it excuses something."""
    rank = {verdict: number for number, verdict in enumerate(VERDICTS)}
    excused = [replace(one, acknowledged=None) if one.verdict in ("PASS", "IMPROVED") else one for one in cells]
    return tuple(sorted(excused, key=lambda one: (rank[one.verdict], -one.drop if one.drop == one.drop else 0.0, one.name)))


def _exit(judged: Sequence[Judged]) -> Exit:
    counting = {one.verdict for one in judged if one.tier != "advisory" and one.acknowledged is None}
    if counting & {"REGRESSED", "MISSING", "ERROR"}:
        return Exit.REGRESSED
    return Exit.UNDECIDED if counting & {"INCONCLUSIVE", "INCOMPARABLE"} else Exit.PASS
