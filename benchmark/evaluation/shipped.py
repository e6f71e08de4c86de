"""What the package ships: whether its files are whole, how fast models run here, how right they are, alone and under attack."""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..core.errors import InputError
from ..core.files import sha256, write_atomically
from ..core.interfaces import Model
from ..core.registry import resolve
from ..models import armoury, zoo
from ..models.armed import arm
from ..models.build import build_model
from .api import choose_device, evaluate
from .stats import wilson

ATTACK = "pgd:eps=4/255"
"""What `pgd_4_255` of a card was measured with: as `vbench run --attack pgd` attacks by default, on the split `test`."""

BATCH, RUNS = 8, 5

FIGURES = {"test_accuracy": "test", "test_large_accuracy": "test-large", "pgd_4_255": "test"}
"""The accuracies that the table takes from a card, and the split of each."""


def zoo_rows(tick: Callable[[int, int], None] = lambda done, total: None) -> list[dict[str, Any]]:
    """Looks at every shipped checkpoint.

    Args:
        tick: Called with the number of checkpoints that are done, and of all.

    Returns:
        One row per checkpoint: name, the accuracies of its card in [0, 1] with `_low` and `_high` (Wilson, 95 %; None where the
        card has none), parameters, bytes, seconds_per_clip (forward, batches of 8, on `choose_device("auto")`), sha256 (whether
        the file is the one that its card names) and problem (empty, or what is wrong in one line).
    """
    checkpoints = zoo.shipped()
    rows = []
    for number, checkpoint in enumerate(checkpoints):
        tick(number, len(checkpoints))
        rows.append(_row(*checkpoint))
    return rows


def defense_rows() -> list[dict[str, Any]]:
    """Looks at every shipped checkpoint of a trained defence.

    Returns:
        One row per checkpoint: name, `test_accuracy` and `test_robust` of its card in [0, 1] with `_low` and `_high` (Wilson,
        95 %; None where the card has none), trial (what `test_robust` was measured under), parameters, bytes, sha256 (whether
        the file is the one that its card names) and problem (empty, or what is wrong in one line).
    """
    return [_defense_row(path, card) for path, card in armoury.shipped()]


def measure_card(model: str, preset: str, dataset: str) -> dict[str, Any]:
    """Measures a shipped checkpoint on clean and attacked test clips, and writes the figures into its card.

    Returns:
        The card.

    Raises:
        InputError: The checkpoint is not the one that its card describes, or a cell failed.
    """
    path, card = zoo.find(model, preset, dataset)
    small = evaluate(zoo.spec(model, preset), dataset, ATTACK)
    large = evaluate(zoo.spec(model, preset), dataset, split="test-large")
    for cell in (*small.to_dict("records"), *large.to_dict("records")):
        if cell["status"] != "ok" or cell["failed"]:
            raise InputError("zoo", f"{cell['cell']} failed on {path.name}: {cell['error'] or 'clips could not be read'}")
    top1 = dict(zip(small["kind"], small["top1"], strict=True))
    card |= {
        "test_accuracy": float(top1["clean"]),
        "test_large_accuracy": float(large["top1"].iloc[0]),
        "pgd_4_255": float(top1["attack"]),
        "pgd": str(small.loc[small["kind"] == "attack", "attack"].iloc[0]),
        "clips": card["clips"] | {"test": int(small["n"].iloc[0]), "test-large": int(large["n"].iloc[0])},
    }
    write_atomically(zoo.card_path(path), json.dumps(card, indent=2) + "\n")
    return card


def seconds_per_clip(model: Model) -> float:
    """Median time of a forward pass over 8 clips of the model's input, by clip, on the device where the model lies."""
    device = next(model.parameters()).device
    spec = model.input
    clips = torch.rand(BATCH, 3, spec.frames, spec.size, spec.size, device=device)
    times = []
    with torch.inference_mode():
        for _ in range(RUNS + 1):
            started = time.perf_counter()
            model(clips).cpu()  # the copy waits for the device
            times.append(time.perf_counter() - started)
    return statistics.median(times[1:]) / BATCH


def _row(model: str, preset: str, dataset: str) -> dict[str, Any]:
    path = zoo.FOLDER / zoo.file_name(model, preset, dataset)
    size = path.stat().st_size if path.is_file() else None
    row = {"name": f"{zoo.spec(model, preset)}/{dataset}"} | _figures({})
    row |= {"bytes": size, "seconds_per_clip": None, "sha256": False, "problem": ""}
    try:
        _, card = zoo.find(model, preset, dataset)
        row |= _figures(card) | {"sha256": True}
        classes = resolve("dataset", dataset).create().classes
        built = build_model(resolve("model", zoo.spec(model, preset)), dataset, classes)
        row["seconds_per_clip"] = seconds_per_clip(built.to(choose_device("auto")))
    except InputError as error:
        row["problem"] = str(error)
    return row


def _defense_row(path: Path, card: dict[str, Any]) -> dict[str, Any]:
    row = {"name": path.stem} | _figures(card, {"test_accuracy": "test", "test_robust": "test"})
    row |= {"trial": card.get("trial"), "bytes": path.stat().st_size if path.is_file() else None, "sha256": False, "problem": ""}
    try:
        if not path.is_file():
            raise InputError("weights", f"{path} is missing", "install the package afresh")
        card = zoo.read_card(path)
        defense, model, dataset = (resolve(kind, card.get(kind) or "?") for kind in ("defense", "model", "dataset"))
        row["name"] = f"{model.short}/{dataset.short}/{defense.short}"
        owner, row["sha256"] = armoury.Owner(model, dataset), card.get("sha256") == sha256(path)
        built = build_model(model, dataset.entry.name, dataset.create().classes)
        if armoury.find(defense, owner)[0] != path:
            raise InputError("weights", f"{path} should be called {armoury.file_name(defense, owner)}")
        arm(defense, owner, built)
    except InputError as error:
        row["problem"] = str(error)
    return row


def _figures(card: dict[str, Any], splits: Mapping[str, str] = FIGURES) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name, split in splits.items():
        value, low, high = card.get(name), None, None
        if value is not None:
            low, high = wilson(value, card["clips"][split])
        figures |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return figures | {"parameters": card.get("parameters")}
