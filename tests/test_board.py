"""What a leaderboard says of stores: numbers by hand, flags, order, ranks, corruptions, costs."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.evaluation.stats import interval
from robustvideo.leaderboard.board import build
from robustvideo.leaderboard.results import Results
from robustvideo.leaderboard.rows import Value, shown
from stores import PGD, ids_of, made_cell, put_all

SHUFFLE = "shuffle:h1=none,h2=none,preset=auto,draws=10"
I3D = "i3d:preset=tiny,frames=none,size=none"
FOG = "fog:table=imagenet-c-224,temporal=reference,stage=frames,size=none,storage=none,truncate=true"
SQUARE = "square:norm=linf,eps=8/255,queries=5000,p_init=0.8"
FULL = f"{PGD} (full knowledge)"


def right(count, of=20):
    return [1.0] * count + [0.0] * (of - count)


def left(count, of=20):
    return [0.0] * (of - count) + [1.0] * count


def board_of(*cells, **options):
    return build(Results(sorted(cells, key=lambda cell: cell["cell"])), **options)


def rows_of(*cells, **options):
    (section,) = board_of(*cells, **options).sections
    return {(row.model_title, row.defense_title): row for row in section.rows}


def test_the_worst_case_is_per_clip_and_not_per_attack():
    row = rows_of(
        made_cell(right(20)),
        made_cell(right(12), attack=PGD),
        made_cell(left(15), attack=SQUARE),
    )["tsm", "none"]
    assert row.values[FULL].mean == 0.6 and row.values["clean"].mean == 1
    worst = row.values["worst"]
    assert worst.mean == 7 / 20, "12 from the front and 15 from the back leave 7 in both"
    assert (worst.low, worst.high) == pytest.approx(interval(left(7), ids_of(20)[1])) and len(worst.cells) == 2


def test_only_clips_that_every_attack_has_count_in_the_worst_case():
    short = made_cell(right(12), attack=SQUARE)
    short["clips"] = {name: values[:15] for name, values in short["clips"].items()}
    short["failed"] = [{"id": f"clip-{number:04d}", "reason": "torn"} for number in range(15, 20)]
    row = rows_of(made_cell(right(20)), made_cell(right(14), attack=PGD), short)["tsm", "none"]
    assert row.values["worst"].mean == 12 / 15 and row.clips == 20 and "failed-clips:5" in row.flags


def test_hash_date_and_place_of_a_row():
    cells = [made_cell(right(20)), made_cell(right(9), attack=PGD)]
    cells[0]["provenance"]["started"] = "2026-11-22T00:00:00+00:00"
    (row,) = rows_of(*cells).values()
    text = "\n".join(sorted(cell["cell"] for cell in cells))
    assert row.hash == hashlib.sha256(text.encode()).hexdigest()[:12] and row.date == "2026-11-22T00:00:00+00:00"
    assert row.place["limit"] is None and row.place["threat_model"] == "frames kept" and row.place["defense_sha256"] == ""


def test_a_failed_cell_is_shown_as_failed_and_a_missing_one_as_missing():
    rows = rows_of(
        made_cell(right(20)),
        made_cell(right(20), attack=PGD, error="RuntimeError: out of memory"),
        made_cell(right(20), model=I3D),
        made_cell(right(8), model=I3D, attack=PGD),
        made_cell(right(9), model=I3D, attack=SQUARE),
    )
    row = rows["tsm", "none"]
    assert row.values[FULL].failed == "RuntimeError: out of memory" and shown(row.values[FULL]) == "!"
    assert shown(row.values.get("worst")) == "-" and row.rank is None and row.tie == ""
    assert {"missing:pgd", "missing:square"} < set(row.flags) and any(flag.startswith("failed:pgd") for flag in row.flags)
    assert not any(flag.startswith("missing") for flag in rows["i3d", "none"].flags)


def test_a_repeated_attack_counts_with_its_lowest_number_and_its_other_runs_in_the_worst_case():
    row = rows_of(
        made_cell(right(20), defense=SHUFFLE),
        made_cell(right(9), defense=SHUFFLE, attack=PGD, threat="adaptive:eot=1"),
        made_cell(right(6), defense=SHUFFLE, attack=PGD, threat="adaptive:eot=10"),
        made_cell(left(16), defense=SHUFFLE, attack=PGD, threat="oblivious"),
    )["tsm", "shuffle"]
    assert row.values[FULL].mean == 0.3 and row.values[f"{PGD} (oblivious)"].mean == 0.8
    assert row.values["worst"].mean == 2 / 20 and "no-adaptive:pgd" not in row.flags


def test_a_defended_row_without_an_adaptive_attack_has_no_worst_case_and_stands_last():
    (section,) = board_of(
        made_cell(right(20)),
        made_cell(right(1), attack=PGD),
        made_cell(right(20), defense=SHUFFLE),
        made_cell(right(19), defense=SHUFFLE, attack=PGD, threat="oblivious"),
    ).sections
    assert [row.defense_title for row in section.rows] == ["none", "shuffle"]
    assert "no-adaptive:pgd" in section.rows[1].flags and "worst" not in section.rows[1].values


def test_order_ranks_and_ties():
    cells = []
    for model, kept in (("tsm", 60), ("i3d", 0), ("x3d", 60), ("c3d", 0)):
        name = f"{model}:preset=tiny,frames=none,size=none"
        clean = 100 if model != "i3d" else 98
        cells += [made_cell(right(clean, 100), model=name), made_cell(right(kept, 100), model=name, attack=PGD)]
    (section,) = board_of(*cells).sections
    found = [(row.model.partition(":")[0], row.rank, row.tie) for row in section.rows]
    assert found == [("tsm", (1, 1), "a"), ("x3d", (1, 1), "a"), ("c3d", (3, 3), "b"), ("i3d", (3, 3), "b")]


def test_rows_on_other_clips_are_sections_of_their_own():
    cells = [made_cell(right(20)), made_cell(right(10), limit=10), made_cell(right(20), seed=1)]
    cells += [made_cell(right(3), attack="append:norm=append,eps=0.5,frames=1", norm="append")]
    board = board_of(*cells)
    assert len(board.sections) == 4
    assert [section.place["limit"] for section in board.sections] == [10, None, None, None], "all clips come last"
    assert "frames appended" in board.sections[1].title and board.sections[1].rows[0].values["worst"].mean == 0.15


def test_the_same_name_with_other_weights_is_told_apart():
    other = made_cell(right(10), weights_sha256="f00d" * 16)
    titles = [title for title, _ in rows_of(made_cell(right(20)), other)]
    assert len(titles) == 2 and all(title.startswith("tsm @") for title in titles) and "tsm @f00df00d" in titles


def test_corruptions_stand_beside_attacks_and_alone():
    def corrupted(model, level, **more):
        return made_cell(right(20 - 2 * level), model=model, corruption=FOG, severity=level, **more)

    tsm = "tsm:preset=tiny,frames=none,size=none"
    cells = [made_cell(right(20)), made_cell(right(5), attack=PGD), *(corrupted(tsm, level) for level in range(1, 6))]
    alone = [corrupted(I3D, level) for level in range(1, 6)]
    (section,) = board_of(*cells, *alone).sections
    by_model = {row.model_title: row for row in section.rows}
    assert by_model["tsm"].values["mpc"].mean == pytest.approx(np.mean([0.9, 0.8, 0.7, 0.6, 0.5]))
    assert by_model["tsm"].values["rpc"].mean == pytest.approx(0.7) and len(by_model["tsm"].values["mpc"].cells) == 5
    row = by_model["i3d"]
    assert row.values["mpc"].mean == pytest.approx(0.7) and "worst" not in row.values and section.rows[-1] is row
    assert math.isnan(row.values["rpc"].mean), "without a clean cell there is no ratio"
    kinds = [column.kind for column in section.columns]
    assert kinds == ["clean", "attack", "worst", "corruption", "corruption", "cost", "cost"]
    failed = corrupted(I3D, 3, error="MemoryError: no")
    broken = rows_of(*cells, *alone[:2], failed, *alone[3:])["i3d", "none"].values["mpc"]
    assert shown(broken) == "!" and "severity 3: MemoryError: no" in broken.failed
    with_baseline = rows_of(*cells, baseline="tsm")["tsm", "none"].values["mce"]
    assert with_baseline.mean == pytest.approx(1), "a model is as bad as itself"


def test_costs_are_per_clip_over_all_attacks():
    """Made cells take 50 gradients and 2 queries per clip, and 1.5 s in all."""
    row = rows_of(made_cell(right(20)), made_cell(right(5), attack=PGD), made_cell(right(5), attack=SQUARE))["tsm", "none"]
    assert row.values["calls"].mean == 104 and row.values["wall_s"].mean == pytest.approx(2 * 1.5 / 20)


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a,b|c\nd", "x" * 200, "\u05d0\u05d1", "=1+1", "&%_\\`", "no:such"]
)
def test_names_that_nobody_registered_stay_as_they_are(name):
    (row,) = rows_of(made_cell(right(20), model=name), made_cell(right(3), model=name, attack=name)).values()
    assert row.model == name == row.model_title and row.values[f"{name} (full knowledge)"].mean == 0.15


def test_nothing_shared_and_nothing_there():
    one, other = made_cell(right(20), attack=PGD), made_cell(right(20), attack=SQUARE)
    other["clips"]["id"] = [f"other-{number}" for number in range(20)]
    row = rows_of(one, other)["tsm", "none"]
    assert math.isnan(row.values["worst"].mean) and row.rank is None
    with pytest.raises(InputError, match="no cells"):
        board_of()
    assert shown(Value()) == "-"


def test_ranks_go_over_the_clips_that_all_ranked_rows_have():
    cells = [made_cell(left(40, 80), attack=PGD), made_cell(right(20, 80), attack=PGD, model=I3D)]
    for values in cells[1]["clips"].values():
        del values[40:]
    (section,) = board_of(*cells).sections
    found = {row.model_title: (row.rank, row.tie) for row in section.rows}
    assert found == {"tsm": ((2, 2), "b"), "i3d": ((1, 1), "a")}, "of the first 40 clips tsm has none, i3d half"


def test_several_stores_are_one_leaderboard(tmp_path: Path):
    put_all(tmp_path / "one", [made_cell(right(20)), made_cell(right(3), attack=PGD)])
    put_all(tmp_path / "two", [made_cell(right(20), model=I3D), made_cell(right(7), model=I3D, attack=PGD)])
    results = Results.read([tmp_path / "one", tmp_path / "two"])
    (section,) = build(results).sections
    assert [row.model_title for row in section.rows] == ["i3d", "tsm"]
    assert results.cells[0]["clips"]["id"] is results.cells[1]["clips"]["id"], "lists of names are kept once"


def test_a_cell_of_two_stores_is_one_measurement_or_refused(tmp_path: Path):
    cell, failed = made_cell(right(3), attack=PGD), made_cell(right(3), attack=PGD, error="no memory")
    other = made_cell(right(4), attack=PGD)
    newer = json.loads(json.dumps(cell))
    newer["provenance"]["started"] = "2027-01-01"
    newer["clips"]["margin"] = [0.1 + value for value in newer["clips"]["correct"]]  # another machine rounds otherwise
    one, same, gone, third = (
        put_all(tmp_path / name, [put]) for name, put in (("one", cell), ("same", newer), ("gone", failed), ("third", other))
    )
    for stores in ((one, same), (same, one), (one, one), (gone, one, same), (one, gone)):
        (found,) = Results.read(stores).cells
        assert found["clips"]["correct"] == cell["clips"]["correct"] and (same in stores) == (
            found["provenance"]["started"] == "2027-01-01"
        )
    for stores in ((one, third), (gone, one, same, third), (third, gone, one)):
        with pytest.raises(InputError) as refused:
            Results.read(stores)
        said = str(refused.value)
        assert cell["cell"] in said and "pgd" in said and "\n" not in said
        first, second = [store for store in stores if store in (one, third)] if same not in stores else [same, third]
        assert f"is right about other clips in {first} than in {second}" in said
