"""Figures that look the same wherever they are made: fonts, colours, and files that are equal byte for byte."""

import io
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ..rows import Picture

COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
"""Okabe and Ito's palette for the colour-blind, but for its yellow, which is lost on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
"""As many as a picture has lines: what tells two lines of one colour, or in grey, from each other."""

STYLES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1.2)))

SHOWN = len(MARKERS)
"""Lines of a picture at most."""

PAPER: dict[Any, Any] = {
    "svg.hashsalt": "vbench",
    "svg.fonttype": "path",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
"""Letters are drawn as paths, so that a page looks alike without the font."""


def style(number: int) -> dict[str, Any]:
    """Colour, marker and line style of a picture's line `number`."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": STYLES[number % len(STYLES)],
    }


def brief(text: object, width: int = 48) -> str:
    """Text on one line that every format can hold, of `width` characters at most, with an ellipsis where it was longer."""
    seen = "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(str(text).split()))
    return seen if len(seen) <= width else seen[: width - 1].rstrip() + "…"


def slug(text: str) -> str:
    """A part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-")


@contextmanager
def drawing() -> Iterator[None]:
    """Matplotlib's own defaults and PAPER while a figure is made and saved, whatever the user's settings are."""
    import matplotlib
    from matplotlib import style as styles

    with styles.context("default"), matplotlib.rc_context(PAPER), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # of a name; a box is drawn in its place
        yield


def new_figure(width: float, height: float, title: str) -> Any:
    """An empty figure of this size in inches, with a title."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    lines = [line for part in title.split("\n") for line in textwrap.wrap(part, int(13.5 * width))]
    figure.suptitle("\n".join(lines), fontsize=10, x=0.01, ha="left", parse_math=False)
    return figure


def legend(figure: Any, marks: Sequence[Any], names: Sequence[str]) -> None:
    """The names of a figure's lines, below it; two columns where they are short."""
    columns = 2 if len(names) > 3 and max(map(len, names)) <= 44 else 1
    made = figure.legend(marks, names, loc="outside lower left", ncols=columns, fontsize=8, frameon=False, handlelength=4)
    for text in made.get_texts():
        text.set_parse_math(False)


def picture(name: str, title: str, alt: str, make: Callable[[], Any]) -> Picture:
    """The files of a figure.

    Args:
        name: Of the files.
        title: What it shows.
        alt: The same in words.
        make: Draws the figure, with the settings of `drawing`.
    """
    with drawing():
        figure = make()
        png, svg = io.BytesIO(), io.StringIO()
        figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
        figure.set_layout_engine(None)  # what it has placed stays there: laying out takes as long as drawing
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Picture(name, title.replace("\n", "; "), alt, png.getvalue(), _inline(svg.getvalue()))


def unlike(pictures: Sequence[Picture]) -> list[Picture]:
    """The pictures, those of one name numbered, and with identifiers that no other of them has, so that a page can hold all."""
    count: Counter[str] = Counter()
    made = []
    for one in pictures:
        count[one.name] += 1
        name = one.name if count[one.name] == 1 else f"{one.name}-{count[one.name]}"
        made.append(replace(one, name=name, svg=re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", one.svg)))
    return made


def _inline(svg: str) -> str:
    """The drawing without its prolog and comments, which repeat every text."""
    return re.sub(r"<!--.*?-->\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
