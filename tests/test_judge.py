"""Every verdict of the gate, with a store that was made to deserve it."""

import json
from datetime import date

import numpy as np
import pytest
from robustvideo.benchmark.core.errors import InputError
from robustvideo.leaderboard.gate import baseline, policy
from robustvideo.leaderboard.gate.judge import judge
from robustvideo.leaderboard.gate.judged import VERDICTS, Exit
from robustvideo.leaderboard.results import Results
from stores import PGD, made_cell, put_all

TODAY = date(2026, 11, 21)
CLIPS = 200
DEFAULT = policy.read(None, TODAY)


def share(right, count=CLIPS):
    """The first `right` clips are right."""
    return [1.0] * right + [0.0] * (count - right)


def grid(pgd=None, **changes):
    """Three cells of one model: clean, under PGD, under noise; `changes` are arguments for the cells."""
    return [
        made_cell(changes.pop("clean", share(190)), **changes),
        made_cell(share(120) if pgd is None else pgd, attack=PGD, **changes),
        made_cell(share(150), corruption="gaussian_noise", severity=3, **changes),
    ]


def check(folder, before, after, rules=DEFAULT, **options):
    path = folder / "baseline.json"
    path.write_text(baseline.make(Results(before)), encoding="utf-8")
    return judge(Results(after), baseline.read(path), rules, **options)


def rules(folder, text):
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return policy.read(path, TODAY)


def verdicts(report):
    return {one.work.partition(":")[0]: one.verdict for one in report.cells}


def test_the_same_store_passes(tmp_path):
    report = check(tmp_path, grid(), grid())
    assert report.exit is Exit.PASS
    assert {one.verdict for one in (*report.cells, *report.models)} == {"PASS"}
    clean = next(one for one in report.cells if one.work == "clean")
    assert (clean.before, clean.after, clean.clips, clean.groups, clean.drop) == (0.95, 0.95, CLIPS, CLIPS, 0)
    assert clean.detectable == 5 / CLIPS, "2^-5 is the first power of a half below 0.05"
    assert report.policy == "default" and report.baseline.endswith("baseline.json") and report.new == ()


def test_other_weights_are_what_is_checked(tmp_path):
    lost = share(120)
    lost[3:23], lost[130] = [0.0] * 20, 1.0
    report = check(tmp_path, grid(), grid(lost, weights_sha256="f" * 64))
    assert report.exit is Exit.REGRESSED
    worst = report.cells[0]
    assert (worst.verdict, worst.name) == ("REGRESSED", "tsm|none|pgd:eps=8/255|white-box")
    assert (worst.lost, worst.gained, worst.drop) == (20, 1, pytest.approx(0.095))
    assert worst.lost_clips == tuple(f"clip-{k:04d}" for k in range(3, 23)) and worst.gained_clips == ("clip-0130",)
    assert worst.p == pytest.approx(22 / 2**21) and worst.adjusted < 0.05
    assert worst.low < 0.1 < worst.high
    lines = (tmp_path / "baseline.json").read_text(encoding="utf-8").split("\n")
    assert worst.hash in lines[worst.line - 1]
    assert [one.verdict for one in report.cells[1:]] == ["PASS", "PASS"]
    assert [(one.name, one.verdict, one.lost) for one in report.models] == [("tsm|none|worst", "REGRESSED", 20)]


def test_a_drop_that_could_be_chance_is_suspect(tmp_path):
    noisy = share(120)
    noisy[:15], noisy[120:129] = [0.0] * 15, [1.0] * 9
    report = check(tmp_path, grid(), grid(noisy))
    assert verdicts(report) == {"pgd": "SUSPECT", "clean": "PASS", "gaussian_noise": "PASS"}
    assert report.exit is Exit.PASS
    assert (report.cells[0].lost, report.cells[0].gained) == (15, 9) and report.cells[0].adjusted > 0.05


def test_a_drop_of_exactly_what_is_allowed_passes(tmp_path):
    report = check(tmp_path, grid(), grid(share(114)), rules(tmp_path, "[tiers.supporting]\nmax_drop = 0.03\n"))
    assert verdicts(report)["pgd"] == "PASS" and report.exit is Exit.PASS
    assert next(one for one in report.cells if "pgd" in one.name).adjusted < 0.05
    report = check(tmp_path, grid(), grid(share(113)), rules(tmp_path, "[tiers.supporting]\nmax_drop = 0.03\n"))
    assert verdicts(report)["pgd"] == "REGRESSED"


def test_a_significant_gain_is_an_improvement(tmp_path):
    report = check(tmp_path, grid(), grid(share(140)))
    assert verdicts(report)["pgd"] == "IMPROVED" and report.exit is Exit.PASS
    assert report.cells[0].gained == 20 and report.cells[0].drop == pytest.approx(-0.1)
    few = check(tmp_path, grid(), grid(share(122)))
    assert verdicts(few)["pgd"] == "PASS"


