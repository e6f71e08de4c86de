"""What models compute in: float32, or on request something faster, which is part of a result's identity."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.registry import did_you_mean
from ..core.rng import ClipRandom
from .request import PRECISIONS
from .threat import Pipeline


def prepare(precision: str, device: torch.device) -> None:
    """Makes a GPU's matrix products round as asked; they are a setting of the process.

    Raises:
        InputError: It is unknown, or the device has no such precision.
    """
    if precision not in PRECISIONS:
        raise InputError("precision", f"{precision!r} is unknown", did_you_mean(precision, PRECISIONS))
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    elif precision == "tf32":
        raise InputError("precision", f"tf32 is one of CUDA devices, and this is {device.type}", "use float32 or bf16")


def in_precision(pipeline: Pipeline, precision: str, device: torch.device) -> Pipeline:
    """The pipeline with its scores, and so their gradients, computed in a precision; clips and scores stay float32.

    Args:
        pipeline: Model and defences.
        precision: One of `request.PRECISIONS`.
        device: Where it runs.
    """
    if precision != "bf16":
        return pipeline  # tf32 is a setting of the device

    def scorer(clips: Tensor, rng: ClipRandom) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            scores = pipeline.scorer(clips, rng)
        return scores.float()  # losses, margins and averages over draws are not rounded once more

    return replace(pipeline, scorer=scorer)


@contextmanager
def full_float32() -> Iterator[None]:
    """No TF32 inside the block, for what compares differences that are smaller than its rounding."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
