"""The Python entry: one call that runs a grid and returns its table."""

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.interfaces import Model
from ..core.registry import Component, did_you_mean, matching, ready, resolve
from ..data.selection import default_split
from ..data.tensors import Tensors
from ..models.build import state_sha256
from ..models.published import resolve_model
from .bench import Bench
from .grid import Grid, resolve_chain, resolve_threats
from .request import Request
from .request import severities as numbers
from .run import run_grid
from .store import REUSE, Reuse, Store
from .tables import cells_table, write_tables


def evaluate(
    model: str | Model | Sequence[str | Model],
    dataset: str | tuple[Tensor, Tensor] | tuple[Tensor, Tensor, int] = "shapes",
    attacks: str | Sequence[str] = (),
    defenses: str | Sequence[str] = (),
    *,
    threats: str | Sequence[str] = (),
    corruptions: str | Sequence[str] = (),
    severities: str | int | Sequence[int] = "1-5",
    shifts: int = 0,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    store: str | Path | None = None,
    reuse: str = "missing",
    device: str = "auto",
    batch_size: int | None = None,
    precision: str = "float32",
) -> pd.DataFrame:
    """Evaluates models x (clean, and attacks or corruptions) x defences and returns the rows of `cells.csv`.

    Args:
        model: Spec or `Model`, or several. Wrap your own network as `Model(net, InputSpec(...), classes=K)`.
        dataset: Spec, or clips (N, 3, T, H, W), uint8 or float in [0, 1], labels (N,) and, without a `Model`, K.
        attacks: Specs, such as `pgd:eps=8/255`; clean clips are always measured.
        defenses: Specs or chains; no defence is always measured.
        threats: For defended rows, by default oblivious, adaptive and, where that is another, grey-box; adaptive is always made.
        corruptions: Specs or patterns, such as `fog` or `noise/*`; not together with attacks.
        severities: Of each corruption: `3`, `1-5`, or numbers.
        shifts: How often clips without an attack are judged again, each time one frame later.
        split: Split of the data set; None: the one that it is tested on.
        limit: First N clips of a fixed class-balanced order.
        seed: Of every clip's randomness.
        store: Folder of results, reused by the next call; None keeps nothing.
        reuse: `missing`, `never`, `always` or `only-cache`.
        device: `auto`, `cpu`, `cuda`, ...
        batch_size: Clips per batch; None: what fits into memory. Results do not depend on it.
        precision: `float32`, `tf32` (CUDA) or `bf16`; part of a result's identity.

    Raises:
        InputError: Bad input.
    """
    models = tuple(_model(one) for one in _several(model))
    data = resolve("dataset", dataset) if isinstance(dataset, str) else _tensors(_several(model), *cast(tuple[Any, ...], dataset))
    grid = Grid(
        dataset=data,
        split=split or default_split(data.create()),
        models=models,
        attacks=tuple(resolve("attack", text) for text in _several(attacks)),
        defenses=tuple(resolve_chain(text) for text in _several(defenses)),
        threats=resolve_threats(_several(threats)),
        limit=limit,
        seed=seed,
        corruptions=tuple(one for text in _several(corruptions) for one in matching("corruption", text)),
        severities=numbers(severities),
        shifts=shifts,
    )
    return cells_table(_results(grid, Bench(choose_device(device), batch_size, precision), store, choose_reuse(reuse)))


def _results(grid: Grid, bench: Bench, store: str | Path | None, reuse: Reuse) -> list[dict[str, Any]]:
    """Runs the grid into a store, or into one that is gone afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        where = Store(Path(scratch if store is None else store))
        done = list(run_grid(grid, bench, where, reuse))
        if store is not None:
            write_tables(where)
    return [cell.result for cell in done if cell.result]


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU where there is one; on a GPU, float32 is made to mean float32.

    Raises:
        InputError: No such device.
    """
    try:
        device = torch.device(name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("only cpu and cuda are known")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError("device", f"{name!r} cannot be used: {str(error).splitlines()[0]}", "use auto, cpu or cuda") from None
    if device.type == "cuda":
        # The cell says float32, and the same numbers again: no TF32, no autotuned kernels.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    return device


def bench_of(request: Request, elsewhere: bool = False) -> Bench:
    """The bench on which a request is planned, and, if this process computes, run.

    Args:
        request: What is asked for.
        elsewhere: Whether other machines may compute, with devices that this one lacks; so it is with Ray.

    Raises:
        InputError: This machine lacks the device or its precision, and is to compute.
    """
    how = {"batch_size": request.batch_size, "precision": request.precision}
    try:
        device = choose_device(request.device)
        # The GPUs are the workers' where there are any.
        if request.executor == "inline" or (request.executor == "local" and device.type == "cpu"):
            return Bench(device, **how)
    except InputError:
        if not elsewhere and request.executor != "ray":
            raise
    return Bench(computes=False, **how)


def choose_reuse(text: str) -> Reuse:
    """Checks a reuse policy; raises InputError."""
    if text not in REUSE:
        raise InputError("reuse", f"{text!r} is unknown", did_you_mean(text, REUSE))
    return cast(Reuse, text)


def _several(value: Any) -> list[Any]:
    return [value] if isinstance(value, (str, nn.Module)) else list(value)


def _model(model: str | Model) -> Component:
    if isinstance(model, str):
        return resolve_model(model)
    if not isinstance(model, Model):
        raise InputError(
            "model", f"{type(model).__name__} has no declared input", "wrap it: Model(net, InputSpec(...), classes=K)"
        )
    # A copy, because the harness freezes and moves it.
    return ready("model", f"{type(model.net).__name__}-{state_sha256(model)[:12]}", copy.deepcopy(model))


def _tensors(models: list[Any], clips: Tensor, labels: Tensor, classes: int | None = None) -> Component:
    if classes is None:
        classes = next((model.classes for model in models if isinstance(model, Model)), None)
    if classes is None:
        raise InputError("dataset", "the number of classes is missing", "give (clips, labels, K)")
    tensors = Tensors(clips, labels, classes)
    return ready("dataset", f"tensors-{tensors.sha256[:12]}", tensors)