def test_too_few_clips_are_inconclusive_unless_there_is_nothing_to_lose(tmp_path):
    cells = [made_cell(share(30, 32)), made_cell(share(0, 32), attack=PGD)]
    report = check(tmp_path, cells, cells)
    assert verdicts(report) == {"clean": "INCONCLUSIVE", "pgd": "PASS"}
    assert report.exit is Exit.UNDECIDED
    assert report.cells[0].detectable == 5 / 32 > report.cells[0].must_see
    generous = rules(tmp_path, "[tiers.supporting]\nmax_drop = 0.2\n")
    assert check(tmp_path, cells, cells, generous).exit is Exit.PASS


def test_clips_of_one_video_see_less(tmp_path):
    apart, together = (check(tmp_path, grid(), grid()).cells[0], None)
    together = check(tmp_path, grid(per_source=4), grid(per_source=4)).cells[0]
    assert (together.groups, together.clips, together.detectable) == (50, 200, 5 / 50)
    assert together.detectable > apart.detectable


def test_a_cell_that_the_store_lacks_is_missing_and_one_that_it_has_besides_is_new(tmp_path):
    report = check(tmp_path, grid()[:2], [grid()[0], grid()[2]])
    assert verdicts(report) == {"pgd": "MISSING", "clean": "PASS"} and report.exit is Exit.REGRESSED
    assert report.new == ("tsm|none|gaussian_noise:3",)
    assert [(one.verdict, one.reason) for one in report.models] == [("INCOMPARABLE", "none of its 1 attacks could be compared")]


def test_a_failed_cell_is_an_error(tmp_path):
    cells = [grid()[0], made_cell([], attack=PGD, error="CUDA: out of memory")]
    report = check(tmp_path, grid()[:2], cells)
    assert (report.cells[0].verdict, report.cells[0].reason) == ("ERROR", "CUDA: out of memory")
    assert report.exit is Exit.REGRESSED


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"protocol": 3}, "protocol: 2 -> 3"),
        ({"dtype": "float16"}, "dtype: float32 -> float16"),
        ({"manifest_sha256": "0" * 64}, "manifest: 29982f58ad55 -> 000000000000"),
        ({"versions": {"dataset": "1", "model": "2"}}, "version of model: 1 -> 2"),
        ({"input": {"frames": 16, "size": 64}}, "input frames: 8 -> 16"),
        ({"strength": "first-success"}, "strength: full -> first-success"),
    ],
)
def test_other_conditions_are_incomparable_and_said(tmp_path, change, reason):
    report = check(tmp_path, grid(), grid(share(0), **change))
    assert {one.verdict for one in report.cells} == {"INCOMPARABLE"} and report.exit is Exit.UNDECIDED
    assert {one.reason for one in report.cells} == {reason}
    assert all(np.isnan(one.adjusted) and np.isnan(one.detectable) for one in report.cells)


def test_other_defaults_of_an_attack_are_incomparable_and_not_another_cell(tmp_path):
    before = made_cell(share(9), attack="pgd:eps=4/255,steps=50")
    after = made_cell(share(9), attack="pgd:eps=4/255,steps=50,loss=ce")  # spelled out, and the default all the same
    report = check(tmp_path, [before], [after])
    assert report.cells[0].verdict == "INCOMPARABLE" and report.new == ()
    assert report.cells[0].reason == "attack: pgd:eps=4/255,steps=50 -> pgd:eps=4/255,steps=50,loss=ce"


def test_no_clip_is_dropped_silently(tmp_path):
    after = grid()
    after[1]["clips"] = {key: values[:-2] for key, values in after[1]["clips"].items()}
    report = check(tmp_path, grid(), after)
    assert verdicts(report)["pgd"] == "INCOMPARABLE" and report.exit is Exit.UNDECIDED
    assert report.cells[0].reason == "2 clips only in the baseline: clip-0198, clip-0199"
    other = grid()
    other[0]["clips"]["group"] = ["one"] * CLIPS
    assert "source videos" in check(tmp_path, grid(), other).cells[0].reason


def test_clips_are_paired_by_id_and_not_by_place(tmp_path):
    after = grid()
    for cell in after:
        cell["clips"] = {key: values[::-1] for key, values in cell["clips"].items()}
    assert {(one.verdict, one.lost) for one in check(tmp_path, grid(), after).cells} == {("PASS", 0)}


def test_two_checkpoints_in_a_store_are_refused(tmp_path):
    mixed = [grid(weights_sha256="a" * 64)[0], grid(weights_sha256="b" * 64)[1]]
    with pytest.raises(InputError, match=r"two checkpoints of tsm: aaaaaaaaaaaa and bbbbbbbbbbbb"):
        check(tmp_path, grid(), mixed)


