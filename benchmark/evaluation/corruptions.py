"""What the table says of a corruption: its dimensions, each in a column of its own."""

from typing import Any

from ..core.corruption import Corruption
from ..core.registry import Component


def described(component: Component, corruption: Corruption) -> dict[str, Any]:
    """Family, severity table, temporal mode, stage, canonical size, storage and rounding of a corruption.

    `size` is empty where the source keeps its own; `broken` names what is wrong with the published severities, if anything is.
    """
    return {
        "family": component.entry.family,
        "table": corruption.table,
        "temporal": corruption.temporal,
        "stage": corruption.stage,
        "size": corruption.canonical if corruption.stage == "frames" else None,
        "storage": corruption.storage,
        "truncate": corruption.truncate,
        "broken": corruption.broken.get(corruption.table, ""),
    }
