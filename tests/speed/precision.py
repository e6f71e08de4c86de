"""What the precisions of a device change of results: `python tests/speed/precision.py [clips] [model ...]`, else 32 and tsm.

The shipped tiny models on the embedded world, clean and under PGD, in float32 and in what else the device has. Printed are the
accuracies, the decisions that differ, how far margins move, and the seconds beside float32's.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from robustvideo.benchmark import evaluate
from robustvideo.benchmark.evaluation.store import Store

ATTACK = "pgd:steps=5"
OTHERS = ("tf32", "bf16") if torch.cuda.is_available() else ("bf16",)


def measured(model: str, clips: int, precision: str) -> dict[str, dict[str, Any]]:
    """The results of a model by kind: clean and attack."""
    with tempfile.TemporaryDirectory() as folder:
        evaluate(model, "shapes", ATTACK, limit=clips, store=folder, precision=precision)
        return {cell["spec"]["kind"]: cell for cell in Store(Path(folder)).cells()}


def compare(model: str, clips: int) -> None:
    """Prints a line for each precision and kind."""
    exact = measured(model, clips, "float32")
    for precision in OTHERS:
        for kind, found in measured(model, clips, precision).items():
            a, b = exact[kind]["clips"], found["clips"]
            assert a["id"] == b["id"]
            right = [100 * sum(one["correct"]) / len(one["correct"]) for one in (a, b)]
            apart = sum(one != other for one, other in zip(a["pred"], b["pred"], strict=True))
            shift = sum(abs(one - other) for one, other in zip(a["margin"], b["margin"], strict=True)) / sum(
                map(abs, a["margin"])
            )
            took = found["provenance"]["wall_s"] / exact[kind]["provenance"]["wall_s"]
            print(
                f"{model:<16} {precision} {kind:<6} {right[0]:5.1f} -> {right[1]:5.1f} % of {len(a['id'])} clips, "
                f"{apart} decide otherwise, margins move by {100 * shift:.1f} %, {took:.2f}x the time",
                flush=True,
            )


def main() -> None:
    """Compares the models that are named."""
    clips = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    for model in sys.argv[2:] or ["tsm"]:
        compare(model, clips)


if __name__ == "__main__":
    main()
