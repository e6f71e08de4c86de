"""Stores of made-up cells, for everything that reads stores and never runs a model."""

import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from robustvideo.benchmark.evaluation.store import Store

PGD = "pgd:norm=linf,eps=8/255,steps=50,step=none,rule=relative,random_start=true,restarts=1,loss=ce,target=none"
CORRUPTED = {"family": "noise", "table": "imagecorruptions", "temporal": "iid", "stage": "frames", "size": 64}


PROVENANCE = {
    "versions": {"robustvideo": "0.1.0", "torch": "2.15.0"},
    "python": "3.11.7",
    "commit": "",
    "device": "cpu",
    "cores": 2,
    "machine": "x86_64",
    "started": "2026-11-21T12:00:00+00:00",
    "wall_s": 1.5,
    "batch_size": 32,
    "threads": 1,
}
"""Where every made-up cell was made."""


def ids_of(count: int, per_source: int = 1) -> tuple[list[str], list[str]]:
    """Names of clips, and the source video of each."""
    return [f"clip-{number:04d}" for number in range(count)], [f"video-{number // per_source:04d}" for number in range(count)]


def made_cell(
    correct: Sequence[float],
    model: str = "tsm:preset=tiny,frames=none,size=none",
    attack: str = "none",
    defense: str = "none",
    threat: str | None = None,
    corruption: str = "",
    severity: int = 0,
    eps: float = 8 / 255,
    norm: str = "linf",
    per_source: int = 1,
    error: str = "",
    **spec: Any,
) -> dict[str, Any]:
    """A cell as `run_cell` writes it, with the shares of right passes `correct`; `spec` replaces parts of its identity."""
    ids, groups = ids_of(len(correct), per_source)
    kind = "corruption" if corruption else "clean" if attack == "none" else "attack"
    known = threat or ("none" if kind != "attack" else "white-box" if defense == "none" else "adaptive:eot=1")
    whole = {
        "protocol": 2,
        "kind": kind,
        "dataset": "shapes",
        "split": "test",
        "limit": None,
        "manifest_sha256": "29982f58ad5582ca253addf2883d655776d3a2f41b96bfd3eac6d175f34c757d",
        "model": model,
        "weights_sha256": hashlib.sha256(model.encode()).hexdigest(),
        "input": {"frames": 8, "size": 64},
        "attack": attack,
        "norm": norm if kind == "attack" else "none",
        "eps": eps if kind == "attack" else 0.0,
        "attack_files": [],
        "fit_manifest_sha256": "",
        "defense": defense,
        "threat": known,
        "source_sha256": "",
        "strength": "full",
        "seed": 0,
        "dtype": "float32",
        "versions": {"dataset": "1", "model": "1"},
    }
    if corruption:
        whole |= {"corruption": corruption, "severity": severity}
    whole |= spec
    made = {"schema": 1, "cell": hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:24], "spec": whole}
    made |= {"status": "error" if error else "ok", "error": error, "reports": [], "failed": []}
    if corruption:
        made["corruption"] = dict(CORRUPTED)
    if defense != "none":
        made["declared"] = {"stochastic": False, "draws": 1, "gradient": "exact"}
    made["clips"] = {} if error else _vectors(np.asarray(correct, float), ids, groups, kind, eps)
    made["evidence"] = {} if error else {"zero": 0, "nonfinite": 0, "outside": 0}
    made["provenance"] = copy.deepcopy(PROVENANCE)
    return made


def _vectors(correct: np.ndarray, ids: list[str], groups: list[str], kind: str, eps: float) -> dict[str, list[Any]]:
    count = len(ids)
    labels = [number % 8 for number in range(count)]
    pred = [label if share > 0.5 else (label + 1) % 8 for label, share in zip(labels, correct, strict=True)]
    made: dict[str, list[Any]] = {"id": ids, "label": labels, "group": groups, "correct": correct.tolist(), "pred": pred}
    made |= {"top5": [1.0] * count, "margin": np.round(correct * 4 - 2 + np.linspace(0, 1, count), 5).tolist()}
    if kind != "attack":
        return made
    names = ("linf", "l2", "frames", "area", "thickness", "roughness", "gradients", "queries", "solved")
    values = (eps, eps * 100, 8, 1.0, eps, eps, 50, 2, 5)
    return made | {name: [value] * count for name, value in zip(names, values, strict=True)}


def put_all(folder: Path, cells: Sequence[dict[str, Any]]) -> Path:
    """A store of these cells."""
    for cell in cells:
        Store(folder).put(cell)
    return folder
