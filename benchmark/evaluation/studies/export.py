"""A study as files: CSV and a plot."""

import io
from pathlib import Path
from typing import Any

import pandas as pd

from ...core.errors import InputError
from ...core.files import write_atomically
from .catalogue import Study


def export(study: Study, table: pd.DataFrame, folder: Path) -> list[Path]:
    """Writes `<study>.csv` (fractions) and `<study>.png` (per cent), slashes in the name as dashes.

    Returns:
        The two files.

    Raises:
        InputError: The folder cannot be written.
    """
    stem = study.name.replace("/", "-")
    try:
        write_atomically(folder / f"{stem}.csv", table.to_csv(index=False))
        write_atomically(folder / f"{stem}.png", plot(study, table))
    except OSError as error:
        raise InputError("out", f"{folder} cannot be written: {error.strerror or error}") from None
    return [folder / f"{stem}.csv", folder / f"{stem}.png"]


def plot(study: Study, table: pd.DataFrame) -> bytes:
    """A PNG: one panel per model, one line per data set over the conditions, with intervals; published values as stars."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    models = list(table.dropna(subset=["top1"]).groupby("model", sort=False))
    figure = Figure(figsize=(1.5 + 3.5 * len(models), 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for panel, (model, of_model) in zip(panels, models, strict=True):
        for dataset, rows in of_model.groupby("dataset", sort=False):
            _draw(panel, str(dataset), rows)
        panel.set_title(str(model))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy, %")
    panels[0].set_ylim(0, 102)
    panels[0].legend()
    figure.suptitle(f"{study.about}\n(stars: published values)", fontsize="small")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def _draw(panel: Any, dataset: str, rows: pd.DataFrame) -> None:
    top1, low, high, published = (100 * rows[name].astype(float) for name in ("top1", "top1_low", "top1_high", "published"))
    spread = [(top1 - low).clip(0), (high - top1).clip(0)]
    line = panel.errorbar(rows["condition"], top1, yerr=spread, marker="o", capsize=3, label=dataset)
    color = line[0].get_color()
    panel.plot(rows["condition"], published, linestyle="", marker="*", markersize=12, color=color, zorder=3)
