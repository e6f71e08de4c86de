"""What the precisions of a device change of results: `python tests/speed/precision.py [clips] [model ...]`, else 32 and tsm.

The shipped tiny models on the embedded world, clean and under PGD, in float32 and in what else the device has. Printed are the
accuracies, the decisions that differ, how far margins move, and the seconds beside float32's.

Without a GPU TF32 is imitated: what goes into a product of matrices or a convolution, forward and backward, is rounded to its ten
bits, and sums stay float32. A GPU rounds no more than that, and leaves depth-wise convolutions as they are; its time is its own.
"""

import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from robustvideo.benchmark import evaluate
from robustvideo.benchmark.evaluation.store import Store
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

ATTACK = "pgd:steps=5"
OTHERS = ("tf32", "bf16") if torch.cuda.is_available() else ("tf32, imitated", "bf16")

PRODUCTS = {
    "mm": (0, 1),
    "bmm": (0, 1),
    "addmm": (1, 2),
    "baddbmm": (1, 2),
    "convolution": (0, 1),
    "convolution_backward": (0, 1, 2),
}
PRODUCTS |= {
    "_scaled_dot_product_flash_attention_for_cpu": (0, 1, 2),
    "_scaled_dot_product_flash_attention_for_cpu_backward": (0, 1, 2, 3),
}
"""Operations and their factors; what is added stays float32."""


class Imitated(TorchDispatchMode):
    """Rounds the factors of products as TF32 does."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See PyTorch."""
        factors = PRODUCTS.get(func.overloadpacket.__name__, ())
        return func(*(tf32(one) if place in factors else one for place, one in enumerate(args)), **(kwargs or {}))


def tf32(values: Tensor) -> Tensor:
    """float32 with ten bits of its mantissa, rounded to the nearest, halves away from zero."""
    return ((values.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32).view_as(values)


assert tf32(torch.tensor([1 + 2**-11, -1 - 2**-11, 1 + 2**-12, 3.0])).tolist() == [1 + 2**-10, -1 - 2**-10, 1, 3]


def measured(model: str, clips: int, precision: str) -> dict[str, dict[str, Any]]:
    """The results of a model by kind: clean and attack."""
    imitated = ", imitated" in precision
    with tempfile.TemporaryDirectory() as folder, Imitated() if imitated else nullcontext():
        evaluate(model, "shapes", ATTACK, limit=clips, store=folder, precision="float32" if imitated else precision)
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
                f"{model:<16} {precision:<14} {kind:<6} {right[0]:5.1f} -> {right[1]:5.1f} % of {len(a['id'])} clips, "
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
