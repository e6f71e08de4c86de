"""The tidy tables, made from stored cells: `cells.csv`, one row per cell, and `clips.csv`, one row per cell and clip."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd

from ..core.errors import InputError
from ..core.files import write_atomically
from .flags import cross_flags, own_flags
from .stats import interval
from .store import Store

KNOWLEDGE = ("transfer", "white-box", "oblivious", "grey-box", "adaptive")
"""Kinds of threat, those whose attacker knows more later."""

FULL_KNOWLEDGE = ("white-box", "adaptive")
"""Threats whose attacker holds the very pipeline that is judged; the others share no column with them."""

OF_THE_ATTACKER = ("attack", "source", "threat")
"""Versions in a spec that a clean cell has none of."""

CELL_COLUMNS = [
    "cell",
    "dataset",
    "split",
    "limit",
    "manifest_sha256",
    "model",
    "weights_sha256",
    "kind",
    "attack",
    "corruption",
    "severity",
    "family",
    "table",
    "temporal",
    "stage",
    "size",
    "storage",
    "truncate",
    "defense",
    "defense_sha256",
    "threat",
    "strength",
    "dtype",
    "norm",
    "eps",
    "seed",
    "status",
    "n",
    "failed",
    "top1",
    "top1_low",
    "top1_high",
    "top5",
    "flips",
    "asr",
    "linf",
    "l2",
    "frames",
    "area",
    "thickness",
    "roughness",
    "grad_calls",
    "queries",
    "wall_s",
    "device",
    "reports",
    "flags",
    "error",
]
CLIP_COLUMNS = ["cell", "clip", "group", "label", "pred", "correct", "margin", "flips"]
CLIP_COLUMNS += ["linf", "l2", "frames", "area", "thickness", "roughness", "gradients", "queries", "solved", "error"]


def cells_table(cells: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per stored cell, columns CELL_COLUMNS; fractions in [0, 1], L2 over the whole clip in [0, 1] pixel units."""
    stored = list(cells)
    rows = [_row(cell) for cell in stored]
    by_place = {_place(cell["spec"]): number for number, cell in enumerate(stored) if cell["status"] == "ok"}
    right: dict[int, dict[str, float]] = {}
    for row, cell in zip(rows, stored, strict=True):
        if cell["status"] == "ok" and cell["spec"]["kind"] == "attack":
            _compare(row, cell, stored, rows, by_place, right)
    return pd.DataFrame(sorted(rows, key=_reading_order), columns=pd.Index(CELL_COLUMNS))


