"""A release that lost robustness is stopped: other weights, the same cells, measured for real."""

import json

import pytest
import torch
from gate_verbs import vbench
from robustvideo.benchmark.models import zoo
from safetensors.torch import load_file, save_file

GRID = ("--model", "tsm", "--attack", "pgd:eps=2/255,steps=3", "--limit", 24, "--quiet")


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The baseline of the shipped weights."""
    folder = tmp_path_factory.mktemp("released")
    assert vbench("run", *GRID, "--store", folder / "store").code == 0
    assert vbench("baseline", folder / "store", "--out", folder / "baseline.json").code == 0
    return folder / "baseline.json"


@pytest.fixture(scope="module")
def weights():
    return load_file(zoo.FOLDER / "tsm-tiny.shapes.safetensors")


def check_weights(state, folder, released, *more):
    save_file(state, folder / "new.safetensors")
    ran = vbench("run", *GRID, "--weights", folder / "new.safetensors", "--store", folder / "store")
    assert ran.code == 0, ran
    return vbench("check", folder / "store", "--baseline", released, *more)


def test_a_harmed_checkpoint_is_stopped_by_name(weights, released, tmp_path):
    noise = torch.randn(weights["conv1.weight"].shape, generator=torch.Generator().manual_seed(0))
    harmed = weights | {"conv1.weight": weights["conv1.weight"] + 0.05 * noise}
    ran = check_weights(harmed, tmp_path, released, "--format", f"text,json={tmp_path}/report.json")
    assert ran.code == 1
    cells = {cell["name"]: cell for cell in json.loads((tmp_path / "report.json").read_text())["cells"]}
    assert set(cells) == {"tsm|none|clean", "tsm|none|pgd:eps=2/255,steps=3|white-box"}
    assert cells["tsm|none|clean"]["verdict"] != "REGRESSED"  # which clean accuracy alone would have let through
    assert cells["tsm|none|pgd:eps=2/255,steps=3|white-box"]["verdict"] == "REGRESSED"
    assert "REGRESSED tsm|none|pgd:eps=2/255,steps=3|white-box: " in ran.out and "lost: shapes-test-" in ran.out


def test_the_same_weights_from_a_file_pass(weights, released, tmp_path):
    ran = check_weights(weights, tmp_path, released, "--format", "json")
    found = json.loads(ran.out)
    assert {cell["verdict"] for cell in found["cells"]} == {"INCONCLUSIVE"} and ran.code == 3  # 24 clips show no ten points
    assert vbench("check", tmp_path / "store", "--baseline", released, "--allow-inconclusive").code == 0
    assert [cell["lost"] + cell["gained"] for cell in found["cells"]] == [0, 0] and found["new"] == []
