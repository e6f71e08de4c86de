"""Every format of a verdict, read back by somebody else's parser; hostile names stay text in all of them."""

import dataclasses
import json
import re
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from robustvideo.benchmark.core.errors import InputError
from robustvideo.leaderboard.gate import as_json, github, junit, markdown, text
from robustvideo.leaderboard.gate.check import end_of
from robustvideo.leaderboard.gate.judged import VERDICTS, Acknowledgement, Exit, Judged, Report
from robustvideo.leaderboard.gate.words import COLUMNS

HOSTILE = (
    "<script>alert(1)</script>",
    "a,b|c\nd\r\n::error::e",
    "x" * 200,
    "\u202eright to left \u05d0\u05d1",
    "=1+1",
    "&amp; % %0A _ \\ ` ``` * [a](b) @you #1 $x$ http://x.y",
    "\x00\x08\x1b[31m\ud800\uffff",
)
ACCEPTED = Acknowledgement("*", "2999-01-01", "a trade, 50 % faster", "the team")


def judged(verdict="PASS", name="tsm|none|pgd|white-box", **more):
    numbers = dict(before=0.9, after=0.5, clips=64, groups=64, lost=28, gained=2, p=0.00001, adjusted=0.0004, allowed=0.02)
    numbers |= dict(detectable=0.078, lost_clips=tuple(f"clip-{k:02d}" for k in range(28)), line=7)
    numbers |= dict(gained_clips=("clip-60", "clip-61"))
    if verdict in ("MISSING", "ERROR", "INCOMPARABLE"):
        numbers = dict(before=0.9, after=float("nan"), reason="the store does not have it", line=7)
    return Judged(name, "tsm", "none", "pgd", "white-box", more.pop("tier", "supporting"), verdict, **(numbers | more))


def report(*cells, models=(), exit=Exit.REGRESSED, new=(), baseline="base.json"):
    return Report(tuple(cells), tuple(models), baseline, ("store",), "default", 2000, 0, tuple(new), exit)


EVERY = report(
    *(judged(one, f"tsm|none|{one.lower()}|white-box") for one in VERDICTS), models=[judged("REGRESSED", "tsm|none|worst")]
)


def all_formats(one):
    return [text.render(one), github.annotations(one), junit.render(one), markdown.render(one), as_json.render(one)]


# --- text


def test_text_tells_the_numbers_and_ends_with_the_verdict():
    lines = text.render(report(judged("REGRESSED"), judged("PASS", "tsm|none|clean"), new=["r3d|none|clean"])).splitlines()
    (row,) = [line for line in lines if line.startswith("│ REGRESSED")]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    named = ["REGRESSED", "tsm|none|pgd|white-box", "supporting", "90.0 -> 50.0", "40.0", "28/2", "<0.001", "<0.001", "7.8"]
    assert "|".join(cells) == "|".join(named)
    (about,) = [line for line in lines if line.startswith("REGRESSED tsm")]
    assert about.endswith("; lost: " + ", ".join(f"clip-{k:02d}" for k in range(10)) + " and 18 more; gained: clip-60, clip-61")
    many = text.render(report(judged("SUSPECT", lost_clips=(), gained_clips=tuple(f"clip-{k:02d}" for k in range(11)))))
    assert "clip-09 and 1 more" in many and "lost: " not in many
    assert "1 cells of the store are not in the baseline and were not judged: r3d|none|clean" in lines
    assert lines[-1] == "failed (exit code 1): 1 REGRESSED, 1 PASS; against base.json, policy default, sign flips 2000, seed 0"


def test_no_number_is_a_dash():
    row = next(line for line in text.render(report(judged("MISSING"))).splitlines() if line.startswith("│ MISSING"))
    assert [cell.strip() for cell in row.strip("│").split("│")][-6:] == ["90.0 -> -", "-", "-", "-", "-", "-"]


def test_an_assertion_names_only_what_fails():
    cells = [
        judged("REGRESSED", "bad"),
        judged("PASS", "good"),
        judged("SUSPECT", "odd"),
        judged("MISSING", "off", tier="advisory"),
    ]
    told = text.failures(report(*cells, judged("REGRESSED", "known", acknowledged=ACCEPTED)))
    assert "REGRESSED bad" in told and not any(name in told for name in ("good", "odd", "off", "known"))


