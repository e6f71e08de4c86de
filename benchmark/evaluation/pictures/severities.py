"""The contact sheet of a corruption: the clean clip and the five severities, one below the other."""

import textwrap

from torch import Tensor

from ..severity_look import Severities
from .canvas import GREY, RIGHT, WRONG, blank, image, png, text

COLUMNS = 6
"""Frames side by side: consecutive ones, so that what happens in time is seen."""

CELL, LABELS, MARGIN, LINE = 1.75, 1.75, 0.12, 0.17
"""Inches: a frame with its gap, the column of row names, the border, a line of the title."""


def draw(look: Severities) -> bytes:
    """A PNG: rows clean and severity 1 to 5; beside each its PSNR against the clean clip and what the model says."""
    columns = min(COLUMNS, look.clean.shape[1])
    width = LABELS + columns * CELL + 2 * MARGIN
    title = [line for words in _title(look) for line in textwrap.wrap(words, int(width * 15))]
    height = (len(title) + 0.6) * LINE + 6 * CELL + 2 * MARGIN
    figure = blank(width, height)
    y = height - MARGIN
    for number, line in enumerate(title):
        y -= LINE
        text(figure, MARGIN, y, line, size=8, color="black" if number == 0 else GREY, weight="normal" if number else "bold")
    y -= 0.6 * LINE
    for severity in range(6):
        bottom = y - (severity + 1) * CELL
        for line, (words, color) in enumerate(_beside(look, severity)):
            text(figure, MARGIN, bottom + 0.7 * CELL - 0.2 * line, words, size=8, color=color)
        clip = look.corrupted.get(severity) if severity else look.clean
        for column in range(columns if clip is not None else 0):
            assert clip is not None
            image(figure, _frame(clip, column), (MARGIN + LABELS + column * CELL, bottom, CELL - 0.05, CELL - 0.05))
    return png(figure)


def _frame(clip: Tensor, number: int) -> Tensor:
    return clip[:, number].float() / 255


def _title(look: Severities) -> list[str]:
    cell, label = look.cell, look.classes[look.record.label]
    assert cell.corruption is not None
    under = f" behind {cell.defense_text}" if cell.defense else ""
    return [
        f"{cell.corruption.entry.name} on {cell.model.text}{under}",
        cell.corruption.text,
        f"{cell.dataset.text} {cell.split}, clip {look.record.id}, label {label}, seed {cell.seed}; frames 1 to {COLUMNS}",
    ]


def _beside(look: Severities, severity: int) -> list[tuple[str, str]]:
    """Lines beside a row, and their colours."""
    name = f"severity {severity}" if severity else "clean"
    if severity in look.errors:
        return [(name, "black"), *((line, WRONG) for line in textwrap.wrap(look.errors[severity], 30)[:6])]
    said, score, right = look.says(severity)
    beside = [(name, "black"), (f"{said} {100 * score:.0f} %", RIGHT if right else WRONG)]
    return beside + ([(f"PSNR {look.psnr(severity):.1f} dB", GREY)] if severity else [])
