"""Names of what pictures show."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...benchmark.core.short_names import short_names
from .canvas import brief

FURTHER = ("threat", "weights_sha256", "defense_sha256", "cell")
"""What is added to names that are equal, in this order, until they are not."""

Row = Mapping[str, Any]


def clips_words(row: Row) -> str:
    """Which clips."""
    limit = row["limit"]
    which = "all clips" if limit is None or limit != limit else f"first {limit:.0f} clips"
    manifest = brief(row["manifest_sha256"], 200)[:8]
    return (
        f"{brief(row['dataset'])}, {brief(row['split'], 24)} split, {which}, manifest {manifest}, seed {brief(row['seed'], 12)}"
    )


def pipeline_names(rows: Sequence[Row], parts: Sequence[str] = ("model", "defense")) -> tuple[list[str], str]:
    """A name for each row, and what all have in common.

    Args:
        rows: With the columns `parts`, `threat`, `weights_sha256`, and where they have them `defense_sha256` and `cell`.
        parts: Columns of specs to name them by. Those in which all rows agree go into what they have in common.
    """
    short = {part: short_names([str(row[part]) for row in rows]) for part in parts}
    said = {part: [_said(part, short[part][str(row[part])]) for row in rows] for part in parts}
    varied = [part for part in parts if len({str(row[part]) for row in rows}) > 1]
    varied = varied or [parts[-1]]
    names = [", ".join(filter(None, (said[part][number] for part in varied))) for number in range(len(rows))]
    names = [brief(name, 64) for name in names]
    for further in FURTHER:
        names = _told_apart(names, rows, further)
    common = ", ".join(filter(None, (said[part][0] for part in parts if part not in varied)))
    return names, brief(common, 64)


def grouped(rows: Sequence[Row], keys: Sequence[str]) -> list[list[Row]]:
    """The rows in groups of equal keys, in their order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(str([str(row.get(key)) for key in keys]), []).append(row)
    return list(found.values())


def _told_apart(names: list[str], rows: Sequence[Row], further: str) -> list[str]:
    """Adds a column's value to names that are shared by rows that differ in it."""
    made = []
    for name, row in zip(names, rows, strict=True):
        rivals = {str(other.get(further)) for one, other in zip(names, rows, strict=True) if one == name}
        value = str(row.get(further) or "-")
        made.append(f"{name}, {brief(value, 24) if further == 'threat' else value[:6]}" if len(rivals) > 1 else name)
    return made


def _said(part: str, text: str) -> str:
    if text == "none":
        return "no defence" if part == "defense" else ""
    return text
