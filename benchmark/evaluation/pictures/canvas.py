"""Frames and words at places given in inches."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 120
RIGHT, WRONG, GREY = "#1a7f37", "#c4001a", "#444444"


def blank(width: float, height: float) -> "Figure":
    """An empty white figure, inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def png(figure: "Figure") -> bytes:
    """The figure as a PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    return file.getvalue()


def image(figure: "Figure", frame: Tensor, place: tuple[float, float, float, float]) -> None:
    """One frame (3, H, W) at (left, bottom, width, height) inches; pixels are shown as squares."""
    width, height = figure.get_size_inches()
    left, bottom, wide, high = place
    axes = figure.add_axes((left / width, bottom / height, wide / width, high / height))
    axes.imshow(np.asarray(frame.permute(1, 2, 0)), interpolation="nearest", vmin=0, vmax=1)
    axes.set_axis_off()


def text(figure: "Figure", x: float, y: float, words: str, **style: Any) -> None:
    """Text at inches from the lower left corner; `$` is no formula."""
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, words, va="center", parse_math=False, **style)
