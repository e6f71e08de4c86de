"""`vbench train`."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.errors import InputError
from ..core.registry import entries, resolve
from ..models.published import resolve_model
from ..training.entries import Recipe, default_recipe, defended_recipe, select


def train(
    model: Annotated[str | None, typer.Option(help="Model spec, such as tsm or tsm:frames=16.")] = None,
    defense: Annotated[
        str | None, typer.Option(help="Trained defence to make for that model, such as cat or at:eps=4/255.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Data set spec; it needs the splits train, val and test. Default: shapes.")
    ] = None,
    eps: Annotated[
        str | None, typer.Option(help="The defence's budget, such as 8/255: the same as --defense at:eps=8/255.")
    ] = None,
    zoo: Annotated[
        str | None,
        typer.Option(
            help="In place of model and data set: a shipped checkpoint, MODEL/DATASET or MODEL/DATASET/DEFENSE, or all."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and its card.")] = Path("."),
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training clips. Default: the recipe's.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Clips per step. Default: the recipe's.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate. Default: the recipe's.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of first weights, order of clips and dropout. Default: the recipe's.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.", envvar="VBENCH_QUIET")] = False,
) -> None:
    """Train a model from scratch by the recipe of the tiny checkpoints, or a defence for a trained model.

    Writes a checkpoint (safetensors) and a .json card with recipe, seed, data hash, accuracy and sha256. A defence's training
    prints clean and robust validation accuracy per epoch and keeps the best epoch; killed, the same command goes on after the
    last whole epoch. Take the result with --defense NAME:weights=FILE. --zoo repeats a shipped checkpoint by its own recipe.

    Example: vbench train --model tsm --defense cat --dataset shapes --out my-weights
    """
    if (model is None) == (zoo is None) or (zoo is not None and (dataset is not None or defense is not None)):
        raise InputError("train", "one model is needed", "write --model SPEC --dataset SPEC, or --zoo MODEL/DATASET")
    if eps is not None and defense is None:
        raise InputError("eps", "it is the budget of a defence, and none is named", "add --defense at, or another one")
    given = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed}
    changes = {key: value for key, value in given.items() if value is not None}
    if zoo is not None and changes.keys() - {"seed"}:
        raise InputError(
            "zoo", "a shipped checkpoint has a recipe of its own", "leave epochs, batch-size and lr out, or use --model"
        )
    chosen = [] if zoo is None else select(zoo)
    if quiet:
        os.environ["VBENCH_NO_PROGRESS"] = "1"
    if model is not None:
        print(_train(model, defense, dataset or "shapes", {} if eps is None else {"eps": eps}, changes, out, quiet))
        return

    from ..training.shipping import train_entry

    for entry in chosen:
        print(train_entry(entry, out, seed, progress=not quiet))


def _train(
    model: str, defense: str | None, dataset: str, values: dict[str, str], changes: dict[str, Any], out: Path, quiet: bool
) -> Path:
    """Names and values are checked before torch is imported."""
    data = resolve("dataset", dataset)
    if defense is None:
        resolve("model", model)
        recipe = _changed(default_recipe(), changes)

        from ..training.recipe import train_tiny

        return train_tiny(model, dataset, recipe, out, progress=not quiet)
    subject, guard = resolve_model(model), resolve("defense", defense, **values)
    if "weights" not in guard.values:
        trained = [name for name, entry in entries("defense").items() if any(field.name == "weights" for field in entry.fields)]
        raise InputError("defense", f"{guard.entry.name} is not trained", f"these are: {', '.join(trained)}")
    recipe = _changed(defended_recipe(guard.text, subject.text), changes)

    from ..training.defended import train_defended

    return train_defended(guard, subject, data, recipe, out, progress=not quiet)


def _changed(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    return replace(recipe, **changes)
