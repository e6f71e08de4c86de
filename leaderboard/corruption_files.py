"""Corruption metrics of a store as a section of the leaderboard, and as CSV files."""

from typing import Any, cast

from ..benchmark.core.errors import InputError
from .corruption_metrics import CLIPS, PLACE, CorruptionMetrics, corruption_metrics
from .markdown import clips_title, line, safe
from .results import Results
from .wide import csv

SHARES = ("clean", "mpc", "rpc", "mce", "relative_mce", "gamma_a", "gamma_r", "flips")
HEADS = ("clean", "mPC", "rPC", "mCE", "rel. mCE", "gamma_a", "gamma_r", "flips")

NOTE = (
    "Means over severities, then over the corruptions that all rows on the same clips have, in per cent. mPC: mean accuracy; "
    "rPC: mPC over clean accuracy; mCE: error over that of the baseline{baseline}; gamma_a, gamma_r: absolute and relative "
    "robustness of Schiappa et al. 2023 (gamma_r is rPC); flips: how often a decision changes from frame to frame. `-`: a cell "
    "of the mean is missing, or it was not asked for."
)


def tables(results: Results, baseline: str | None = None) -> CorruptionMetrics:
    """The metrics of the corrupted cells.

    Args:
        results: The cells.
        baseline: Model that mCE divides by; see `corruption_metrics`.

    Raises:
        InputError: The baseline is not among them, or lacks a cell.
    """
    if baseline is not None and "corruption" not in set(results.table["kind"]):
        raise InputError("baseline", "the store has no corrupted cells", "run vbench run --corruption ... first")
    return corruption_metrics(results.table, baseline)


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
        parts.append(f"\n## {safe(clips_title(*cast(tuple[Any, ...], key)))}\n")
        parts += [line(head), line(["---"] * len(head))]
        for row in sorted(rows.to_dict("records"), key=lambda row: -row["mpc"] if row["mpc"] == row["mpc"] else 1.0):
            mine = by_family.get(_place(row), {})
            had = row["corruptions"] + row["left_out"]
            count = f"{row['corruptions']}" + (f" of {had}" if row["left_out"] else "")
            count += f" ({row['missing']} cells missing)" if row["missing"] else ""
            shares = [_percent(row[name]) for name in SHARES] + [_percent(mine.get(family, float("nan"))) for family in families]
            parts.append(line([safe(row["model"]), safe(row["defense"]), count, *shares, _flags(row["flags"])]))
    return "\n".join(parts) + "\n"


def files(found: CorruptionMetrics) -> dict[str, str | bytes]:
    """`corruption_models.csv`, `corruption_families.csv` and `corruptions.csv`, where there are such cells."""
    if found.models.empty:
        return {}
    made = {"corruption_models": found.models, "corruption_families": found.families, "corruptions": found.corruptions}
    return {f"{name}.csv": csv(table) for name, table in made.items()}


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
