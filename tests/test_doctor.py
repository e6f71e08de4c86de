"""What a machine has: each finding is made to fail once."""

import json
import sys
from importlib.metadata import PackageNotFoundError

import pytest
import torch
from robustvideo.benchmark.cli.main import main
from robustvideo.benchmark.evaluation import doctor
from robustvideo.benchmark.evaluation.doctor import Finding


@pytest.fixture
def said(monkeypatch, capsys, tmp_path):
    """`vbench doctor` without its mock run: exit code and findings by name."""
    runs = []

    def mock():
        runs.append(1)
        return [Finding("mock run", "ok", "not run")]

    monkeypatch.setattr(doctor, "mock_run", mock)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["vbench", "doctor", "--json", "--store", str(tmp_path / "store"), *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        found = {one["what"]: one for one in json.loads(capsys.readouterr().out)}
        assert ("mock run" in found) == bool(runs)
        runs.clear()
        return end.value.code, found

    return run


def test_a_sound_machine(said):
    code, found = said()
    assert code == 0 and not any(one["state"] == "fail" for one in found.values())
    assert found["torch"]["said"].startswith(torch.__version__) and found["H.264"]["state"] == "ok"
    assert {"python", "store", "cache", "name", "ray", "peers", "mock run"} <= found.keys()


def test_the_mock_run_runs():
    (found,) = doctor.mock_run()
    assert found.state == "ok" and "2 clips" in found.said and " s on " in found.said


def test_a_folder_that_cannot_be_written_fails_and_nothing_is_run(said, tmp_path):
    (tmp_path / "store").write_text("a file")
    code, found = said("--store", str(tmp_path / "store" / "inside"))
    assert code == 1 and found["store"]["state"] == "fail" and "cannot be written" in found["store"]["said"]
    assert "mock run" not in found


def test_little_room_is_a_warning(said, monkeypatch):
    monkeypatch.setattr(doctor, "FREE", 1 << 62)
    code, found = said()
    assert code == 0 and found["store"]["state"] == found["cache"]["state"] == "warn" and "make room" in found["store"]["said"]


def test_another_vbench_is_told(said, tmp_path, monkeypatch):
    info = tmp_path / "site" / "vbench-0.1.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vbench\nVersion: 0.1.5\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    code, found = said()
    assert code == 0 and found["name"]["state"] == "warn" and "vbench 0.1.5" in found["name"]["said"]


def test_a_broken_codec_fails(said, monkeypatch):
    monkeypatch.setattr("av.open", lambda *args, **options: (_ for _ in ()).throw(ValueError("no encoder libx264\nmore")))
    code, found = said()
    assert code == 1 and found["H.264"]["said"] == "ValueError: no encoder libx264"
    assert [found[name]["state"] for name in ("H.264", "MPEG-4", "VP9")] == ["fail", "warn", "warn"]


def test_a_gpu_that_torch_does_not_reach_is_a_warning(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "DRIVER", tmp_path / "version")
    assert doctor.devices()[1] == Finding("device", "ok", "cpu only: there is no NVIDIA driver")
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX Kernel Module  570.86.15  Thu Jan 23")
    _, device = doctor.devices()
    assert device.state == "warn" and "570.86.15" in device.said


def test_a_missing_extra_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert all(one.state == "ok" and f"robustvideo[{one.what}]" in one.said for one in doctor.extras())


def test_failed_cells_fail_the_mock_run(monkeypatch):
    def broken(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", broken)
    assert "not installed" in doctor.python().said
    import pandas as pd

    rows = pd.DataFrame({"status": ["ok", "error"], "error": ["", "no such thing"], "device": ["cpu", "cpu"]})
    monkeypatch.setattr("robustvideo.benchmark.evaluation.api.evaluate", lambda *args, **options: rows)
    assert doctor.mock_run() == [Finding("mock run", "fail", "1 of 2 cells failed: no such thing")]
