"""The leaderboard of stores: one row per model and defence, sorted by the per-clip worst case."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from ..benchmark.core.errors import InputError
from .admission import admitted, refusal
from .board_rows import CALLS, CLEAN, WALL, WORST, Draft, column_order, draft
from .corruption_metrics import PLACE as CORRUPTED
from .corruption_metrics import corruption_metrics
from .markdown import clips_title
from .ranks import ranked
from .results import CLIPS, Results, Rows
from .rows import Board, Column, Row, Section, Value
from .titles import distinct
from .tracks import Track, shipped

ABOUT = (
    "Top-1 accuracy. The headline is the mean over clips of the share of right passes under the attack and threat that hurt the "
    "clip most. A defended row without an adaptive attack has none, and stands last."
)

CORRUPTION = {
    "mpc": Column("mpc", "mPC", "corruption", "Mean accuracy over severities, then corruptions (Michaelis et al. 2019)."),
    "rpc": Column("rpc", "rPC", "corruption", "mPC over clean accuracy."),
    "mce": Column(
        "mce", "mCE", "corruption", "Error over that of the baseline, mean over corruptions (Hendrycks, Dietterich 2019)."
    ),
}
"""By their names in `corruption_metrics`, over the corruptions that all rows on the same clips have."""


def build(results: Results, track: Track | None = None, baseline: str | None = None) -> Board:
    """A section per set of clips, a row per model and defence.

    The worst case is the mean over clips of the share of right passes under the attack that is worst for that clip, over every
    attack and threat of the row. It is missing, and the row stands last, where no attack was measured or where a defended row
    lacks an adaptive attack (`no-adaptive:<attack>`). A failed cell leaves a gap and the flag `failed:<attack>`; a row that lacks
    an attack that others on the same clips have is not comparable with them: `missing:<attack>`. What the audit finds of a row's
    cells, but for its warnings, is among its flags. Ranks: see `ranks`.

    A defence that declares no gradient has no row without a black-box attack (see `admission`). With one, attacks by gradient
    lack no adaptive number, for there can be none.

    Args:
        results: The cells.
        track: Which of them count, and what a row must have to be ranked (`incomplete:<what>` otherwise); by default all of them.
        baseline: Model that mCE divides by; without one there is no mCE.

    Raises:
        InputError: There are no cells, or none of the track; or the baseline is not among them.
    """
    if not results.cells:
        raise InputError("store", "there are no cells", "run vbench run --store <folder> first")
    counted = results.pipelines if track is None else track.counted(results.pipelines)
    drafts, refused = [], []
    for rows, whole in zip(counted, results.pipelines, strict=True):
        if rows and admitted(whole, results):
            drafts.append(draft(rows, results))
        elif rows:
            refused.append(refusal(rows[0], results))
    _corrupted(drafts, counted, results.table, baseline)
    sections: dict[tuple[Any, ...], list[Draft]] = {}
    for one in drafts:
        sections.setdefault(tuple(one.place[name] for name in CLIPS), []).append(one)
    for members in sections.values():
        if track is None:
            _flag_gaps(members)
        else:
            track.judge(members, results)
    made = tuple(_section(sections[key]) for key in sorted(sections, key=_sortable))
    if track is None:
        return Board("Leaderboard", ABOUT, made, tuple(refused))
    return Board(track.title, track.about, made, tuple(refused), track.name)


def by_track(results: Results, baseline: str | None = None) -> list[Board]:
    """The boards of the tracks that the package ships, of those that these cells make and that say more than clean accuracy."""
    boards = []
    for track in map(Track.read, shipped()):
        with suppress(InputError):  # no cell belongs to the track, or none of the baseline
            boards.append(build(results, track, baseline))
    return [board for board in boards if any(len(section.columns) > 2 for section in board.sections) or board.refused]


def _section(members: list[Draft]) -> Section:
    """Rows on the same clips, ranked and in order."""
    place = {name: members[0].place[name] for name in CLIPS}
    ranks = _ranks(members)
    models, defenses = (distinct([one.place for one in members], kind) for kind in ("model", "defense"))
    rows = [
        one.finished(titles, *ranks.get(number, (None, "")))
        for number, (one, titles) in enumerate(zip(members, zip(models, defenses, strict=True), strict=True))
    ]
    title = clips_title(*(place[name] for name in CLIPS[:-1])) + f", {place['threat_model']}"
    return Section(title, _columns(members), tuple(sorted(rows, key=_order)), place)


def _ranks(members: Sequence[Draft]) -> dict[int, tuple[tuple[int, int], str]]:
    """Range and letter of the rows with a worst case, by their numbers, over the clips that all of these rows share."""
    having = {number: one.worst for number, one in enumerate(members) if one.worst is not None and one.has(WORST.key)}
    if not having:
        return {}
    first, groups, _ = next(iter(having.values()))
    if all(ids == first for ids, _, _ in having.values()):
        shares = [worst for _, _, worst in having.values()]
    else:
        shared = set.intersection(*(set(ids) for ids, _, _ in having.values()))
        groups = [group for name, group in zip(first, groups, strict=True) if name in shared]
        order = [name for name in first if name in shared]
        known = (dict(zip(ids, worst.tolist(), strict=True)) for ids, _, worst in having.values())
        shares = [np.array([share[name] for name in order]) for share in known]
    if not groups:
        return {}
    found = ranked(shares, groups)
    return dict(zip(having, zip(found.ranges, found.ties, strict=True), strict=True))


def _columns(members: Sequence[Draft]) -> tuple[Column, ...]:
    """Clean and worst always; of the others those that a row has."""
    cells = [cell for one in members for cell in one.cells]
    attacks = {key: column for one in members for key, column in one.columns.items()}
    named = {key for one in members for key in one.values}
    rest = [column for column in (*CORRUPTION.values(), CALLS, WALL) if column.key in named]
    order = sorted(attacks.values(), key=lambda column: column_order(column, cells))
    return (CLEAN, *order, WORST, *rest)


def _corrupted(drafts: Sequence[Draft], counted: Sequence[Rows], table: pd.DataFrame, baseline: str | None) -> None:
    """Adds the corruption metrics of every row that has corrupted cells; a baseline matters only where there are any."""
    cells = [cell for rows in counted for cell in rows]
    hashes = {cell["cell"] for cell in cells}
    corrupted = [cell for cell in cells if cell["kind"] == "corruption"]
    if not corrupted:
        return
    found = corruption_metrics(pd.DataFrame(table[table["cell"].isin(list(hashes))]), baseline).models
    by_place = {_key(row, CORRUPTED): row for row in found.to_dict("records")}
    for one in drafts:
        row = by_place.get(_key(one.place, CORRUPTED))
        behind = [cell for cell in one.cells if cell["kind"] == "corruption"]
        if row is None or not behind:
            continue
        failed = [cell for cell in behind if cell["status"] != "ok"]
        reason = f"{failed[0]['corruption']}, severity {failed[0]['severity']:.0f}: {failed[0]['error']}" if failed else ""
        for name in ("mpc", "rpc") if baseline is None else CORRUPTION:
            value = float(row[name])
            why = reason if value != value else ""
            one.values[name] = Value(value, failed=why, cells=tuple(cell["cell"] for cell in behind))


def _flag_gaps(members: Sequence[Draft]) -> None:
    """Flags rows that lack a full-knowledge attack that another row on the same clips has."""
    measured = {key for one in members for key in one.columns if key.endswith("(full knowledge)") and one.has(key)}
    for one in members:
        one.flags |= {f"missing:{key.partition(' ')[0].partition(':')[0]}" for key in measured if not one.has(key)}


def _order(row: Row) -> tuple[Any, ...]:
    worst, clean = (row.values.get(key, Value()).mean for key in (WORST.key, CLEAN.key))
    numbers = [(value != value, 0.0 if value != value else -value) for value in (worst, clean)]
    return (*numbers, *(str(row.place[name]) for name in ("model", "defense", "weights_sha256", "defense_sha256")))


def _key(row: Any, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(None if pd.isna(row[name]) else row[name] for name in names)


def _sortable(key: tuple[Any, ...]) -> list[tuple[bool, Any]]:
    """What is not there comes last."""
    return [(value is None, value) for value in key]
