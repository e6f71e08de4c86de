"""The leaderboard of a store: one row per model and defence, sorted by the per-clip worst case."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from ..benchmark.core.errors import InputError
from ..benchmark.core.files import write_atomically
from ..benchmark.evaluation.stats import interval
from ..benchmark.evaluation.store import Store
from ..benchmark.evaluation.tables import FULL_KNOWLEDGE, cells_table
from .audit_cells import by_cell
from .audit_evidence import Seen, unsearched

PLACE = ["dataset", "split", "limit", "manifest_sha256", "seed", "threat_model", "model", "weights_sha256", "defense"]
PLACE += ["defense_sha256"]  # of the checkpoints of trained defences, which share every name
"""What the cells of one row share; `threat_model` keeps attacks that append frames apart."""

CLIPS = PLACE[:6]
"""What rows share that can be compared."""


def build(store: Store) -> pd.DataFrame:
    """One row per data set, model and defence.

    Columns: PLACE, `clips`, `clean`, one per attack and kind of threat, and `worst` - each accuracy in [0, 1] with `_low` and
    `_high` - and `flags`. `worst` is the mean over clips of the share of right passes under the attack that is worst for that
    clip, over every attack and threat of the row. It is missing, and the row stands last, where no attack was measured or where a
    defended row lacks an adaptive attack (`no-adaptive:<attack>`). A failed cell leaves a gap and the flag `failed:<attack>`; a
    row that lacks an attack that others on the same clips have is not comparable with them: `missing:<column>`. What the audit
    finds of a row's cells, but for its warnings, is among its flags.

    A defence that declares no gradient has no row without a black-box attack (see `admission`). With one, attacks by
    gradient lack no adaptive number, for there can be none.

    Raises:
        InputError: The folder is no store.
    """
    return ranked(list(store.cells()), store)


def ranked(stored: Sequence[Mapping[str, Any]], store: Store) -> pd.DataFrame:
    """`build`, from cells that were read.

    Raises:
        InputError: There are none.
    """
    if not stored:
        raise InputError("store", f"{store.folder} holds no cells", "run vbench run --store <folder> first")
    by_hash, found = {cell["cell"]: cell for cell in stored}, by_cell(stored)
    rows = [_row(cells, by_hash, found) for cells in groups(stored) if not unsearched(seen(cells, by_hash))]
    _flag_gaps(rows)
    board = pd.DataFrame(rows, columns=pd.Index(_columns(rows)))
    fixed = [*PLACE, "clips"]
    measured = sorted((name for name in board if name not in fixed and name != "flags"), key=_column_order)
    order = {"dataset": True, "split": True, "worst": False, "clean": False, "model": True, "defense": True}
    board = board.reindex(columns=[*fixed, *measured, "flags"])
    return board.sort_values(list(order), ascending=list(order.values()), ignore_index=True)


def write(board: pd.DataFrame, folder: Path, more: str = "") -> list[Path]:
    """Writes `leaderboard.csv` and `leaderboard.md`, to which `more` is added.

    Raises:
        InputError: The folder cannot be written.
    """
    files = {"leaderboard.csv": board.to_csv(index=False), "leaderboard.md": markdown(board) + more}
    try:
        for name, text in files.items():
            write_atomically(folder / name, text)
    except OSError as error:
        raise InputError("out", f"cannot write {folder}: {error.strerror or error}") from None
    return [folder / name for name in files]


def markdown(board: pd.DataFrame) -> str:
    """A table per data set, in per cent with 95 % intervals; `-` where nothing was measured."""
    parts = []
    for key, rows in board.groupby(CLIPS, dropna=False):
        *place, threat_model = cast(tuple[Any, ...], key)
        names = [str(name) for name in rows.columns[rows.notna().any()] if f"{name}_low" in rows]
        head = ["model", "defense", "clips", *names, "flags"]
        lines = [
            f"## {clips_title(*place)}, {threat_model}",
            "",
            line(head),
            line(["---"] * len(head)),
        ]
        for row in rows.to_dict("records"):
            numbers = [_percent(row, name) for name in names]
            lines.append(line([safe(row["model"]), safe(row["defense"]), row["clips"], *numbers, safe(row["flags"])]))
        parts.append("\n".join(lines))
    note = "Top-1 accuracy in per cent with 95 % intervals; `worst`: per clip, under the attack and threat that hurt it most."
    return "\n\n".join(["# Leaderboard", note, *parts]) + "\n"


def groups(stored: Sequence[Mapping[str, Any]]) -> list[list[dict[Any, Any]]]:
    """The table's rows of clean and attacked cells, those of a row of the leaderboard together."""
    table = cells_table(stored)
    table = pd.DataFrame(table[table["kind"] != "corruption"])  # these have tables of their own
    table["threat_model"] = table["norm"].map(lambda norm: "frames appended" if norm == "append" else "frames kept")
    return [cells.to_dict("records") for _, cells in table.groupby(PLACE, dropna=False, sort=True)]


