"""How a trained defence is made: one call trains it for a model on a data set and writes its checkpoint and card."""

from pathlib import Path
from typing import Any

import torch

from ..core.errors import InputError
from ..core.registry import Component
from ..core.trained import Trained
from ..models.armed import as_trained
from ..models.armoury import Owner, file_name
from ..models.build import build_model
from ..models.family import untrained
from .clips import Split
from .entries import Recipe
from .loop import Plan
from .recipe import check_folder, describe, finish, follow, key_of
from .splits import parts, read_parts
from .trial import tried


def train_defended(
    defense: Component, model: Component, dataset: Component, recipe: Recipe, out: Path, progress: bool = True
) -> Path:
    """Trains a defence for a model, and writes `<defense>.<model>-<preset>.<dataset>.safetensors` with its `.json` card.

    A killed training leaves `<name>.partial` in the folder, from which the same call goes on after the last whole epoch.

    Args:
        defense: The defence, with the values that it is trained with.
        model: The model that it is trained for, with the weights that the training starts from.
        dataset: A data set; `splits.parts` says which of its clips are for what.
        recipe: How.
        out: Folder to write to.
        progress: Whether to show progress on stderr.

    Returns:
        The checkpoint.

    Raises:
        InputError: The defence is not trained, a video cannot be read, the model does not suit it, or the training diverges.
    """
    made = defense.create()
    if not isinstance(made, Trained):
        raise InputError("defense", f"{defense.entry.name} is not trained", "use it as it is, or train at, cat or another one")
    defense, data = as_trained(defense), dataset.create()
    base = build_model(model, dataset.entry.name, data.classes)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    learner = untrained(lambda: made.learner(base.to(device)), recipe.seed).to(device)
    records = parts(data)
    check_folder(out)
    clips = read_parts(records, base.input, out, progress)
    splits = {name: Split(*both, ids=[record.id for record in records[name]]) for name, both in clips.items()}
    path = out / file_name(defense, Owner(model, dataset))
    what = [defense.text, defense.entry.version, model.text, base.weights_sha256]
    plan = Plan(learner, splits["train"], splits["val"], recipe, made.trial, key=key_of(what, recipe, records))
    follow(plan, path, progress)
    card: dict[str, Any] = {"defense": defense.text, "version": defense.entry.version, "starts_from": base.weights_sha256}
    card |= describe(base, model, dataset, records, recipe, plan.history) | _outcome(plan, splits["test"])
    card["classes"] = list(data.classes)
    finish(plan, made.saved(learner.network), card, path, progress)
    return path


def _outcome(plan: Plan, test: Split) -> dict[str, Any]:
    """What the kept epoch is worth, on the validation clips and on the test clips, alone and under the trial."""
    kept = plan.history[plan.kept - 1]
    device = next(iter(plan.learner.parameters())).device
    clean, robust = tried(plan.learner, test, plan.recipe, plan.trial, device)
    found: dict[str, Any] = {"kept_epoch": plan.kept, "val_accuracy": kept.accuracy, "test_accuracy": clean}
    found["parameters"] = sum(value.numel() for value in plan.learner.network.parameters())
    if plan.trial:
        severity = f", severity {plan.recipe.severity}" if plan.trial.kind == "corruption" else ""
        found |= {"trial": plan.trial.spec + severity, "val_robust": kept.robust, "test_robust": robust}
    return found
