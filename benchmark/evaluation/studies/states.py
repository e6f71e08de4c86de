"""Which tables and figures of the papers can be run here, and which were."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..store import Store
from . import grids
from .places import Key, Want, spec_key
from .tables import refusal


class Entry(NamedTuple):
    """A table or figure: its name, what it shows, and whether it runs here or was measured."""

    name: str
    shows: str
    state: str


def entries(store: Path | None = None) -> list[Entry]:
    """Every table and figure of the papers.

    Args:
        store: Where cells may lie already; a folder that is no store is taken for an empty one.

    Raises:
        InputError: A cell of the store cannot be read.
    """
    stored = Store(store).cells() if store and (store / "cells").is_dir() else ()
    known = {spec_key(cell["spec"]) for cell in stored if cell["status"] == "ok"}
    asked: dict[tuple[str, str], str] = {}

    def refused(want: Want) -> str:
        """The wants of a place share model and defence, and so do many places; looking a checkpoint up reads its file."""
        key = str(want.model), want.key[5]
        if key not in asked:
            asked[key] = refusal(want)
        return asked[key]

    return [Entry(entry["name"], entry["shows"], _state(entry, known, refused)) for entry in grids.index()]


def _state(entry: dict[str, str], known: set[Key], refused: Callable[[Want], str]) -> str:
    if "why" in entry:
        return f"cannot be run here: {entry['why']}"
    if "study" in entry:
        return f"runs here: vbench paper {entry['study']}"
    places = grids.find_grid(entry["name"]).places
    measured = sum(bool(place.wants) and all(want.key in known for want in place.wants) for place in places)
    reasons = [place.skip or (refused(place.wants[0]) if place.wants else "") for place in places]
    state = f"measured in this store ({measured} of {len(places)} numbers); " if measured else ""
    open_ = [reason for reason in reasons if reason]
    if not open_:
        return f"{state}runs here"
    more = len(dict.fromkeys(open_)) - 1
    others = f" (and {more} more reasons)" if more > 1 else " (and another reason)" if more else ""
    return f"{state}part of it runs here, {len(places) - len(open_)} of {len(places)} numbers: {open_[0]}{others}"
