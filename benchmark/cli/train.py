"""`vbench train`."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.errors import InputError
from ..core.registry import Component, entries, resolve
from ..core.specs import Spec
from ..models.armoury import is_trained
from ..models.published import resolve_model
from ..training.entries import default_recipe, defended_recipe, select


def train(
    model: Annotated[str | None, typer.Option(help="Model spec, such as tsm or tsm:frames=16.")] = None,
    defense: Annotated[
        str | None, typer.Option(help="Trained defence to make for that model, such as cat or at:eps=4/255.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Data set spec, such as ucf101:root=DIR. Default: shapes.")] = None,
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
        int | None, typer.Option(min=0, help="Seed of first weights, order of clips and all draws. Default: the recipe's.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.", envvar="VBENCH_QUIET")] = False,
) -> None:
    """Train a model from scratch by the recipe of the tiny checkpoints, or a defence for a trained model.

    Writes a checkpoint (safetensors) and a .json card with recipe, seed, data hash, accuracies and sha256. A defence starts from
    the model's weights; clean and robust validation accuracy are shown per epoch, and the best epoch is kept where the recipe
    says so. Interrupted or killed, the same command goes on after the last whole epoch. Take the result with
    --defense NAME:weights=FILE. --zoo repeats a shipped checkpoint by its own recipe. On a GPU the training is in bfloat16.

    Example: vbench train --model tsm --defense cat --dataset shapes --out my-weights
    Example: vbench train --zoo tsm/shapes/cat --out my-weights
    """
    if (model is None) == (zoo is None) or (zoo is not None and (dataset is not None or defense is not None)):
        way = f"--model SPEC --defense {defense}" if defense else "--model SPEC --dataset SPEC, or --zoo MODEL/DATASET"
        raise InputError("train", "one model is needed", f"write {way}")
    if eps is not None and defense is None:
        raise InputError("eps", "it is the budget of a defence, and none is named", "add --defense at, or another one")
    given = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed}
    changes = {key: value for key, value in given.items() if value is not None}
    if zoo is not None and changes.keys() - {"seed"}:
        raise InputError(
            "zoo", "a shipped checkpoint has a recipe of its own", "leave epochs, batch-size and lr out, or use --model"
        )
    if lr is not None and not 0 < lr < float("inf"):
        raise InputError("lr", f"{lr:g} is no learning rate", "give a number above 0, such as 2e-3")
    if quiet:
        os.environ["VBENCH_NO_PROGRESS"] = "1"
    try:
        if zoo is not None:
            _repeat(zoo, out, seed, quiet)
        elif model is not None:
            print(_train(model, _guard(defense, eps), dataset or "shapes", changes, out, quiet))
    except KeyboardInterrupt:
        print("vbench: interrupted; the same command goes on after the last whole epoch", file=sys.stderr)
        raise


def _guard(defense: str | None, eps: str | None) -> Component | None:
    """The defence to train; names and values are checked before torch is imported."""
    if defense is None:
        return None
    given = dict(Spec.parse(defense, "defense").values)
    if eps is not None and "eps" in given:
        raise InputError("eps", f"it is given twice, as {given['eps']} and as {eps}", "leave one of them out")
    guard = resolve("defense", defense, **({} if eps is None else {"eps": eps}))
    if not is_trained(guard.entry):
        trained = [name for name, entry in entries("defense").items() if is_trained(entry)]
        raise InputError("defense", f"{guard.entry.name} is not trained", f"these are: {', '.join(trained)}")
    if "weights" in given:
        raise InputError("defense", "weights says where a trained one lies, and this one is to be trained", "leave it out")
    return guard


def _train(model: str, guard: Component | None, dataset: str, changes: dict[str, Any], out: Path, quiet: bool) -> Path:
    """Names and values are checked before torch is imported."""
    data = resolve("dataset", dataset)
    if guard is None:
        resolve("model", model)
        recipe = replace(default_recipe(), **changes)

        from ..training.recipe import train_tiny

        return train_tiny(model, dataset, recipe, out, progress=not quiet)
    subject = resolve_model(model)
    recipe = replace(defended_recipe(guard.text, subject.text), **changes)

    from ..training.defended import train_defended

    return train_defended(guard, subject, data, recipe, out, progress=not quiet)


def _repeat(zoo: str, out: Path, seed: int | None, quiet: bool) -> None:
    chosen = select(zoo)

    from ..training.shipping import train_entry

    for entry in chosen:
        print(train_entry(entry, out, seed, progress=not quiet), flush=True)
