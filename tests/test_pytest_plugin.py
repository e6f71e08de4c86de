"""The pytest plug-in, in runs of pytest of their own: found by its entry point, as in a foreign project."""

import tomllib
from pathlib import Path

import pytest
from gate_verbs import vbench
from robustvideo.leaderboard.gate import assert_no_regression
from stores import PGD, made_cell, put_all

pytest_plugins = "pytester"

RIGHT, LOST = [1.0] * 60 + [0.0] * 20, [0.0] * 20 + [1.0] * 40 + [0.0] * 20


@pytest.fixture
def project(pytester, monkeypatch, tmp_path_factory):
    """A foreign project with stores, in an environment that has the plug-in's entry point."""
    installed = tmp_path_factory.mktemp("site") / "gate-0.dist-info"
    installed.mkdir()
    entries = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: gate\nVersion: 0\n")
    (installed / "entry_points.txt").write_text(
        "[pytest11]\n" + "".join(f"{name} = {where}\n" for name, where in entries.items())
    )
    monkeypatch.setenv("PYTHONPATH", str(installed.parent))
    put_all(pytester.path / "before", [made_cell(RIGHT), made_cell(RIGHT, attack=PGD)])
    put_all(pytester.path / "lost", [made_cell(RIGHT), made_cell(LOST, attack=PGD)])
    assert vbench("baseline", pytester.path / "before", "--out", pytester.path / "base.json").code == 0
    return pytester


def test_the_fixture_passes_and_fails_as_the_gate_does(project):
    project.makepyfile(
        """
        def test_kept(assert_no_regression):
            assert_no_regression("before", "base.json")

        def test_lost(assert_no_regression):
            assert_no_regression("lost", "base.json")

        def test_nothing(assert_no_regression):
            assert_no_regression("nowhere", baseline="base.json", policy=None)
        """
    )
    ran = project.runpytest_subprocess()
    ran.assert_outcomes(passed=1, failed=2)
    told = ran.stdout.str()
    row = next(line for line in told.splitlines() if "REGRESSED" in line and "white-box" in line and "75.0 -> 50.0" in line)
    assert "20/0" in row and "lost: clip-0000, clip-0001" in told and "and 10 more" in told
    assert "tsm|none|clean" not in told  # it passed
    assert "vbench: store: nowhere holds no cells" in told and "InputError" not in told


def test_a_foreign_run_gets_nothing_heavy(project):
    project.makepyfile(
        """
        import sys

        def test_light(request):
            assert request.config.pluginmanager.has_plugin("robustvideo")
            heavy = {"torch", "pandas", "numpy", "scipy", "rich", "typer"} & set(sys.modules)
            assert not heavy
        """
    )
    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_project_can_have_a_fixture_of_that_name(project):
    project.makeconftest("import pytest\n@pytest.fixture\ndef assert_no_regression():\n    return 7\n")
    project.makepyfile("def test_own(assert_no_regression):\n    assert assert_no_regression == 7")
    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_the_function_takes_several_stores_and_a_policy(project):
    (project.path / "policy.toml").write_text('[cells]\n"tsm|*" = { max_drop = 0.3 }\n')
    stores = [put_all(project.path / str(k), [cell]) for k, cell in enumerate((made_cell(RIGHT), made_cell(LOST, attack=PGD)))]
    assert_no_regression(stores, project.path / "base.json", project.path / "policy.toml")
    with pytest.raises(AssertionError, match=r"(?s)REGRESSED.*tsm\|none\|pgd.*failed \(exit code 1\)"):
        assert_no_regression(stores, project.path / "base.json")


def test_undecided_fails_unless_it_is_allowed(tmp_path):
    store = put_all(tmp_path / "store", [made_cell([1.0] * 8)])
    assert vbench("baseline", store, "--out", tmp_path / "base.json").code == 0
    with pytest.raises(AssertionError, match=r"INCONCLUSIVE tsm\|none\|clean"):
        assert_no_regression(store, tmp_path / "base.json")
    assert_no_regression(store, tmp_path / "base.json", allow_inconclusive=True)