def seen(cells: Sequence[Mapping[str, Any]], stored: Mapping[str, Mapping[str, Any]]) -> list[Seen]:
    """The stored cells behind rows of the table."""
    return [Seen(stored[cell["cell"]], cell["flags"]) for cell in cells]


def _row(
    cells: Sequence[Mapping[str, Any]], stored: Mapping[str, Mapping[str, Any]], found: Mapping[str, set[str]]
) -> dict[str, Any]:
    row: dict[str, Any] = {name: cells[0][name] for name in PLACE} | {"clips": max(cell["n"] for cell in cells)}
    flags = [flag for cell in cells for flag in (*cell["flags"].split(), *found.get(cell["cell"], ()))]
    attacked = []
    for cell in cells:
        column = _column(cell)
        if cell["status"] != "ok":
            flags.append(f"failed:{column.replace(' ', '-')}")
        elif cell["kind"] == "clean" or not row.get(column, 2.0) <= cell["top1"]:
            row |= {column: cell["top1"], f"{column}_low": cell["top1_low"], f"{column}_high": cell["top1_high"]}
        if cell["status"] == "ok" and cell["kind"] == "attack":
            attacked.append(stored[cell["cell"]]["clips"])
    if row["defense"] != "none" and not any(one.opaque for one in seen(cells, stored)):
        adaptive = {cell["attack"] for cell in cells if cell["threat"].startswith("adaptive") and cell["status"] == "ok"}
        attacks = {cell["attack"] for cell in cells} - {"none", *adaptive}
        flags += [f"no-adaptive:{attack.partition(':')[0]}" for attack in attacks]
        attacked = [] if attacks else attacked
    return row | _worst(attacked) | {"flags": " ".join(sorted(set(flags)))}


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    """Every column that a row has, and those that are always there."""
    always = dict.fromkeys(["clean", "clean_low", "clean_high", "worst", "worst_low", "worst_high"])
    return list({key: None for row in rows for key in row} | always)


def _flag_gaps(rows: list[dict[str, Any]]) -> None:
    """Flags rows that lack a full-knowledge attack that another row on the same clips has."""
    measured: dict[str, set[str]] = {}
    for row in rows:
        measured.setdefault(_clips(row), set()).update(name for name in row if name.endswith("(full knowledge)"))
    for row in rows:
        gaps = [f"missing:{name.partition(' ')[0].partition(':')[0]}" for name in measured[_clips(row)] if name not in row]
        row["flags"] = " ".join(sorted({*row["flags"].split(), *gaps}))


def _clips(row: Mapping[str, Any]) -> str:
    return str([row[name] for name in CLIPS])


def _worst(attacked: list[Mapping[str, Any]]) -> dict[str, float]:
    """The per-clip worst case over the clips that every attack was run on."""
    if not attacked:
        return dict.fromkeys(("worst", "worst_low", "worst_high"), float("nan"))
    shared = set.intersection(*(set(clips["id"]) for clips in attacked))
    order = [name for name in attacked[0]["id"] if name in shared]
    groups = dict(zip(attacked[0]["id"], attacked[0]["group"], strict=True))
    shares = [dict(zip(clips["id"], clips["correct"], strict=True)) for clips in attacked]
    worst = [min(share[name] for share in shares) for name in order]
    low, high = interval(worst, [groups[name] for name in order])
    return {"worst": float(np.mean(worst)), "worst_low": low, "worst_high": high}


def _column(cell: Mapping[str, Any]) -> str:
    if cell["kind"] == "clean":
        return "clean"
    threat = str(cell["threat"])
    knowledge = "full knowledge" if threat.partition(":")[0] in FULL_KNOWLEDGE else threat
    return f"{cell['attack']} ({knowledge})"


def _column_order(name: str) -> tuple[int, str]:
    return ({"clean": 0, "worst": 2}.get(name.removesuffix("_low").removesuffix("_high"), 1), name)


def _percent(row: Mapping[str, Any], name: str) -> str:
    if math.isnan(row[name]):
        return "-"
    return f"{100 * row[name]:.1f} [{100 * row[f'{name}_low']:.1f}, {100 * row[f'{name}_high']:.1f}]"


def clips_title(dataset: str, split: str, limit: float | None, manifest: str, seed: int) -> str:
    """Which clips rows were measured on, for a heading."""
    which = "all clips" if limit is None or math.isnan(limit) else f"first {limit:.0f} clips"
    return f"{safe(dataset)}, {safe(split)} split, {which}, manifest {safe(manifest)[:8]}, seed {seed}"


def safe(value: Any) -> str:
    """Text that cannot break out of its table cell, or become markup."""
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`") or " "


def line(cells: list[Any]) -> str:
    """A row of a markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
