"""Model cards and published checkpoints as people read them; nothing here imports torch."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..models import cards
from ..models.cards import Checkpoint
from ..models.published import cached

WIDTH = 200
"""Columns where the output is no terminal."""


def wide_console() -> Console:
    """A console for wide tables on stdout."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def print_card(console: Console, model: str) -> None:
    """Prints a model's card: paper, score fusion, what each preset takes and costs, and its published checkpoints."""
    card = cards.card(model)
    console.print(f"\nPaper: {card.paper}\nScores: {card.fusion}", markup=False, highlight=False)
    table = Table("preset", "frames", "crop", "sampler", "resize", "mean", "std", "parameters", "GMACs", "CAM layer", box=None)
    for column in table.columns[7:9]:
        column.justify = "right"
    for name, preset in card.presets.items():
        parts = (preset.input["frames"], preset.input["size"], _sampler(preset.input), _resize(preset.input))
        costs = (f"{preset.parameters:,}", f"{preset.gmacs:.3g}", preset.cam_layer)
        table.add_row(name, *map(str, parts), _triple(preset.input["mean"]), _triple(preset.input["std"]), *costs)
    console.print("\nInputs and costs of one clip:")
    console.print(table)
    if card.checkpoints:
        console.print("\nPublished checkpoints, none of them run here with data unless verified; --weights NAME:")
        console.print(checkpoint_table(card.checkpoints))
        for one in card.checkpoints:
            note = f" ({one.note})" if one.note else ""
            console.print(f"{one.name}: {one.url or one.page}{note}", markup=False, highlight=False, soft_wrap=True)


def checkpoint_table(found: Sequence[Checkpoint]) -> Table:
    """One row per checkpoint: what it fits, what its publisher claims, and whether it is on this machine."""
    table = Table(box=None, pad_edge=False)
    for name in (
        "model",
        "name",
        "preset",
        "data set",
        "frames",
        "labels",
        "own input",
        "published",
        "licence",
        "verified",
        "here",
    ):
        table.add_column(name, overflow="fold")
    for one in found:
        row = row_of(one)
        changed = ", ".join(f"{key}={_short(value)}" for key, value in one.input.items())
        here = "yes" if row["path"] else "no" if one.url else "by hand"
        fits = (one.model, one.name, one.preset, one.dataset, str(row["frames"]), one.labels, changed)
        table.add_row(*map(escape, (*fits, one.published, one.licence, "yes" if one.verified else "no", here)))
    return table


def row_of(one: Checkpoint) -> dict[str, Any]:
    """A checkpoint as JSON: its card's fields, the frames that it takes, and where its file lies."""
    path = cached(one)
    preset = cards.card(one.model).presets[one.preset]
    return vars(one) | {"frames": one.frames or preset.input["frames"], "path": str(path) if path else ""}


def _sampler(spec: dict[str, Any]) -> str:
    every = f" every {spec['interval']}" if spec["sampler"] == "dense" else ""
    return f"{spec['sampler']}{every}" + (f" at {spec['rate']:g} fps" if spec.get("rate") else "")


def _resize(spec: dict[str, Any]) -> str:
    side = f"{spec['short_side']} x {spec['long_side']}" if "long_side" in spec else f"short side {spec['short_side']}"
    return f"{side}, {spec['resize']}" + (f", {spec['channels']}" if "channels" in spec else "")


def _triple(values: Sequence[float]) -> str:
    texts = [f"{value:.3g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else " ".join(texts)


def _short(value: Any) -> str:
    return "/".join(f"{one:.3g}" for one in value) if isinstance(value, (list, tuple)) else str(value)
