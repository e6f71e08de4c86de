"""How the tiny zoo is made: one call trains a tiny model on a data set and writes its checkpoint and card."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from ..core.errors import InputError
from ..core.files import sha256, write_atomically
from ..core.interfaces import ClipRecord, Model
from ..core.registry import Component, resolve
from ..core.trained import Learner
from ..data.selection import manifest_sha256
from ..models import zoo
from ..models.armoury import plain_name
from ..models.build import build_model
from .clips import Split
from .entries import Recipe
from .loop import History, Plan, accuracy, run
from .progress import TrainProgress
from .splits import parts, read_parts


def train_tiny(model: str, dataset: str, recipe: Recipe, out: Path, progress: bool = True) -> Path:
    """Trains a model from scratch and writes `<model>-<preset>.<dataset>.safetensors` with its `.json` card.

    A killed training leaves `<name>.partial` in the folder, from which the same call goes on after the last whole epoch.

    Args:
        model: Spec of a model that has presets, such as `tsm`.
        dataset: Spec of a data set; `splits.parts` says which of its clips are for what.
        recipe: How; its seed is also that of the first weights.
        out: Folder to write to.
        progress: Whether to show progress on stderr.

    Returns:
        The checkpoint.

    Raises:
        InputError: A spec is wrong, a video cannot be read, or the training diverges.
    """
    component, data = resolve("model", model, weights=f"random-{recipe.seed}"), resolve("dataset", dataset)
    if "preset" not in component.values:
        raise InputError("model", f"{component.entry.name} has no presets", "choose one that has, such as tsm")
    made = data.create()
    ready = build_model(component, data.entry.name, made.classes)
    ready.to("cuda" if torch.cuda.is_available() else "cpu")
    records = parts(made)
    check_folder(out)
    clips = read_parts(records, ready.input, out, progress)
    path = out / zoo.file_name(component.entry.name, component.values["preset"], plain_name(data))
    learnt = Split(*clips["train"], ids=[record.id for record in records["train"]])
    plan = Plan(Learner(ready), learnt, Split(*clips["val"]), recipe, key=key_of([component.text], recipe, records))
    follow(plan, path, progress)
    card = describe(ready, component, data, records, recipe, plan.history)
    card |= {"classes": list(made.classes), "test_accuracy": accuracy(ready, *clips["test"])}
    finish(plan, ready.net, card, path, progress)
    return path


def follow(plan: Plan, path: Path, progress: bool) -> None:
    """Runs a plan under a progress bar; killed, it leaves `<name>.partial` beside the checkpoint that is to be written."""
    plan.keep = path.with_suffix(".partial")
    with TrainProgress(plan.recipe.epochs, plan.recipe.epochs * plan.steps, progress) as shown:
        plan.on_epoch, plan.on_step, plan.on_resume, plan.tell = shown.epoch, shown.step, shown.resume, shown.tell
        run(plan)


def finish(plan: Plan, net: nn.Module, card: dict[str, Any], path: Path, progress: bool) -> None:
    """Writes what a plan has made, and only then deletes what a killed one would go on from."""
    write_checkpoint(net, card | {"wall_seconds": round(plan.seconds, 1)}, path)
    if plan.keep:
        plan.keep.unlink(missing_ok=True)
    if progress:
        print(f"wrote {path} and {zoo.card_path(path).name}", file=sys.stderr)


def key_of(what: Sequence[str], recipe: Recipe, records: Mapping[str, list[ClipRecord]]) -> str:
    """A name for a training: what is trained, how, and on which clips."""
    manifests = [manifest_sha256(part) for part in records.values()]
    return hashlib.sha256(json.dumps([*what, recipe.described(), manifests]).encode()).hexdigest()


def check_folder(out: Path) -> None:
    """Learns before the training whether its result can be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("out", f"{out} cannot be made: {error.strerror}") from None
    if not os.access(out, os.W_OK):
        raise InputError("out", f"{out} cannot be written")


def describe(
    model: Model,
    component: Component,
    data: Component,
    records: dict[str, list[ClipRecord]],
    recipe: Recipe,
    history: History,
) -> dict[str, Any]:
    """The card of a trained model: what it is, what it was made from, how, and what came out."""
    return {
        "model": component.text,
        "dataset": data.text,
        "clips": {split: len(part) for split, part in records.items()},
        "manifest_sha256": {split: manifest_sha256(part) for split, part in records.items()},
        "recipe": recipe.described(),
        "history": [epoch.described() for epoch in history],
        "val_accuracy": history[-1].accuracy,
        "parameters": sum(value.numel() for value in model.parameters()),
        "torch": torch.__version__,
        "device": str(next(model.parameters()).device),
        "threads": torch.get_num_threads(),
    }


def write_checkpoint(net: nn.Module, card: dict[str, Any], path: Path) -> None:
    """Writes the network's weights as safetensors, then the card with their hash beside them.

    A run that is killed in between leaves a card whose hash does not fit, which loading refuses; one that fails leaves neither.

    Raises:
        InputError: The folder cannot be written, or the disk is full.
    """
    # Copies: weights that two layers share have two names here, and safetensors refuses shared memory.
    state = {key: value.detach().cpu().contiguous().clone() for key, value in net.state_dict().items()}
    try:
        write_atomically(path, save(state))
        write_atomically(zoo.card_path(path), json.dumps(card | {"sha256": sha256(path)}, indent=2) + "\n")
    except OSError as error:
        path.unlink(missing_ok=True)
        raise InputError("out", f"cannot write {path}: {error.strerror or error}") from None
