"""What gets into a wheel."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REPORT = "leaderboard/claims/"
"""For readers of the repository; the program makes its own."""

FOLDERS = ("attacks", "benchmark", "corruptions", "defenses", "leaderboard")


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    listed = subprocess.run(["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode or not listed.stdout:
        pytest.skip("no git checkout")
    names = [name for name in listed.stdout.split("\n") if name and not name.startswith(REPORT)]
    return {name for name in names if (ROOT / name).is_file()}


def test_the_wheel_holds_what_git_holds(tracked, tmp_path):
    source = tmp_path / "source"  # a copy, so that no build folder of an earlier wheel can add to this one
    for name in (*tracked, "pyproject.toml", "README.md", "LICENSE"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", tmp_path, source]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert inside == {f"robustvideo/{name}" for name in tracked}


def test_shipped_data_stay_small(tracked):
    clips = sum((ROOT / name).stat().st_size for name in tracked if name.endswith(".mp4"))
    assert 1_000_000 < clips < 4_000_000
    for name in tracked:
        if name.endswith(".safetensors"):
            assert (ROOT / name).stat().st_size < 2_000_000, name
