"""A release that lost robustness is stopped: vbench's own gate, as `.ci/run` calls it, on other weights, measured for real."""

import json
import shlex
from pathlib import Path

import pytest
import torch
from gate_verbs import vbench
from robustvideo.benchmark.models import zoo
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def gate(tmp_path, monkeypatch):
    """Runs the commands of the gate for weights; returns how it ended, its text and what it found."""
    monkeypatch.chdir(ROOT)

    def run(state):
        save_file(state, tmp_path / "new.safetensors")
        calls = [line for line in Path(".ci/run").read_text(encoding="utf-8").splitlines() if line.startswith("vbench ")]
        *measured, check = [shlex.split(call.replace("$scratch", str(tmp_path)))[1:] for call in calls]
        for call in measured:
            ran = vbench(*call, "--weights", tmp_path / "new.safetensors")
            assert ran.code == 0, ran
        ended = vbench(*check, "--format", f"text,json={tmp_path}/report.json")
        return ended.code, ended.out, json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))

    return run


@pytest.fixture
def weights():
    return load_file(zoo.FOLDER / "tsm-tiny.shapes.safetensors")


def test_a_harmed_checkpoint_is_stopped_by_name(gate, weights):
    noise = torch.randn(weights["conv1.weight"].shape, generator=torch.Generator().manual_seed(0))
    code, told, found = gate(weights | {"conv1.weight": weights["conv1.weight"] + 0.05 * noise})
    assert code == 1
    verdicts = {cell["name"]: cell["verdict"] for cell in found["cells"] + found["models"]}
    assert verdicts["tsm|none|clean"] != "REGRESSED", "which clean accuracy alone would have let through"
    attacked = {name for name in verdicts if "|pgd:" in name or name.endswith("|worst")}
    assert len(attacked) == 5 and {verdicts[name] for name in attacked} == {"REGRESSED"}
    (line,) = [line for line in told.splitlines() if line.startswith("REGRESSED tsm|none|pgd:steps=3|white-box: ")]
    assert "lost: shapes-test-" in line


def test_the_shipped_weights_pass(gate, weights):
    code, told, found = gate(weights)
    assert code == 0 and told.splitlines()[-1].startswith("passed (exit code 0): ")
    assert len(found["cells"]) == 6 and found["new"] == [], "the baseline is of this grid"
    assert all(cell["after"] is not None and cell["p"] is not None for cell in found["cells"]), "each was compared"
