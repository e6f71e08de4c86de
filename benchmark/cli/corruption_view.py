"""Corrupted rows for people: a line per corruption, a column per severity."""

from collections.abc import Sequence
from typing import Any, cast

import pandas as pd
from rich.markup import escape
from rich.table import Table

from ...leaderboard.corruption_metrics import corruption_metrics
from ..core.short_names import short_names


def corrupted(table: pd.DataFrame) -> list[Table]:
    """One table per model and defence, of the corrupted rows of a run; its title has the accuracy on clean clips.

    Args:
        table: Rows as in `cells.csv`, those on clean clips among them.
    """
    rows = table[table["kind"] == "corruption"]
    names = {column: short_names(table[column].tolist()) for column in ("model", "defense", "corruption")}
    means = corruption_metrics(table).models.to_dict("records")
    made = []
    place = ["model", "weights_sha256", "defense", "defense_sha256"]
    for group, mine in rows.groupby(place, sort=False):
        key = cast(tuple[str, str, str, str], group)
        model, _, defense, _ = key
        same = (table[place] == list(key)).all(axis=1)
        clean = table[same & (table["kind"] == "clean")]
        under = "" if defense == "none" else " behind " + names["defense"][defense]
        said = "".join(f"; clean {100 * top1:.1f} %" for top1 in clean["top1"].tolist() if top1 == top1)
        found = next(row for row in means if tuple(row[name] for name in place) == key)
        made.append(
            _one(pd.DataFrame(mine), _mean(found), names["model"][model] + f"{under}, top-1 % under corruption{said}", names)
        )
    return made


def _mean(row: dict[Any, Any]) -> str:
    """MPC and rPC, where all five severities of every corruption are there."""
    if row["mpc"] != row["mpc"]:
        return "mPC needs all five severities of every corruption"
    return f"mPC {100 * row['mpc']:.1f} %, rPC {100 * row['rpc']:.1f} % over {row['corruptions']} corruptions"


def _one(rows: pd.DataFrame, means: str, title: str, names: dict[str, dict[str, str]]) -> Table:
    severities = sorted({int(severity) for severity in rows["severity"]})
    flips = bool(rows["flips"].notna().any())
    shown = Table(title=escape(title), title_justify="left", caption=f"{means}\n{_caption(rows)}", caption_justify="left")
    for name in ("family", "corruption"):
        shown.add_column(name, overflow="fold")
    for name in (*(f"s{severity}" for severity in severities), "mean", *(["flips %"] if flips else [])):
        shown.add_column(name, justify="right", no_wrap=True)
    for name in ("table", "mode", "stage"):
        shown.add_column(name, overflow="fold")
    shown.add_column("flags", overflow="fold", style="yellow")
    for corruption, mine in rows.groupby("corruption", sort=False):
        first = mine.iloc[0]
        cells = _numbers(mine, severities)
        if flips:
            cells.append(_percent([one for one in mine["flips"] if one == one]))
        stage = first["stage"] if first["stage"] == "file" else f"{first['stage']} {first['size']:.0f} px"
        storage = "" if first["storage"] == "none" else f" {first['storage']}"
        where = [first["table"], first["temporal"], f"{stage}{storage}"]
        shown.add_row(first["family"], escape(names["corruption"][str(corruption)]), *cells, *where, escape(_flags(mine)))
    return shown


def _numbers(rows: pd.DataFrame, severities: Sequence[int]) -> list[str]:
    """Accuracy per severity and their mean; no mean where a severity failed."""
    found = {int(row["severity"]): row for row in rows.to_dict("records")}
    measured = [found[severity]["top1"] for severity in severities if severity in found and found[severity]["status"] == "ok"]
    cells = []
    for severity in severities:
        row = found.get(severity)
        cells.append("" if row is None else "!" if row["status"] != "ok" else f"{100 * row['top1']:.1f}")
    return [*cells, _percent(measured) if len(measured) == len(severities) else "-"]


def _percent(shares: Sequence[float]) -> str:
    return f"{100 * sum(shares) / len(shares):.1f}" if shares else "-"


def _flags(rows: pd.DataFrame) -> str:
    flags = dict.fromkeys(flag for text in rows["flags"] for flag in text.split())
    failed = dict.fromkeys(f"failed: {row['error']}" for row in rows.to_dict("records") if row["status"] != "ok")
    return "; ".join([" ".join(flags)] * bool(flags) + list(failed))


def _caption(rows: pd.DataFrame) -> str:
    first: dict[str, Any] = rows.iloc[0].to_dict()
    clips = max(rows["n"].to_list())
    return escape(f"{first['dataset']}, {first['split']} split, {clips} clips; {first['model']}")
