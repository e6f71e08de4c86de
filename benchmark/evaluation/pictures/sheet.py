"""The contact sheet: a clip, what an attack made of it, and the difference, frame by frame."""

import textwrap
from typing import TYPE_CHECKING

from torch import Tensor

from ..look import Look, levels
from .canvas import GREY, RIGHT, WRONG, blank, image, png, text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 16
"""Frames side by side at most; longer clips go on below."""

CELL, LABELS, NOTE, MARGIN = 1.15, 1.05, 0.72, 0.12
"""Inches: a frame with its gap, the column of row names, the text below a block, the border."""

LINE = 0.17
"""Inches: a line of the title."""

ROWS = ("clean", "adversarial", "change")


def magnification(change: Tensor) -> float:
    """What a change is multiplied by to be seen: the largest whole number that clips nothing, 1/2 where even 1 would."""
    largest = float(change.abs().max())
    if largest == 0:
        return 1.0
    return float(int(0.5 / largest + 1e-3)) or 0.5  # a little over, because 0.5 / (4/255) is 31.875 in exact numbers only


def magnified(look: Look) -> Tensor:
    """The change as a picture (3, T, H, W) in [0, 1]: magnified, grey where nothing changes."""
    return (0.5 + magnification(look.change) * look.change).clamp(0, 1)


def magnified_name(look: Look) -> str:
    """What the magnified change is called, with how much it was magnified."""
    return f"change x {magnification(look.change):g}"


def draw(look: Look) -> bytes:
    """A PNG: rows clean, adversarial and magnified change; below each frame its norms and the model's word.

    The word below a frame is the model's when this frame and those before it are adversarial and those after it clean, so that
    the last one is that of the adversarial clip.
    """
    columns = min(look.frames, COLUMNS)
    blocks = -(-look.frames // COLUMNS)
    width = LABELS + columns * CELL + 2 * MARGIN
    title = _title(look, int(width * 15))
    height = (len(title) + 0.6) * LINE + blocks * (3 * CELL + NOTE) + 2 * MARGIN
    figure = blank(width, height)
    y = height - MARGIN
    for line, color in title:
        y -= LINE
        text(figure, MARGIN, y, line, size=8, color=color, weight="bold" if line == title[0][0] else "normal")
    y -= 0.6 * LINE
    for first in range(0, look.frames, COLUMNS):
        _block(figure, look, first, y)
        y -= 3 * CELL + NOTE
    return png(figure)


def _title(look: Look, width: int) -> list[tuple[str, str]]:
    """Lines and their colours."""
    cell, made = look.cell, []
    label = look.classes[look.record.label]
    under = f"defence {cell.defense_text}, " if cell.defense else ""
    made.append((f"{cell.attack and cell.attack.entry.name} on {cell.model.text}", "black"))
    made.append((f"{cell.attack}", GREY))
    made.append((f"{cell.dataset.text} {cell.split}, clip {look.record.id}, label {label}; {under}threat {cell.threat}", "black"))
    for name, swapped in (("clean clip", 0), ("adversarial clip", look.frames)):
        said, score, right = look.says(swapped)
        made.append((f"{name}: {said}, {100 * score:.1f} % ({'right' if right else 'wrong'})", RIGHT if right else WRONG))
    made.append((", ".join(f"{name} {value}" for name, value in look.figures.items()), "black"))
    made.append(
        (
            "change: grey is none; below a frame: its norms, and what the model says when it and all before it are adversarial",
            GREY,
        )
    )
    if look.remark:
        made.append((look.remark, WRONG))
    return [(line, color) for text, color in made for line in textwrap.wrap(text, max(40, width)) or [""]]


def _block(figure: "Figure", look: Look, first: int, top: float) -> None:
    """Three strips of up to COLUMNS frames from `first`, and the words below them; `top` in inches from below."""
    pictures = (look.clean, look.adversarial, magnified(look))
    count = min(COLUMNS, look.frames - first)
    left = MARGIN + LABELS
    for row, (name, clip) in enumerate(zip((*ROWS[:2], magnified_name(look)), pictures, strict=True)):
        bottom = top - (row + 1) * CELL
        for column in range(count):
            size = CELL - 0.05
            image(figure, clip[:, first + column], (left + column * CELL, bottom + 0.05, size, size))
        text(figure, MARGIN, bottom + CELL / 2, name, size=8)
    below = top - 3 * CELL
    linf, l2 = look.frame_linf, look.frame_l2
    for line, name in enumerate(("frame", "L-inf", "L2", "model says")):
        text(figure, MARGIN, below - 0.1 - 0.14 * line, name, size=7)
    for column, frame in enumerate(range(first, first + count)):
        said, score, right = look.says(frame + 1)
        word = f"{said if len(said) <= 14 else said[:12] + '...'} {100 * score:.0f} %"
        for line, words in enumerate((str(frame), levels(linf[frame]), f"{l2[frame]:.3g}", word)):
            color = "black" if line < 3 else RIGHT if right else WRONG
            text(figure, left + column * CELL, below - 0.1 - 0.14 * line, words, size=7, color=color)
