"""What the authors' own code answers (see the README beside the figures), as a check that any architecture's test can call."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model

ORACLES = Path(__file__).resolve().parents[2] / "shared" / "oracles"


def check_oracle(name, spec, folder, prefix="module."):
    """Loads the oracle's weights through the checkpoint mapping of `spec` and compares logits and input gradients."""
    if not (ORACLES / f"{name}.json").is_file():
        pytest.skip(f"no oracle figures in {ORACLES}")
    rule = _rule()
    oracle = json.loads((ORACLES / f"{name}.json").read_text())
    state = {prefix + key: rule.tensor(key, *entry) for key, entry in oracle["state_dict"].items()}
    torch.save({"state_dict": state, "epoch": 3}, folder / "checkpoint.pth")
    wanted = torch.tensor(oracle["logits"])
    frames, _, size, _ = oracle["input_shape"]
    component = resolve("model", spec, weights=str(folder / "checkpoint.pth"), frames=str(frames), size=str(size))
    model = build_model(component, "none", [str(number) for number in range(len(wanted))])

    clip = rule.clip(oracle["input_shape"])[None].requires_grad_()
    logits = model.net(clip if model.layout == "NTCHW" else clip.transpose(1, 2))
    difference = float((logits[0] - wanted).detach().abs().max())
    (grad,) = torch.autograd.grad(F.cross_entropy(logits, torch.tensor([oracle["loss_label"]])), clip)
    sums = float(grad.abs().sum()) / oracle["input_grad_abs_sum"], float(grad.norm()) / oracle["input_grad_l2"]
    print(f"{name}: largest logit difference {difference:.1e}, gradient sums {sums[0]:.6f} and {sums[1]:.6f} of the oracle's")
    assert difference <= 1e-4 * max(1.0, float(wanted.abs().max()))
    assert sums == pytest.approx((1, 1), rel=1e-3)
    return model


def _rule():
    found = importlib.util.spec_from_file_location("oracle_rule", ORACLES / "rule.py")
    rule = importlib.util.module_from_spec(found)
    found.loader.exec_module(rule)
    return rule