def clips_table(cells: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per cell and clip, columns CLIP_COLUMNS; clips that could not be decoded have an error and no numbers."""
    columns: dict[str, list[Any]] = {name: [] for name in CLIP_COLUMNS}
    for cell in cells:
        for vectors, names in (
            (cell["clips"], {"clip": "id"}),
            (_turned(cell.get("failed", ())), {"clip": "id", "error": "reason"}),
        ):
            count = len(vectors.get("id", ()))
            for name, column in columns.items():
                known = [cell["cell"]] * count if name == "cell" else vectors.get(names.get(name, name))
                column.extend([None] * count if known is None else known)
    return pd.DataFrame(columns)


def _turned(failed: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Clips that failed, as vectors."""
    return {name: [one[name] for one in failed] for name in ("id", "reason")} if failed else {}


def write_tables(store: Store) -> None:
    """Rewrites `cells.csv` and `clips.csv` from the store's cells.

    A file that this version cannot read, such as another one's cell, must not cost a run its tables: it is left out, and a line
    on stderr says so.

    Raises:
        InputError: They cannot be written.
    """
    left_out: list[str] = []
    cells = list(store.cells(left_out))
    for line in left_out:
        print(f"vbench: left out of the tables: {line}", file=sys.stderr)
    try:
        write_atomically(store.folder / "cells.csv", cells_table(cells).to_csv(index=False))
        write_atomically(store.folder / "clips.csv", clips_table(cells).to_csv(index=False))
    except OSError as error:
        raise InputError("store", f"cannot write the tables in {store.folder}: {error.strerror or error}") from None


def _row(cell: Mapping[str, Any]) -> dict[str, Any]:
    spec, clips, provenance = cell["spec"], cell["clips"], cell["provenance"]
    row = {name: spec.get(name) for name in CELL_COLUMNS if name in spec}
    row = {"corruption": "none", "severity": None, "family": None} | row
    row["defense_sha256"] = " ".join(spec.get("defense_sha256", []))
    row |= {"cell": cell["cell"], "status": cell["status"], "error": cell["error"]}
    row |= {name: value for name, value in cell.get("corruption", {}).items() if name in CELL_COLUMNS}
    row["reports"] = " ".join(cell.get("reports", []))
    row |= {"wall_s": provenance["wall_s"], "device": provenance["device"], "flags": "", "failed": len(cell.get("failed", []))}
    if cell["status"] != "ok":
        return row | {"n": 0}
    low, high = interval(clips["correct"], clips["group"])
    fit = cell["evidence"].get("fit", {})
    attacked = spec["kind"] == "attack"
    return row | {
        "n": len(clips["id"]),
        "top1": float(np.mean(clips["correct"])),
        "top1_low": low,
        "top1_high": high,
        "top5": float(np.mean(clips["top5"])),
        "flips": _mean(clips.get("flips", [])),
        "linf": max(clips["linf"]) if attacked else 0.0,
        "l2": max(clips["l2"]) if attacked else 0.0,
        # Means, as their authors report them; a bound is what the columns above are for. Cells of protocol 1 lack some.
        **{name: float(np.mean(clips.get(name, 0.0))) for name in ("frames", "area", "thickness", "roughness")},
        "grad_calls": sum(clips["gradients"]) + fit.get("gradients", 0) if attacked else 0,
        "queries": sum(clips["queries"]) + fit.get("queries", 0) if attacked else 0,
        "flags": " ".join(own_flags(cell)),
        "error": f"{row['failed']} clips failed, the first: {cell['failed'][0]['reason']}" if row["failed"] else "",
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _reading_order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """No defence before defences, clean before attacked, and the more an attacker knows the later."""
    threat = row["threat"].partition(":")[0]
    known = KNOWLEDGE.index(threat) if threat in KNOWLEDGE else -1
    made_of = (row["kind"] != "clean", row["attack"], row["family"] or "", row["corruption"], row["severity"] or 0)
    place = (row["dataset"], row["split"], str(row["limit"]), row["model"], row["weights_sha256"])
    return (*place, row["defense"] != "none", row["defense"], *made_of, known, row["cell"])


def _place(spec: Mapping[str, Any], **other: Any) -> tuple[Any, ...]:
    """What two cells must share to be neighbours in a table."""
    seen = dict(spec) | other
    threat = str(seen["threat"]).partition(":")[0]
    clean = seen["kind"] == "clean"
    shared = ("protocol", "dataset", "split", "limit", "manifest_sha256", "model", "weights_sha256", "defense", "seed", "kind")
    made_by = {part: version for part, version in seen["versions"].items() if part not in OF_THE_ATTACKER}
    made_of = str(seen["input"]), str(seen["dtype"]), str(seen.get("defense_sha256")), str(made_by)
    return (*(seen[key] for key in shared), *made_of, *(() if clean else (seen["attack"], threat)))


def _compare(
    row: dict[str, Any],
    cell: Mapping[str, Any],
    stored: list[Mapping[str, Any]],
    rows: list[dict[str, Any]],
    by_place: Mapping[tuple[Any, ...], int],
    right: dict[int, dict[str, float]],
) -> None:
    """Fills attack success rate and the flags that need neighbouring cells; `right` keeps what was found of clean ones."""
    clean = by_place.get(_place(cell["spec"], kind="clean"))
    rivals = [clean, *(by_place.get(_place(cell["spec"], threat=threat)) for threat in ("oblivious", "grey-box"))]
    without, oblivious, grey_box = (None if number is None else rows[number]["top1"] for number in rivals)
    flags = cross_flags(row["top1"], without, oblivious, row["threat"], grey_box)
    row["flags"] = " ".join([*row["flags"].split(), *flags])
    if clean is not None:
        # What the attack took of the clips that the same pipeline gets right without it, in most passes.
        if clean not in right:
            right[clean] = {one: share for one, share in _shares(stored[clean]) if share > 0.5}
        kept = sum(compress(cell["clips"]["correct"], map(right[clean].__contains__, cell["clips"]["id"])))
        row["asr"] = max(0.0, 1 - kept / sum(right[clean].values())) if right[clean] else None


def _shares(cell: Mapping[str, Any]) -> list[tuple[str, float]]:
    return list(zip(cell["clips"]["id"], cell["clips"]["correct"], strict=True))