# --- github


def unescaped(value):
    for code, letter in (("%2C", ","), ("%3A", ":"), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")):
        value = value.replace(code, letter)
    return value


def commands(told):
    """As the runner reads them: lines that start with `::`, properties up to the next `::`."""
    found = [re.fullmatch(r"::(\w+) (.*?)::(.*)", line) for line in told.splitlines() if line.lstrip().startswith("::")]
    assert all(found), told
    return [
        (one[1], {key: unescaped(value) for key, value in (pair.split("=", 1) for pair in one[2].split(","))}, unescaped(one[3]))
        for one in found
        if one
    ]


def test_annotations_stand_at_the_line_of_the_baseline():
    level, place, message = commands(github.annotations(report(judged("REGRESSED"), baseline="a,b: 5 %.json")))[0]
    assert (level, place) == ("error", {"file": "a,b: 5 %.json", "line": "7", "title": "REGRESSED tsm|none|pgd|white-box"})
    assert message.startswith("90.0 % -> 50.0 %") and message.split("\n")[1].startswith("lost: clip-00, clip-01")
    assert message.split("\n")[2:] == ["gained: clip-60, clip-61"]


def test_at_most_ten_annotations_errors_first():
    many = [judged("SUSPECT", f"s{k}") for k in range(6)] + [judged("REGRESSED", f"r{k}") for k in range(8)]
    told = github.annotations(report(*many, judged("REGRESSED", "known", acknowledged=ACCEPTED), judged("PASS", "fine")))
    assert [level for level, _, _ in commands(told)] == ["error"] * 8 + ["warning"] * 2
    assert told.splitlines()[-2] == "5 more are in the summary of the job"


def test_levels():
    found = {place["title"].split()[0]: level for level, place, _ in commands(github.annotations(EVERY))}
    errors, warnings = ("ERROR", "MISSING", "REGRESSED", "INCOMPARABLE"), ("SUSPECT", "INCONCLUSIVE")
    assert found == dict.fromkeys(errors, "error") | dict.fromkeys(warnings, "warning")


@pytest.mark.parametrize("taken", [0, 1000, 1024 * 1024 - 5000, 1024 * 1024 - 3, 1024 * 1024 + 5])
def test_a_summary_is_added_and_never_larger_than_github_takes(tmp_path, taken):
    file = tmp_path / "summary.md"
    file.write_text("x" * taken)
    cells = [judged("REGRESSED", "n" * 9000 + f"|{k}") for k in range(300)]
    github.append_summary(report(*cells), file)
    assert file.read_text().startswith("x" * taken) and file.stat().st_size <= max(taken, 1024 * 1024)
    if taken < 2000:
        assert file.stat().st_size > 500_000


def test_a_summary_has_the_worst_200_rows(tmp_path):
    cells = [judged("REGRESSED", "bad")] + [judged("PASS", f"fine{k}") for k in range(300)]
    github.append_summary(report(*cells), tmp_path / "new.md")
    told = (tmp_path / "new.md").read_text()
    assert told.count("**PASS**") == 199 and "101 more rows are not shown" in told


def test_a_summary_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(InputError, match="^GITHUB_STEP_SUMMARY: cannot write "):
        github.append_summary(EVERY, tmp_path / "no" / "folder.md")


# --- markdown


def rows_of(told):
    page = ElementTree.fromstring(f"<div>{MarkdownIt('commonmark').enable('table').render(told)}</div>")
    return page, [["".join(cell.itertext()) for cell in row] for row in page.iter("tr")]


def test_markdown_is_a_table_of_the_worst_first():
    page, rows = rows_of(markdown.render(EVERY))
    assert rows[0] == list(COLUMNS)
    assert [row[0] for row in rows[1:]] == ["ERROR", "MISSING", "REGRESSED", "REGRESSED", *list(VERDICTS)[3:]]
    assert page.findtext("h3") == "vbench check: failed"
    about = ["".join(one.itertext()) for one in page.findall(".//li")]
    assert len(about) == 7  # all but IMPROVED and PASS
    assert sum(one.strip().endswith("and 18 more; gained: clip-60, clip-61") for one in about) == 4


def test_a_comment_fits_into_githubs_limit():
    told = markdown.render(report(*(judged("REGRESSED", "🎬|" * 300 + str(k)) for k in range(200))))
    assert len(told) < 65_536 and "more rows are not shown" in told


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text_in_markdown(name):
    bad = judged("REGRESSED", name, reason=name, lost_clips=(name,), gained_clips=(name,))
    page, rows = rows_of(markdown.render(report(bad, new=[name], baseline=name)))
    assert len(rows) == 2 and len(rows[1]) == len(COLUMNS)
    assert rows[1][1] == as_shown(name)
    assert {one.tag for one in page.iter()} <= {
        "div",
        "h3",
        "p",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "strong",
        "code",
        "ul",
        "li",
    }


def as_shown(name):
    """By json, which escapes in much the same way."""
    visible = "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in name)
    return re.sub(r"\\u00([01].)", r"\\x\1", visible.replace("\\b", "\\x08"))


# --- junit


def test_junit_is_read_by_a_parser_and_adds_up():
    root = ElementTree.fromstring(junit.render(EVERY))
    (suite,) = root
    assert root.tag == "testsuites" and suite.get("name") == "tsm|none"
    found = {case.get("name"): [child.tag for child in case] for case in suite}
    outcomes = {"regressed": "failure", "error": "error", "missing": "error", "incomparable": "error", "inconclusive": "skipped"}
    expected = {f"{one.lower()}|white-box": [outcomes.get(one.lower(), "system-out")] for one in VERDICTS}
    assert found == expected | {"worst": ["failure"]}
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"), ("tests", "testcase")):
        assert int(suite.get(key)) == int(root.get(key)) == len(suite.findall(f".//{tag}"))
    failure = suite.find("./testcase[@name='regressed|white-box']/failure")
    assert "28 clips lost and 2 gained of 64" in failure.text
    assert failure.text.endswith("clip-09 and 18 more\ngained: clip-60, clip-61")


def test_junit_skips_what_fails_nothing():
    cells = judged("REGRESSED", acknowledged=ACCEPTED), judged("MISSING", tier="advisory")
    skipped = ElementTree.fromstring(junit.render(report(*cells, exit=Exit.PASS))).findall(".//skipped")
    assert len(skipped) == 2 and "accepted until 2999-01-01 by the team: a trade, 50 % faster" in skipped[0].get("message")


# --- all


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name):
    bad = judged("REGRESSED", f"{name}|none|{name}", reason=name, lost_clips=(name,), gained_clips=(name,))
    one = report(bad, models=[bad], new=[name])
    told, annotated, xml, _, _ = all_formats(one)
    assert all(letter.isprintable() or letter == "\n" for letter in told + annotated + xml)
    assert len(commands(annotated)) == 2
    case = ElementTree.fromstring(xml).find(".//testcase")
    assert case is not None and case.get("classname") == as_shown("|".join(f"{name}|none|{name}".split("|", 2)[:2]))
    (found,) = json.loads(as_json.render(one))["cells"]
    assert found["lost_clips"] == found["gained_clips"] == [name]


