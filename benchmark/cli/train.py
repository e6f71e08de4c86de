"""`vbench train`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from ..core.registry import resolve


def train(
    model: Annotated[str, typer.Option(help="Model spec, such as tsm or tsm:frames=16.")],
    dataset: Annotated[str, typer.Option(help="Data set spec; it needs the splits train, val and test.")] = "shapes",
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and its card.")] = Path("."),
    seed: Annotated[int, typer.Option(min=0, help="Seed of first weights, order of clips and dropout.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.", envvar="VBENCH_QUIET")] = False,
) -> None:
    """Train a model from scratch by the recipe of the shipped tiny checkpoints.

    Writes <model>-<preset>.<dataset>.safetensors and a .json card with recipe, seed, data hash, accuracy and sha256.

    Example: vbench train --model tsm --dataset shapes --out my-weights
    """
    resolve("model", model), resolve("dataset", dataset)  # names and values are checked before torch is imported
    if quiet:
        os.environ["VBENCH_NO_PROGRESS"] = "1"

    from ..training.recipe import train_tiny

    print(train_tiny(model, dataset, out, seed, progress=not quiet))
