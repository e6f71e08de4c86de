"""`vbench check` and `vbench baseline` from files to exit codes: what each input comes to, and never a traceback."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from gate_verbs import vbench
from stores import PGD, made_cell, put_all

CLIPS = 200
RIGHT = [1.0] * 160 + [0.0] * 40


def cells(clean=RIGHT, attacked=RIGHT, **spec):
    return [made_cell(clean, **spec), made_cell(attacked, attack=PGD, **spec)]


@pytest.fixture
def before(tmp_path):
    """A baseline of two cells of 200 clips, 80 % right."""
    return baseline_of(tmp_path, cells())


def baseline_of(folder, made):
    ran = vbench("baseline", put_all(folder / "before", made), "--out", folder / "base.json")
    assert ran.code == 0, ran
    return folder / "base.json"


def check(folder, made, baseline, *more, **environment):
    return vbench("check", put_all(folder / "after", made), "--baseline", baseline, *more, **environment)


LOST = [0.0] * 40 + [1.0] * 120 + [0.0] * 40


# --- exit codes


def test_nothing_lost_is_0(before, tmp_path):
    ran = check(tmp_path, cells(weights_sha256="b" * 64), before)
    assert ran.code == 0 and ran.out.splitlines()[-1].startswith("passed (exit code 0): 2 PASS; worst cases of models: 1 PASS;")


def test_a_regression_is_1_and_says_what(before, tmp_path):
    ran = check(tmp_path, cells(attacked=LOST, weights_sha256="b" * 64), before)
    assert ran.code == 1
    row = next(line for line in ran.out.splitlines() if line.startswith("│ REGRESSED") and "white-box" in line)
    shown = [cell.strip() for cell in row.split("│")][1:-1]
    assert shown[3:7] == ["80.0 -> 60.0", "20.0", "40/0", "<0.001"]
    assert "lost: clip-0000, clip-0001" in ran.out and "and 30 more" in ran.out


def test_a_missing_cell_is_1(before, tmp_path):
    ran = check(tmp_path, cells()[:1], before)
    assert ran.code == 1 and "MISSING tsm|none|pgd" in ran.out


def test_a_failed_cell_is_1(before, tmp_path):
    ran = check(tmp_path, [cells()[0], made_cell(RIGHT, attack=PGD, error="CUDA out of memory")], before)
    assert ran.code == 1 and "ERROR tsm|none|pgd" in ran.out and "CUDA out of memory" in ran.out


def test_too_few_clips_are_3_unless_allowed(tmp_path):
    few = [made_cell([1.0] * 8), made_cell([1.0] * 8, attack=PGD)]
    base = baseline_of(tmp_path, few)
    assert check(tmp_path, few, base).code == 3
    ran = check(tmp_path, few, base, "--allow-inconclusive")
    assert ran.code == 0 and ran.out.splitlines()[-1].startswith("passed (exit code 0): 2 INCONCLUSIVE")


def test_other_clips_are_3(before, tmp_path):
    shorter = [made_cell(RIGHT[:150]), made_cell(RIGHT[:150], attack=PGD)]
    ran = check(tmp_path, shorter, before, "--allow-inconclusive")
    assert ran.code == 3 and "INCOMPARABLE tsm|none|clean: 50 clips only in the baseline: clip-0150" in ran.out


def test_another_protocol_is_3(tmp_path):
    ran = check(tmp_path, cells(), baseline_of(tmp_path, cells(protocol=1)))
    assert ran.code == 3 and "INCOMPARABLE tsm|none|clean: protocol: 1 -> 2" in ran.out


def test_another_component_version_is_3(before, tmp_path):
    ran = check(tmp_path, cells(versions={"dataset": "1", "model": "2"}), before)
    assert ran.code == 3 and "version of model: 1 -> 2" in ran.out


# --- bad input is one line and 2


def refused(ran, *says):
    assert ran.code == 2 and ran.out == "" and len(ran.error.splitlines()) == 1, ran
    assert all(one in ran.error for one in says), ran.error
    return True


def test_a_truncated_cell(before, tmp_path):
    store = put_all(tmp_path / "after", cells())
    path = next(store.glob("cells/??/*.json"))
    path.write_text(path.read_text()[:-20])
    refused(vbench("check", store, "--baseline", before), "store: ", f"{path} is not JSON")


def test_a_store_without_cells(before, tmp_path):
    refused(vbench("check", tmp_path / "nothing", "--baseline", before), "store: ", "holds no cells")
    (tmp_path / "empty" / "cells").mkdir(parents=True)
    refused(vbench("baseline", tmp_path / "empty"), "holds no cells")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema": 99}', '{"schema": 1}', "\x00", "[" * 100_000])
def test_a_file_that_is_no_baseline(tmp_path, content):
    (tmp_path / "base.json").write_text(content)
    refused(check(tmp_path, cells(), tmp_path / "base.json"), "baseline: ", "base.json")


def test_a_truncated_baseline(before, tmp_path):
    before.write_text(before.read_text()[:-30])
    refused(check(tmp_path, cells(), before), "is not JSON")


def test_files_that_are_not_there(before, tmp_path):
    refused(check(tmp_path, cells(), tmp_path / "no.json"), "baseline: cannot read", "no.json")
    refused(check(tmp_path, cells(), before, "--policy", tmp_path / "no.toml"), "policy: cannot read", "no.toml")


ACCEPT = '[[acknowledged]]\ncell = "{cell}"\nuntil = {until}\nreason = "faster"\nby = "us"\n'


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (ACCEPT.format(cell="tsm|none|pgd*", until="2020-01-31"), "expired on 2020-01-31"),
        (ACCEPT.format(cell="r3d|*", until="2999-01-31"), "the acknowledgement of 'r3d|*' matches no cell of the baseline"),
        ('[cells]\n"tsm|*|fgsm*" = { max_drop = 0.1 }\n', "the pattern 'tsm|*|fgsm*' matches no cell of the baseline"),
        ("[tiers.critical]\nmax_drop = 2\n", "write 0.02"),
        ("tiers = ", "is not TOML"),
    ],
)
def test_a_policy_that_cannot_hold(before, tmp_path, policy, says):
    (tmp_path / "policy.toml").write_text(policy)
    refused(check(tmp_path, cells(), before, "--policy", tmp_path / "policy.toml"), "policy: ", says)


def test_an_accepted_regression_passes_and_is_told(before, tmp_path):
    (tmp_path / "policy.toml").write_text(ACCEPT.format(cell="tsm|none|pgd*", until="2999-01-31"))
    ran = check(tmp_path, cells(attacked=LOST, weights_sha256="b" * 64), before, "--policy", tmp_path / "policy.toml")
    assert ran.code == 0 and "│ REGRESSED (accepted)" in ran.out and "accepted until 2999-01-31 by us: faster" in ran.out


# --- formats


def test_several_formats_at_once(before, tmp_path):
    summary, xml, comment = tmp_path / "summary.md", tmp_path / "out" / "report.xml", tmp_path / "comment.md"
    formats = f"text,github,junit={xml},markdown={comment}"
    ran = check(tmp_path, cells(attacked=LOST), before, "--format", formats, GITHUB_STEP_SUMMARY=str(summary))
    assert ran.code == 1 and ran.out.index("│ REGRESSED") < ran.out.index(f"::error file={before},line=")
    assert ElementTree.parse(xml).getroot().get("failures") == "2"
    assert comment.read_text() == summary.read_text() and "**REGRESSED**" in comment.read_text()


def test_the_annotated_line_of_the_baseline_is_the_cell(before, tmp_path):
    ran = check(tmp_path, cells(attacked=LOST), before, "--format", "github")
    numbers = [int(line.split("line=")[1].split(",")[0]) for line in ran.out.splitlines() if line.startswith("::error")]
    assert len(numbers) == 2 and all('"name":"tsm|none|pgd' in before.read_text().splitlines()[number - 1] for number in numbers)


def test_text_stays_on_stdout_when_all_formats_are_files(before, tmp_path):
    ran = check(tmp_path, cells(), before, "--format", f"json={tmp_path}/a.json", "--format", f"junit={tmp_path}/a.xml")
    assert ran.out.splitlines()[-1].startswith("passed") and json.loads((tmp_path / "a.json").read_text())["exit"] == 0
    assert ElementTree.parse(tmp_path / "a.xml").getroot().get("tests") == "3"


def test_json_alone_is_json(before, tmp_path):
    assert json.loads(check(tmp_path, cells(), before, "--format", "json").out)["baseline"] == str(before)


def test_no_summary_without_the_github_format(before, tmp_path):
    check(tmp_path, cells(), before, GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"))
    assert not (tmp_path / "summary.md").exists()


@pytest.mark.parametrize(
    ("format", "says"),
    [
        ("xml", "'xml' is unknown"),
        ("junit=", "'junit=' is unknown"),
        ("text,", "'' is unknown"),
        ("text,json", "text and json cannot share stdout"),
        ("junit=a,json=a", "a is named twice"),
    ],
)
def test_formats_that_cannot_be(before, tmp_path, format, says):
    refused(check(tmp_path, cells(), before, "--format", format), "format: ", says)


def test_a_report_that_cannot_be_written(before, tmp_path):
    (tmp_path / "file").write_text("")
    ran = check(tmp_path, cells(), before, "--format", f"junit={tmp_path}/file/report.xml")
    assert ran.code == 2 and ran.error.startswith("output: cannot write ") and len(ran.error.splitlines()) == 1


# --- baseline


def test_a_baseline_on_stdout_is_the_file(before, tmp_path):
    assert vbench("baseline", tmp_path / "before").out == before.read_text()


def test_a_baseline_of_several_stores(tmp_path):
    one, other = put_all(tmp_path / "one", cells()[:1]), put_all(tmp_path / "other", cells()[1:])
    assert len(json.loads(vbench("baseline", one, other).out)["cells"]) == 2


def test_failed_cells_are_left_out_and_told(tmp_path):
    store = put_all(tmp_path / "store", [cells()[0], made_cell(RIGHT, attack=PGD, error="out of memory")])
    ran = vbench("baseline", store)
    assert ran.code == 0 and len(json.loads(ran.out)["cells"]) == 1
    assert ran.error == "vbench: 1 failed cells are left out, the first: out of memory\n"


def test_a_store_of_failed_cells_is_no_baseline(tmp_path):
    refused(vbench("baseline", put_all(tmp_path / "store", [made_cell(RIGHT, error="no")])), "no cell that was measured")


def test_a_baseline_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    refused(vbench("baseline", put_all(tmp_path / "store", cells()), "--out", tmp_path / "file" / "base.json"), "cannot write")


# --- help


def test_help_imports_neither_torch_nor_pandas():
    code = "import sys; from robustvideo.benchmark.cli import check; print({'torch', 'pandas', 'scipy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_help_has_the_exit_codes():
    told = " ".join(vbench("check", "--help").out.split())
    assert all(f"{code} " in told for code in range(4)) and "REGRESSED" in told and "INCONCLUSIVE" in told
