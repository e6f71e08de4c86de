"""The report on the papers' claims: each verdict from a planted store, the statistics against a formula, the files."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.evaluation.stats import interval
from robustvideo.benchmark.evaluation.studies.grids import find_grid, names
from robustvideo.leaderboard.comparisons import Spot, difference
from robustvideo.leaderboard.measured import Table, table_of
from robustvideo.leaderboard.papers import Claim, claims, published
from robustvideo.leaderboard.report import report, write_report
from robustvideo.leaderboard.report_pictures import table_picture
from robustvideo.leaderboard.results import Results
from robustvideo.leaderboard.step_line import Step, fit_line
from robustvideo.leaderboard.verdicts import Decided, decide
from scipy import stats
from stores import made_cell, put_all

Cell = tuple[Sequence[float], str]
"""Right clips, and what the attacker knows (empty without one)."""

CLIPS = 120


def share(of: float, clips: int = CLIPS) -> list[float]:
    """So many right clips, the first ones."""
    return [float(number < round(of * clips)) for number in range(clips)]


class Planted:
    """A store with the cells of one table, and the table as `studies.tables.outcome` gives it."""

    def __init__(
        self, folder: Path, table: str, cells: Mapping[tuple[str, str], Cell], unmeasured: Sequence[tuple[str, str]] = ()
    ):
        self.folder, self.table, rows, stored = folder, table, [], []
        for number, ((row, column), (right, threat)) in enumerate(cells.items()):
            attack = f"pgd:planted={number}" if threat else "none"
            cell = made_cell(right, model=f"tsm:planted={number}", attack=attack, threat=threat or None)
            low, high = interval(cell["clips"]["correct"], cell["clips"]["group"])
            stored.append(cell)
            row = {"row": row, "column": column, "ours": float(np.mean(right)), "low": low, "high": high, "clips": len(right)}
            rows.append(row | {"published": 1.0, "threat": threat, "reason": "", "cells": cell["cell"]})
        lacking = {"ours": float("nan"), "clips": 0, "threat": "", "reason": "no such model here", "cells": ""}
        rows += [{"row": row, "column": column} | lacking for row, column in unmeasured]
        self.rows = pd.DataFrame(rows)
        put_all(folder, stored or [made_cell([1.0])])

    def outcome(self, name: str, results: Results) -> Table:
        return table_of(name, self.rows, results) if name == self.table else Table(name)

    def decided(self, claim: str) -> Decided:
        found = next(one for one in claims() if one.id == claim)
        return decide(found, self.outcome(found.table, Results.read([self.folder])).spots)

    def report(self) -> dict[str, str | bytes]:
        return report(self.folder, self.outcome)


def shuffling(ours: float, none: float, eot: float | None = None, eot_none: float = 0.0) -> dict[tuple[str, str], Cell]:
    """Table 5 with one attack that does not know the defence and, where `eot` is given, one that does."""
    made: dict[tuple[str, str], Cell] = {("I3D / No", "I-FGSM"): (share(none), "white-box")}
    made[("I3D / Ours", "I-FGSM")] = (share(ours), "oblivious")
    if eot is not None:
        made |= {("I3D / No", "EOT"): (share(eot_none), "white-box"), ("I3D / Ours", "EOT"): (share(eot), "adaptive:eot=8")}
    return made


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        (shuffling(0.9, 0.1, 0.8, 0.1), "holds"),
        (shuffling(0.9, 0.1, 0.1, 0.3), "holds only against an oblivious attacker"),
        (shuffling(0.9, 0.1, 0.0, 0.0), "holds only against an oblivious attacker"),  # at zero, where the other attack left 90 %
        (shuffling(0.1, 0.4, 0.1, 0.4), "does not hold"),
        (shuffling(0.51, 0.5, 0.9, 0.1), "undecided"),
        (shuffling(0.9, 0.1, 0.11, 0.1), "undecided"),
        (shuffling(0.9, 0.1), "undecided"),  # no attacker who knows the defence
        (shuffling(0.0, 0.0, 0.0, 0.0), "cannot be tested here"),
        (shuffling(1.0, 1.0, 1.0, 1.0), "cannot be tested here"),
        ({}, "not measured"),
    ],
)
def test_each_verdict_on_a_defence(tmp_path: Path, cells: dict[tuple[str, str], Cell], verdict: str):
    decided = Planted(tmp_path, "shuffling-table5", cells).decided("shuffling-restores")
    assert decided.verdict == verdict, decided.why


@pytest.mark.parametrize(
    ("with_taf", "without", "verdict"),
    [
        (0.9, 0.6, "holds"),
        (0.6, 0.9, "does not hold"),
        (0.7, 0.68, "undecided"),
        (1.0, 1.0, "cannot be tested here"),
        (1.0, 119 / 120, "cannot be tested here"),  # one clip of 120
    ],
)
def test_each_verdict_without_an_attacker(tmp_path: Path, with_taf: float, without: float, verdict: str):
    cells = {
        ("SSV1 / TSM / 8 frames", "Top-1"): (share(without), ""),
        ("SSV1 / TSM+TAF / 8 frames", "Top-1"): (share(with_taf), ""),
    }
    decided = Planted(tmp_path, "taf-table1", cells).decided("taf-clean")
    assert decided.verdict == verdict, decided.why


@pytest.mark.parametrize(
    ("small", "large", "verdict"),
    [(0.5, 0.5, "holds"), (0.5, 0.9, "does not hold"), (0.5, 0.52, "undecided"), (1.0, 1.0, "cannot be tested here")],
)
def test_a_claim_that_two_cells_are_alike(tmp_path: Path, small: float, large: float, verdict: str):
    cells = {("I3D / Clean", "K=10"): (share(small), ""), ("I3D / Clean", "K=100"): (share(large), "")}
    assert Planted(tmp_path, "shuffling-table4", cells).decided("shuffling-ensemble").verdict == verdict


@pytest.mark.parametrize(("seen", "verdict"), [(0.8, "holds"), (0.4, "does not hold"), (0.6, "undecided")])
def test_a_claim_about_a_level(tmp_path: Path, seen: float, verdict: str):
    cells = {("I3D", "Uniformized"): (share(seen), "")}
    assert Planted(tmp_path, "shuffling-table1", cells).decided("shuffling-static").verdict == verdict


@pytest.mark.parametrize(
    ("ours", "none", "verdict"),
    [(1.0, 1.0, "holds"), (0.95, 1.0, "holds"), (0.5, 1.0, "does not hold"), (0.88, 1.0, "undecided")],
)
def test_keeping_accuracy_can_be_shown_at_the_ceiling(tmp_path: Path, ours: float, none: float, verdict: str):
    cells = {("I3D / No", "Clean"): (share(none), ""), ("I3D / Ours", "Clean"): (share(ours), "")}
    assert Planted(tmp_path, "shuffling-table5", cells).decided("shuffling-keeps-clean").verdict == verdict


def test_eot_at_zero_beside_an_attack_at_zero_shows_nothing(tmp_path: Path):
    cells: dict[tuple[str, str], Cell] = {
        ("I3D / Ours", "I-FGSM"): (share(0), "oblivious"),
        ("I3D / Ours", "EOT"): (share(0), "adaptive"),
    }
    assert Planted(tmp_path, "shuffling-table5", cells).decided("shuffling-eot").verdict == "cannot be tested here"


def test_where_who_does_not_know_the_defence_changes_nothing_who_knows_it_decides(tmp_path: Path):
    """Generators clean every clip of an attack that did not pass through them; one that did tells two of them apart."""
    ours, theirs = "GAT(eps=8, alpha=8)", "APE(eps=0->12, alpha=eps)"
    cells: dict[tuple[str, str], Cell] = {(row, "eps=4"): (share(1), "grey-box") for row in (ours, theirs)}
    assert Planted(tmp_path / "a", "at-table3", cells).decided("at-gat-ape").verdict == "cannot be tested here"
    for better, worse, verdict in ((ours, theirs, "holds"), (theirs, ours, "does not hold")):
        told = cells | {(better, "eps=8"): (share(0.7), "adaptive"), (worse, "eps=8"): (share(0.2), "adaptive")}
        assert Planted(tmp_path / verdict, "at-table3", told).decided("at-gat-ape").verdict == verdict


def test_most_counts_comparisons_and_one_contradiction_does_not_decide(tmp_path: Path):
    best = {("AT(eps=8, alpha=eps)", f"eps={eps}"): (share(one), "white-box") for eps, one in ((4, 0.9), (8, 0.8), (12, 0.2))}
    rest = {("AT(eps=8, alpha=opt/2)", f"eps={eps}"): (share(0.5), "white-box") for eps in (4, 8, 12)}
    decided = Planted(tmp_path, "at-table1", best | rest).decided("at-step-robust")
    assert [one.outcome for one in decided.compared] == ["above", "above", "below"]
    assert decided.verdict == "holds"


def test_a_right_side_of_any_text_is_every_other_cell(tmp_path: Path):
    cells = {(f"rate {rate}%", "Top-1"): (share(one), "") for rate, one in ((25, 0.5), (50, 0.9), (75, 0.6), (100, 0.95))}
    decided = Planted(tmp_path, "rose-table3", cells).decided("rose-rate")
    assert [one.right for one in decided.compared] == [f"rate {rate}% @ Top-1" for rate in (25, 75, 100)]
    assert decided.verdict == "undecided"  # 95 % against 90 %: clips that only one gets right are few


def test_cells_of_other_clips_are_not_compared(tmp_path: Path):
    found = [Spot("TAF @ Top-1", 1, 1, 1, 2, by_clip={"a": 1.0}, groups={"a": "a"}, place="one")]
    found += [Spot("CE-based @ Top-1", 0, 0, 0, 2, by_clip={"a": 0.0}, groups={"a": "a"}, place="two")]
    decided = decide(next(one for one in claims() if one.id == "taf-loss"), found)
    assert (decided.verdict, decided.compared[0].reason) == ("not measured", "the two cells are of different clips")


def test_who_knows_a_defence_is_compared_with_who_does_not():
    """Where the claim is about the two: without that, a cell is compared with its like."""

    def spot(label: str, share: float, threat: str, counterpart: bool = False) -> Spot:
        by_clip = {str(clip): float(clip < 16 * share) for clip in range(16)}
        groups = {clip: clip for clip in by_clip}
        return Spot(label, share, share, share, 16, threat, by_clip=by_clip, groups=groups, counterpart=counterpart)

    spots = [spot("TSM / Ours @ EOT with PGD", 0.0, "adaptive:eot=1"), spot("TSM / Ours @ PGD", 0.75, "oblivious")]
    spots.append(spot("TSM / Ours @ PGD", 0.0, "adaptive:eot=1", counterpart=True))
    decided = decide(next(one for one in claims() if one.id == "shuffling-eot"), spots)
    assert decided.verdict == "does not hold" and [one.difference for one in decided.compared] == [-0.75]


def test_what_vbench_cannot_measure_is_not_asked_for():
    spots = [Spot(f"alpha={value} @ Top-1", reason="no such sampler", skipped=True) for value in ("0.7", "0.5")]
    decided = decide(next(one for one in claims() if one.id == "taf-alpha"), spots)
    assert (decided.verdict, decided.why) == ("cannot be tested here", "no such sampler")


def test_what_is_not_measured_says_what_to_run_and_why(tmp_path: Path):
    planted = Planted(tmp_path, "taf-table2b", {}, [("alpha=0.7", "Top-1"), ("alpha=0.5", "Top-1")])
    decided = planted.decided("taf-alpha")
    assert "vbench paper taf-table2b --store DIR" in decided.why
    assert decided.compared[0].reason == "no such model here"
    text = planted.report()["README.md"]
    assert isinstance(text, str)
    assert "no such model here" in text


def agresti_min(lost: int, gained: int, clips: int, quantile: float) -> tuple[float, float]:
    """Agresti and Min 2005, equation for the adjusted Wald interval: half a clip is added to each of the four counts."""
    b, c, n = gained + 0.5, lost + 0.5, clips + 2
    centre, spread = (b - c) / n, np.sqrt((b + c) - (b - c) ** 2 / n) / n
    return centre - quantile * spread, centre + quantile * spread


@pytest.mark.parametrize(("lost", "gained", "clips"), [(0, 0, 50), (3, 10, 50), (0, 40, 200), (30, 30, 500)])
def test_the_difference_has_the_interval_of_agresti_and_min(lost: int, gained: int, clips: int):
    left = [1.0] * gained + [0.0] * (clips - gained)
    right = [0.0] * (clips - lost) + [1.0] * lost
    names = [str(number) for number in range(clips)]
    spots_of = [
        Spot("", by_clip=dict(zip(names, values, strict=True)), groups={one: one for one in names}) for values in (left, right)
    ]
    mean, low, high, count = difference(*spots_of)
    # Ours has the variance's n / (n - 1) and the t quantile.
    n = clips + 2
    wanted = agresti_min(lost, gained, clips, float(stats.t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1))))
    assert (mean, count) == (pytest.approx((gained - lost) / clips), clips)
    assert (low, high) == pytest.approx(wanted)


def test_clips_of_one_video_count_as_one():
    names = [str(number) for number in range(100)]
    left = {one: float(int(one) < 60) for one in names}
    right = dict.fromkeys(names, 0.0)
    widths = []
    for size in (1, 10):
        groups = {one: str(int(one) // size) for one in names}
        _, low, high, _ = difference(Spot("", by_clip=left, groups=groups), Spot("", by_clip=right, groups=groups))
        widths.append(high - low)
    videos = [str(number) for number in range(10)]
    alone = {one: one for one in videos}
    few = Spot("", by_clip={one: float(int(one) < 6) for one in videos}, groups=alone)
    _, low, high, _ = difference(few, Spot("", by_clip=dict.fromkeys(videos, 0.0), groups=alone))
    assert widths[1] == pytest.approx(high - low)
    assert widths[1] > 2 * widths[0]


def test_the_interval_covers_the_truth_of_simulated_clips():
    rng = np.random.default_rng(3)
    names = [str(number) for number in range(80)]
    groups = {one: one for one in names}
    missed = 0
    for _ in range(500):
        draws = rng.choice([0, 1, 2, 3], size=80, p=[0.75, 0.15, 0.05, 0.05])
        left = Spot("", by_clip=dict(zip(names, np.isin(draws, (0, 1)).astype(float), strict=True)), groups=groups)
        right = Spot("", by_clip=dict(zip(names, np.isin(draws, (0, 2)).astype(float), strict=True)), groups=groups)
        _, low, high, _ = difference(left, right)
        missed += not low <= 0.10 <= high
    assert missed <= 40  # 25 are expected; 40 are three standard deviations more


def steps(law: float, offset: float = 0.2, noise: float = 0.05) -> list[Step]:
    """Margins that are smallest at alpha = law * eps + offset."""
    rng = np.random.default_rng(1)
    names = [str(number) for number in range(40)]
    groups = {one: one for one in names}
    made = []
    for eps in (2, 4, 6, 8, 10):
        for alpha in np.arange(0.2, 4, 0.2):
            values = (alpha - law * eps - offset) ** 2 + rng.normal(0, noise, 40)
            made.append(Step(eps, float(alpha), dict(zip(names, values.tolist(), strict=True)), groups))
    return made


def test_a_planted_line_of_step_sizes_is_found():
    line = fit_line(steps(0.3))
    assert not isinstance(line, str)
    assert line.slope == pytest.approx((0.3, 0.3, 0.3), abs=0.04)
    assert line.best[10] == pytest.approx(3.2, abs=0.2)


def test_the_interval_of_a_line_is_no_narrower_than_the_regressions():
    """Clips that agree on the best of coarse steps leave a bootstrap without any spread."""
    coarse = [one for one in steps(0.3, noise=0) if round(10 * one.alpha) in (2, 10, 14, 24, 38)]
    line = fit_line(coarse)
    assert not isinstance(line, str)
    fit = stats.linregress(list(line.best), list(line.best.values()))
    half = stats.t.ppf(0.975, len(line.best) - 2) * fit.stderr
    assert half > 0.02 and line.slope == pytest.approx((fit.slope, fit.slope - half, fit.slope + half))


def test_no_line_where_the_best_step_is_the_last_one_tried():
    assert "4 of 5 budgets" in str(fit_line([step for step in steps(0.3) if step.alpha <= 1]))
    assert "three budgets" in str(fit_line(steps(0.3)[:6]))


def line_spots(law: float) -> list[Spot]:
    return [
        Spot(
            f"eps={one.eps:g} @ step={one.alpha:.1f}", 0, 0, 0, 40, "white-box", "", ("c",), one.margins, one.groups, one.margins
        )
        for one in steps(law, -0.1)
    ]


def test_step_sizes_and_shuffles_have_pictures_of_their_own():
    one = {"a": 1.0}
    grid = [
        Spot(f"TSM / h1={h1}, h2={h2} @ {column}", 0.1 * h1 * h2, 0, 1, 9, by_clip=one, groups={"a": "a"})
        for column in ("Clean", "I-FGSM")
        for h1 in (1, 2, 4)
        for h2 in (1, 2)
    ]
    for name, found in (("at-fig2", line_spots(0.3)), ("shuffling-fig10", grid)):
        own, dots = (table_picture(Table(called, spots=tuple(found)), []) for called in (name, "other"))
        assert own and dots and own != dots
        assert own.startswith(b"\x89PNG")


@pytest.mark.parametrize(("law", "verdict"), [(0.2, "holds"), (0.38, "does not hold")])
def test_the_claims_about_step_sizes(law: float, verdict: str):
    found = line_spots(law)
    grows, slope = (next(one for one in claims() if one.id == name) for name in ("at-step-grows", "at-step-slope"))
    assert decide(slope, found).verdict == verdict and decide(grows, found).verdict == "holds"


HOSTILE = "<script>alert(1)</script>, a|b\nc `x` & 100% _y_ [l](http://x.y) \\ \u202eabc =1+1 " + "long" * 50


def full(folder: Path) -> Planted:
    """A store with most of table 5, and hostile names."""
    cells: dict[tuple[str, str], Cell] = {}
    for number, model in enumerate(("I3D", "SlowFast", HOSTILE)):
        for place, defense in enumerate(("No", "RS", "Ours")):
            cells[(f"{model} / {defense}", "Clean")] = (share(1 - 0.02 * place), "")
            threat = "white-box" if defense == "No" else "oblivious"
            cells[(f"{model} / {defense}", "I-FGSM")] = (share(0.1 + 0.3 * place + 0.02 * number), threat)
            cells[(f"{model} / {defense}", "EOT")] = (share(0.05 * place), "white-box" if defense == "No" else "adaptive:eot=8")
    cells[("=1+1", "=cmd")] = (share(0.5), "")
    return Planted(folder, "shuffling-table5", cells, [("X3D / Ours", "EOT")])


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return full(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def files(planted: Planted) -> dict[str, str | bytes]:
    return planted.report()


def test_the_same_store_gives_the_same_bytes(planted: Planted, files: dict[str, str | bytes]):
    first = files
    assert first == planted.report()
    assert set(first) == {"README.md", "numbers.csv", "comparisons.csv", "shuffling-table5.png"}
    assert isinstance(first["shuffling-table5.png"], bytes)
    assert first["shuffling-table5.png"].startswith(b"\x89PNG")


def test_the_report_names_every_claim_and_links_to_it(planted: Planted, files: dict[str, str | bytes]):
    text = str(files["README.md"])
    for claim in claims():
        assert f"[{claim.id}](#{claim.id})" in text
        assert f'<a id="{claim.id}"></a>' in text
    assert str(planted.folder) not in text
    assert "120" in text
    assert "trained once" in text


def test_every_row_of_a_markdown_table_has_its_columns(files: dict[str, str | bytes]):
    text = str(files["README.md"])
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(blocks) > 3
    for block in blocks:
        counts = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in block.splitlines()}
        assert len(counts) == 1, block[:300]


def test_hostile_names_are_text(files: dict[str, str | bytes]):
    text = str(files["README.md"])
    assert "<script" not in text
    assert "\u202e" not in text
    assert not re.search(r"(?<!\\)\]\(http", text)
    for name in ("numbers.csv", "comparisons.csv"):
        rows = list(csv.reader(io.StringIO(str(files[name]))))
        assert {len(row) for row in rows} == {len(rows[0])}
        assert not [cell for row in rows for cell in row if cell[:1] in ("=", "@")]
    assert any("'=1+1" in row for row in csv.reader(io.StringIO(str(files["numbers.csv"]))))


def test_numbers_lead_to_the_cells_behind_them(planted: Planted, files: dict[str, str | bytes]):
    known = Results.read([planted.folder]).by_hash
    numbers = pd.read_csv(io.StringIO(str(files["numbers.csv"])), keep_default_na=False, na_values=[""])
    measured = numbers[numbers["ours"].notna()]
    assert len(measured) == len(known) == 28
    for _, row in measured.iterrows():
        assert np.mean(known[str(row["cells"])]["clips"]["correct"]) == pytest.approx(row["ours"], abs=1e-5)
    pairs = pd.read_csv(io.StringIO(str(files["comparisons.csv"])))
    drawn = pairs[(pairs["claim"] == "shuffling-restores") & pairs["difference"].notna()]
    assert len(drawn) == 6
    for _, row in drawn.iterrows():
        left, right = (np.mean(known[one]["clips"]["correct"]) for one in str(row["cells"]).split())
        assert left - right == pytest.approx(row["difference"], abs=1e-5)


def test_a_store_with_nothing_of_the_papers_gives_a_report_of_what_to_run(tmp_path: Path):
    files = Planted(tmp_path, "none", {}).report()
    text = str(files["README.md"])
    assert set(files) == {"README.md", "numbers.csv", "comparisons.csv"}
    assert f"*not measured* {len(claims())}" in text
    assert text.count("vbench paper shuffling-table5 --store DIR") >= 2


def test_a_report_is_written_or_is_one_line(planted: Planted, tmp_path: Path):
    written = write_report(planted.folder, tmp_path / "out", planted.outcome)
    assert written[0] == tmp_path / "out" / "README.md"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in written)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(planted.folder, tmp_path / "file" / "out", planted.outcome)


def test_two_checkpoints_of_a_model_are_not_mixed(tmp_path: Path):
    put_all(tmp_path, [made_cell([1.0] * 4), made_cell([0.0] * 4, weights_sha256="f" * 64)])
    with pytest.raises(InputError, match="holds two checkpoints of tsm: .*; keep them in stores of their own"):
        report(tmp_path)


def test_an_empty_folder_is_one_line(tmp_path: Path):
    with pytest.raises(InputError):
        report(tmp_path / "missing")


def test_a_claims_table_has_the_labels_of_its_rule():
    def labels(claim: Claim) -> set[str]:
        """Of the paper's cells, and of ours beside them."""
        theirs = zip(published(claim.table)["row"], published(claim.table)["column"], strict=True)
        ours = [(one.row, one.column) for one in find_grid(claim.table).places] if claim.table in names() else []
        return {f"{row} @ {column}" for row, column in (*theirs, *ours)}

    for claim in claims():
        for rule in claim.rules:
            for one in (rule.left, *rule.right):
                if not re.search(r"[{*]", one) and claim.id != "rose-tta":
                    assert one in labels(claim), (claim.id, one)