def test_of_several_runs_the_comparable_and_the_newest_counts(tmp_path):
    old, new = grid()[0], grid(clean=share(100))[0]
    new["cell"], new["spec"] = "0" * 24, new["spec"] | {"shifts": 3}
    for first, second, after in ((old, new, 0.5), (new, old, 0.95)):
        first["provenance"]["started"], second["provenance"]["started"] = "2026-01-01", "2026-02-01"
        assert check(tmp_path, [grid()[0]], [first, second]).cells[0].after == after
    other = made_cell(share(0), protocol=3)
    other["provenance"]["started"] = "2027-01-01"
    assert check(tmp_path, [grid()[0]], [other, grid()[0]]).cells[0].verdict == "PASS"


def test_advisory_and_acknowledged_cells_are_judged_and_fail_nothing(tmp_path):
    advisory = rules(tmp_path, '[cells]\n"*pgd*" = { tier = "advisory" }\n')
    report = check(tmp_path, grid(), grid(share(60)), advisory)
    assert report.cells[0].verdict == "REGRESSED" and report.cells[0].tier == "advisory"
    assert report.exit is Exit.PASS and report.models == ()
    entry = '[[acknowledged]]\ncell = "tsm|none|pgd*"\nuntil = 2026-12-31\nreason = "smaller model"\nby = "me"\n'
    report = check(tmp_path, grid(), grid(share(60)), rules(tmp_path, entry))
    assert report.cells[0].verdict == "REGRESSED" and report.cells[0].acknowledged.by == "me"
    assert report.exit is Exit.PASS
    report = check(tmp_path, grid(), grid(share(60), clean=share(100)), rules(tmp_path, entry))
    assert report.exit is Exit.REGRESSED, "the clean cell is nobody's"
    assert check(tmp_path, grid(), grid(), rules(tmp_path, entry)).cells[0].acknowledged is None
    with pytest.raises(InputError, match="matches no cell"):
        check(tmp_path, grid()[:1], grid(), rules(tmp_path, entry))


def test_tiers_and_patterns_set_what_is_allowed(tmp_path):
    chosen = rules(tmp_path, '[cells]\n"tsm|*|pgd*" = { max_drop = 0.3, tier = "critical" }\n')
    report = check(tmp_path, grid(), grid(share(70)), chosen)
    one = next(one for one in report.cells if "pgd" in one.name)
    assert (one.verdict, one.allowed, one.tier) == ("PASS", 0.3, "critical")


def test_the_worst_case_is_taken_per_clip_and_seen_though_no_cell_shows_it(tmp_path):
    """Two attacks that each lose other clips: six of 200 each, and twelve together."""
    attacks = [f"pgd:eps={k}/255" for k in (4, 8)]
    before = [made_cell(share(150), attack=attack) for attack in attacks]
    lost = [share(150), share(150)]
    lost[0][0:6], lost[1][6:12] = [0.0] * 6, [0.0] * 6
    after = [made_cell(right, attack=attack) for right, attack in zip(lost, attacks, strict=True)]
    report = check(tmp_path, before, after)
    (worst,) = report.models
    assert (worst.before, worst.after, worst.lost) == (0.75, 0.69, 12)
    assert worst.verdict == "REGRESSED"
    assert worst.adjusted < min(one.adjusted for one in report.cells)


def test_random_pipelines_are_compared_by_their_shares_of_passes(tmp_path):
    before, after = [0.9, 0.3, 0.7] * 40, [0.4, 0.3, 0.8] * 40
    report = check(tmp_path, [made_cell(before, defense="shuffle")], [made_cell(after, defense="shuffle")])
    (one,) = report.cells
    assert (one.verdict, one.lost, one.gained) == ("REGRESSED", 40, 40)
    assert one.drop == pytest.approx(0.4 / 3)


def test_the_worst_verdict_stands_first(tmp_path):
    after = [grid()[0] | {"clips": {}, "status": "error", "error": "x"}, grid(share(20))[1]]
    report = check(tmp_path, grid(), after)
    ranks = [list(VERDICTS).index(one.verdict) for one in report.cells]
    assert ranks == sorted(ranks) and len(set(ranks)) == 3


def test_a_seed_repeats_and_a_store_on_disk_is_read(tmp_path):
    store = put_all(tmp_path / "store", grid(np.random.default_rng(0).integers(0, 2, CLIPS).tolist()))
    (tmp_path / "baseline.json").write_text(baseline.make(Results(grid())), encoding="utf-8")
    reports = [judge(Results.read([store]), baseline.read(tmp_path / "baseline.json"), DEFAULT, 500, seed) for seed in (1, 1, 2)]
    assert reports[0].cells == reports[1].cells and reports[0].stores == (str(store),)
    assert (reports[0].draws, reports[0].seed) == (500, 1) and reports[0].exit is reports[2].exit
    json.dumps([one.name for one in reports[0].cells])
