"""`vbench train`."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import InputError
from ..core.registry import resolve
from ..training.entries import default_recipe, select


def train(
    model: Annotated[str | None, typer.Option(help="Model spec, such as tsm or tsm:frames=16.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Data set spec; it needs the splits train, val and test. Default: shapes.")
    ] = None,
    zoo: Annotated[
        str | None, typer.Option(help="In place of model and data set: MODEL/DATASET of a shipped checkpoint, or all.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and its card.")] = Path("."),
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of first weights, order of clips and dropout. Default: the recipe's.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.", envvar="VBENCH_QUIET")] = False,
) -> None:
    """Train a model from scratch by the recipe of the tiny checkpoints, or repeat a shipped one by its own.

    Writes <model>-<preset>.<dataset>.safetensors and a .json card with recipe, seed, data hash, accuracy and sha256.

    Example: vbench train --zoo tsm/shapes --out my-weights
    """
    if (model is None) == (zoo is None) or (zoo is not None and dataset is not None):
        raise InputError("train", "one model is needed", "write --model SPEC --dataset SPEC, or --zoo MODEL/DATASET")
    chosen = [] if zoo is None else select(zoo)
    dataset = dataset or "shapes"
    if model is not None:
        # Names and values are checked before torch is imported.
        resolve("model", model)
        resolve("dataset", dataset)
    if quiet:
        os.environ["VBENCH_NO_PROGRESS"] = "1"

    from ..training.recipe import train_entry, train_tiny

    for entry in chosen:
        print(train_entry(entry, out, seed, progress=not quiet))
    if model is not None:
        recipe = default_recipe() if seed is None else replace(default_recipe(), seed=seed)
        print(train_tiny(model, dataset, recipe, out, progress=not quiet))