def test_json_has_everything_and_null_for_no_number():
    told = as_json.render(EVERY)
    found = json.loads(told, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    assert found["exit"] == 1 and [cell["verdict"] for cell in found["cells"]] == list(VERDICTS)
    missing = found["cells"][1]
    assert missing.keys() == {field.name for field in dataclasses.fields(Judged)} | {"drop"}
    assert missing["after"] is None and missing["drop"] is None and found["cells"][2]["drop"] == pytest.approx(0.4)


def test_an_empty_report_has_every_format():
    assert all(all_formats(report(exit=Exit.PASS)))


# --- exit codes


@pytest.mark.parametrize(
    ("exit", "verdicts", "allowed", "code"),
    [
        (Exit.UNDECIDED, ("INCONCLUSIVE",), False, 3),
        (Exit.UNDECIDED, ("INCONCLUSIVE",), True, 0),
        (Exit.UNDECIDED, ("INCONCLUSIVE", "INCOMPARABLE"), True, 3),
        (Exit.REGRESSED, ("REGRESSED", "INCONCLUSIVE"), True, 1),
        (Exit.PASS, ("PASS",), True, 0),
    ],
)
def test_inconclusive_cells_may_be_allowed_and_nothing_else(exit, verdicts, allowed, code):
    assert end_of(report(*map(judged, verdicts), exit=exit), allowed) == code
