"""Policies of the gate: which rule holds, and every mistake in a file as one clear line."""

from datetime import date

import pytest
from robustvideo.benchmark.core.errors import InputError
from robustvideo.leaderboard.gate.policy import FILE, read

TODAY = date(2026, 11, 21)
ENTRY = '[[acknowledged]]\ncell = "tsm|*"\nuntil = 2026-12-31\nreason = "new recipe"\nby = "me"\n'


def made(folder, text):
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return read(path, TODAY)


def test_without_a_file_the_shipped_one_holds():
    policy = read(None, TODAY)
    assert policy.name == "default"
    critical, supporting, advisory = (policy.tiers[tier] for tier in ("critical", "supporting", "advisory"))
    assert critical.max_drop < supporting.max_drop < advisory.max_drop
    assert policy.rule("tsm|none|clean") == supporting
    assert read(FILE, TODAY).tiers == policy.tiers, "the shipped file is itself a policy"


def test_a_file_changes_what_it_says_and_leaves_the_rest(tmp_path):
    policy = made(tmp_path, "[tiers.critical]\nmax_drop = 0.03\n")
    assert (policy.tiers["critical"].max_drop, policy.tiers["critical"].must_see) == (0.03, 0.03)
    assert policy.tiers["supporting"] == read(None, TODAY).tiers["supporting"]


def test_the_most_specific_pattern_decides_whatever_the_order(tmp_path):
    lines = [
        '"*" = { max_drop = 0.5 }',
        '"tsm|*|pgd*" = { max_drop = 0.03, tier = "critical" }',
        '"tsm|*" = { tier = "advisory" }',
    ]
    for order in (lines, lines[::-1]):
        policy = made(tmp_path, "[cells]\n" + "\n".join(order))
        rule = policy.rule("tsm|none|pgd:eps=8/255|white-box")
        assert (rule.tier, rule.max_drop, rule.must_see) == ("critical", 0.03, 0.03)
        assert policy.rule("tsm|none|clean") == policy.tiers["advisory"]
        assert policy.rule("r3d|none|clean").max_drop == 0.5
    twins = made(tmp_path, '[cells]\n"tsm|*a*" = { max_drop = 0.1 }\n"tsm|*c*" = { max_drop = 0.2 }')
    assert twins.rule("tsm|none|ac").max_drop == 0.1, "of equals the first"


def test_an_acknowledgement_holds_to_its_last_day(tmp_path):
    assert made(tmp_path, ENTRY).accepted("tsm|none|clean").by == "me"
    assert made(tmp_path, ENTRY).accepted("r3d|none|clean") is None
    assert made(tmp_path, ENTRY.replace("2026-12-31", '"2026-11-21"')).accepted("tsm|x").until == "2026-11-21"
    with pytest.raises(InputError, match=r"'tsm\|\*' by 'me' expired on 2026-11-20; renew it or remove it"):
        made(tmp_path, ENTRY.replace("2026-12-31", "2026-11-20"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[tiers.critical]\nmax_drop = 2\n", r"max_drop is 2; .*write 0\.02"),
        ("[tiers.critical]\nmax_drop = 1\n", r"write 0\.01"),
        ("[tiers.critical]\nmax_drop = -0.1\n", r"must be a fraction"),
        ("[tiers.critical]\nmax_drop = nan\n", r"must be a fraction"),
        ("[tiers.critical]\nmax_drop = true\n", r"must be a fraction"),
        ('[tiers.critical]\nmax_drop = "2 %"\n', r"must be a fraction"),
        ("[tiers.criticl]\nmax_drop = 0.1\n", r"unknown key 'criticl'; did you mean critical"),
        ("tiers = 3\n", r"tiers is no table"),
        ("[tiers]\ncritical = 0.1\n", r"must be a table"),
        ("[tier.critical]\nmax_drop = 0.1\n", r"unknown key 'tier'; did you mean tiers"),
        ('[cells]\n"a" = { max_dorp = 0.1 }\n', r"unknown key 'max_dorp'; did you mean max_drop"),
        ('[cells]\n"a" = { tier = "vital" }\n', r"tier is 'vital'; it must be critical, supporting, advisory"),
        ('[cells]\n"a" = 0.1\n', r"must be a table of tier, max_drop"),
        ("[acknowledged]\ncell = 'a'\n", r"write \[\[acknowledged\]\]"),
        (ENTRY.replace('by = "me"', 'by = " "'), r"lacks by"),
        (ENTRY.replace("until = 2026-12-31\n", ""), r"lacks until"),
        (ENTRY.replace("2026-12-31", '"soon"'), r"until is soon"),
        (ENTRY.replace("2026-12-31", "2026-12-31T10:00:00"), r"until is 2026-12-31 10:00:00"),
        (ENTRY + "note = 'x'\n", r"unknown key 'note'"),
        ("[tiers\n", r"is not TOML"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(tmp_path, text, told):
    with pytest.raises(InputError, match=told) as raised:
        made(tmp_path, text)
    assert str(raised.value).startswith("policy: ") and "policy.toml" in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path / "none.toml", TODAY)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not TOML"):
        read(tmp_path / "bytes.toml", TODAY)


def test_what_matches_no_cell_is_refused(tmp_path):
    cells = ["tsm|none|clean", "tsm|none|pgd|white-box"]
    made(tmp_path, '[cells]\n"*|pgd|*" = { tier = "critical" }\n' + ENTRY).require(cells)
    with pytest.raises(InputError, match=r"the pattern 'tms\|\*' matches no cell of the baseline"):
        made(tmp_path, '[cells]\n"tms|*" = { tier = "critical" }\n').require(cells)
    with pytest.raises(InputError, match=r"the acknowledgement of 'r3d\|\*' matches no cell of the baseline"):
        made(tmp_path, ENTRY.replace("tsm", "r3d")).require(cells)
