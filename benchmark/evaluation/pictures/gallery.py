"""Every registered attack on one clip, for the page: one that fails is shown with its error, and the others go on."""

from collections.abc import Callable, Iterator
from typing import Any

from ...core.errors import InputError
from ...core.params import Field
from ...core.registry import Component, Entry, entries, resolve
from ..bench import Bench
from ..cell import Cell
from ..look import take, work
from .page import Shown

BRIEF = {"steps": 50, "queries": 500, "restarts": 1, "fit_clips": 16}
"""Parameters of attacks and the most that they are given on the page, so that it is made in minutes."""


def gallery(
    cell_of: Callable[[Component], Cell], bench: Bench, wanted: str, start: Callable[[str, int], None] = lambda name, work: None
) -> Iterator[Shown]:
    """Runs every registered attack in brief on the same clip.

    Args:
        cell_of: The cell of an attack.
        bench: The live objects.
        wanted: The clip, as for `look.find_clip`.
        start: Called before each attack with its number and name and the forward passes that it needs at most.
    """
    known = sorted(entries("attack").items())
    for number, (name, entry) in enumerate(known, start=1):
        changes = dict(_changes(entry))
        spec, said = name, tuple(f"{field} = {new} instead of {old}" for field, (new, old) in changes.items())
        try:
            attack = resolve("attack", name, **{field: new for field, (new, _) in changes.items()})
            spec, cell = str(attack), cell_of(attack)
            bench.check(cell)
            start(f"{number}/{len(known)} {name}", work(cell, bench))
            yield Shown(entry, spec, said, take(cell, bench, wanted))
        except Exception as error:  # a failing attack is a part of the page, which goes on
            reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            yield Shown(entry, spec, said, None, " ".join(reason.split()))


def _changes(entry: Entry) -> Iterator[tuple[str, tuple[str, str]]]:
    """Parameters that the page cuts: name, and new and default value as text."""
    for field in entry.fields:
        if field.name in BRIEF and _number(field.default) > (most := _most(field)):
            yield field.name, (field.format(most), field.format(field.default))


def _most(field: Field) -> int:
    return max(BRIEF[field.name], int(field.low or 0))


def _number(value: Any) -> float:
    return value if isinstance(value, (int, float)) else 0.0
