"""Corruption metrics of a store as a section of the leaderboard, and as CSV files."""

from pathlib import Path
from typing import Any, cast

from ..benchmark.core.errors import InputError
from ..benchmark.core.files import write_atomically
from ..benchmark.evaluation.store import Store
from ..benchmark.evaluation.tables import cells_table
from .board import clips_title, line, safe
from .corruption_metrics import CLIPS, PLACE, CorruptionMetrics, corruption_metrics

SHARES = ("clean", "mpc", "rpc", "mce", "relative_mce", "gamma_a", "gamma_r", "flips")
HEADS = ("clean", "mPC", "rPC", "mCE", "rel. mCE", "gamma_a", "gamma_r", "flips")

NOTE = (
    "Means over severities, then over the corruptions that all rows on the same clips have, in per cent. mPC: mean accuracy; "
    "rPC: mPC over clean accuracy; mCE: error over that of the baseline{baseline}; gamma_a, gamma_r: absolute and relative "
    "robustness of Schiappa et al. 2023 (gamma_r is rPC); flips: how often a decision changes from frame to frame. `-`: a cell "
    "of the mean is missing, or it was not asked for."
)


def tables(store: Store, baseline: str | None = None) -> CorruptionMetrics:
    """The metrics of a store's corrupted cells.

    Args:
        store: The cells.
        baseline: Model that mCE divides by; see `corruption_metrics`.

    Raises:
        InputError: The baseline is not in the store, or lacks a cell.
    """
    cells = cells_table(store.cells())
    if baseline is not None and "corruption" not in set(cells["kind"]):
        raise InputError("baseline", "the store has no corrupted cells", "run vbench run --corruption ... first")
    return corruption_metrics(cells, baseline)


def markdown(found: CorruptionMetrics, baseline: str | None = None) -> str:
    """A table per set of clips, best mPC first, and under it accuracy by family; empty where there are no such cells."""
    if found.models.empty:
        return ""
    by_family: dict[str, dict[str, float]] = {}
    for row in found.families.to_dict("records"):
        by_family.setdefault(_place(row), {})[row["family"]] = row["accuracy"]
    parts = ["\n# Corruptions\n", NOTE.format(baseline=f" {safe(baseline)}" if baseline else ", which --baseline declares")]
    families = sorted(found.families["family"].unique())
    for key, rows in found.models.groupby(CLIPS, dropna=False):
        head = ["model", "defense", "corruptions", *HEADS, *families, "flags"]
        parts.append(f"\n## {clips_title(*cast(tuple[Any, ...], key))}\n")
        parts += [line(head), line(["---"] * len(head))]
        for row in sorted(rows.to_dict("records"), key=lambda row: -row["mpc"] if row["mpc"] == row["mpc"] else 1.0):
            mine = by_family.get(_place(row), {})
            had = row["corruptions"] + row["left_out"]
            count = f"{row['corruptions']}" + (f" of {had}" if row["left_out"] else "")
            count += f" ({row['missing']} cells missing)" if row["missing"] else ""
            shares = [_percent(row[name]) for name in SHARES] + [_percent(mine.get(family, float("nan"))) for family in families]
            parts.append(line([safe(row["model"]), safe(row["defense"]), count, *shares, _flags(row["flags"])]))
    return "\n".join(parts) + "\n"


def write(found: CorruptionMetrics, folder: Path) -> list[Path]:
    """Writes `corruption_models.csv`, `corruption_families.csv` and `corruptions.csv`, where there are such cells.

    Raises:
        InputError: The folder cannot be written.
    """
    if found.models.empty:
        return []
    files = {"corruption_models.csv": found.models, "corruption_families.csv": found.families}
    files |= {"corruptions.csv": found.corruptions}
    try:
        for name, table in files.items():
            write_atomically(folder / name, table.to_csv(index=False))
    except OSError as error:
        raise InputError("out", f"cannot write {folder}: {error.strerror or error}") from None
    return [folder / name for name in files]


def _place(row: dict[Any, Any]) -> str:
    return str([row[name] for name in PLACE])


def _percent(share: float) -> str:
    return "-" if share != share else f"{100 * share:.1f}"


def _flags(text: str) -> str:
    """Flags that differ by corruption alone are counted; `corruption_models.csv` has them all."""
    alike: dict[str, list[str]] = {}
    for flag in text.split():
        alike.setdefault(flag.partition(":")[0], []).append(flag)
    return safe(
        " ".join(f"{name}:{len(found)}-corruptions" if len(found) > 2 else " ".join(found) for name, found in alike.items())
    )
