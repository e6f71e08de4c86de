"""What the regression gate costs: `python tests/speed/gate.py`, on two cores, 3,000 cells x 1,000 clips."""

import json
import sys
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
from robustvideo.leaderboard.gate import baseline, policy
from robustvideo.leaderboard.gate.judge import judge
from robustvideo.leaderboard.results import Results
from timing import medians, table

sys.path.insert(0, str(Path(__file__).parents[1]))
from stores import made_cell, put_all

CELLS, CLIPS, DRAWS = 3000, 1000, 2000


def grid(rng: np.random.Generator, noise: float) -> list[dict]:
    """Cells of 60 models under 50 attacks, with the share `noise` of answers turned over."""
    truth = np.random.default_rng(0).random((CELLS, CLIPS)) < 0.6
    right = (truth ^ (rng.random(truth.shape) < noise)).astype(float).tolist()
    models, eps = [f"made-{k}" for k in range(60)], [k + 1 for k in range(CELLS // 60)]
    places = [(model, one) for model in models for one in eps]
    return [made_cell(row, model, f"pgd:eps={k}/255", eps=k / 255) for row, (model, k) in zip(right, places, strict=True)]


def main() -> None:
    """Prints the table."""
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        store, path = put_all(Path(folder) / "store", grid(rng, 0.02)), Path(folder) / "baseline.json"
        path.write_text(baseline.make(Results(grid(rng, 0.02))), encoding="utf-8")
        read, before, rules = Results.read([store]), baseline.read(path), policy.read(None, date(2026, 1, 1))
        files = sorted(store.glob("cells/*/*.json"))
        signs, weights = (rng.random(shape, np.float32) for shape in ((DRAWS, CLIPS), (CLIPS, CELLS)))
        size, verdict = path.stat().st_size / 1e6, judge(read, before, rules).exit
        print(f"{CELLS} cells x {CLIPS} clips: baseline {size:.1f} MB, exit code {verdict:d}")
        jobs = {
            "one matrix product": lambda: signs @ weights,
            "json of the cells": lambda: [json.loads(file.read_text(encoding="utf-8")) for file in files],
            "vbench baseline, store read": lambda: baseline.make(read),
            "baseline.read": lambda: baseline.read(path),
            "judge": lambda: judge(read, before, rules),
        }
        should = {"judge": "should be < 10 s", "vbench baseline, store read": "should be < 10 s"}
        found = medians(jobs, 1)
        table("The gate", found, "one matrix product", should)
        print(f"  judge / reading the store: {found['judge'] / found['json of the cells']:.2f}x")


if __name__ == "__main__":
    main()
