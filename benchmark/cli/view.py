"""Tables for people, on stdout."""

import json as json_module
import math
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.short_names import short_names
from .corruption_view import corrupted


def print_rows(table: pd.DataFrame, json: bool) -> None:
    """Prints the rows of a run: as a table with intervals and flags, or as JSON, the columns of `cells.csv`."""
    if json:
        print(json_module.dumps(json_module.loads(str(table.to_json(orient="records"))), indent=1))
        return
    if table.empty:
        print("no cell is stored")
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    under = table["kind"] == "corruption"
    longer = table["norm"] == "append"
    # Another threat model: such rows never stand beside those that keep the clip's frames.
    for part, title in ((table[~longer & ~under], ""), (table[longer], ", with frames appended")):
        if not part.empty:
            console.print(_table(pd.DataFrame(part), title))
    for one in corrupted(table):
        console.print(one)


def _table(table: pd.DataFrame, title: str) -> Table:
    shown = Table(title=_title(table) + title, title_justify="left", caption=_caption(table), caption_justify="left")
    for name in ("model", "attack", "defense", "threat"):
        shown.add_column(name, overflow="fold")
    for name in ("top-1 %", "95 % interval", "success %"):
        shown.add_column(name, justify="right", no_wrap=True)
    reports = any(table["reports"])
    if reports:
        shown.add_column("measured", overflow="fold")
    shown.add_column("flags", overflow="fold", style="yellow")
    names = {column: short_names(table[column].tolist()) for column in ("model", "attack", "defense")}
    names["threat"] = _threats(table["threat"].tolist())
    for row in table.to_dict("records"):
        *cells, flags = _cells(row, names)
        shown.add_row(*cells, *([_reported(row)] if reports else []), flags)
    return shown


def _reported(row: dict[Any, Any]) -> str:
    """Means per clip of what the attack reports: thickness, roughness and area in per cent."""
    if row["status"] != "ok":
        return ""
    values = {"frames": f"{row['frames']:.1f}", "queries": f"{row['queries'] / row['n']:.0f}"}
    values |= {name: f"{100 * row[name]:.2f} %" for name in ("thickness", "roughness", "area")}
    return ", ".join(f"{name} {values[name]}" for name in row["reports"].split())


def _cells(row: dict[Any, Any], short: dict[str, dict[str, str]]) -> list[str]:
    model, attack, defense = (short[column][row[column]] for column in ("model", "attack", "defense"))
    attack, threat = ("clean", "-") if row["kind"] == "clean" else (attack, short["threat"][row["threat"]])
    names = [escape(text) for text in (model, attack, defense, threat)]
    if row["status"] != "ok":
        return [*names, "!", "", "", escape(f"failed: {row['error']}")]
    asr = row["asr"]
    success = "-" if asr is None or math.isnan(asr) else f"{100 * asr:.1f}"
    interval = f"{100 * row['top1_low']:.1f} - {100 * row['top1_high']:.1f}"
    return [*names, f"{100 * row['top1']:.1f}", interval, success, escape(row["flags"])]


def _threats(threats: list[str]) -> dict[str, str]:
    """Threats as people read them: of a transfer, the short name of the source."""
    sources = [threat.partition(":")[2] for threat in threats if threat.startswith("transfer:")]
    short = short_names(sources)
    return {threat: threat for threat in threats} | {f"transfer:{source}": f"transfer:{short[source]}" for source in sources}


def _title(table: pd.DataFrame) -> str:
    first, clips = table.iloc[0], max(table["n"].to_list())
    return f"{escape(first['dataset'])}, {first['split']} split, {clips} clips"


def _caption(table: pd.DataFrame) -> str:
    lines = []
    for column in ("model", "attack", "defense"):
        lines += [escape(spec) for spec in table[column].unique() if ":" in spec]
    full = "attacks run to full strength on every clip"
    says = {"full": full, "full-8bit": full, "first-success": "attacks leave a clip when it is fooled"}
    lines += dict.fromkeys(says[strength] for strength in table["strength"].unique() if strength in says)
    return "\n".join(lines)
