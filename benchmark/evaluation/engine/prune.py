"""Removing what a store keeps besides its cells."""

import shutil
from pathlib import Path

from ...core.errors import InputError
from ...core.files import size_of
from ..shelf import Shelf
from ..store import Store
from .artifacts import kept, open_cells
from .leases import Leases
from .plan import Plan, in_queue
from .worker import tidy, unfinished


def prune(store: Store, everything: bool = False) -> tuple[int, int]:
    """Removes plans that are done, what no open plan needs, and what dead workers have left.

    Args:
        store: The store.
        everything: Also open plans, as killed runs leave them, what they need, and the states of cells that are not stored.

    Returns:
        Sets of adversarial clips that were removed, and bytes in all.

    Raises:
        InputError: The store cannot be written.
    """
    before = size_of(store.folder)
    gone = [one for one in kept(store) if everything or not one.needed]
    for one in gone:
        shutil.rmtree(one.path, ignore_errors=True)
    if everything or not open_cells(store):
        Shelf(store.clips).discard()
    for path in in_queue(store):
        if everything or _is_done(path, store):
            path.unlink(missing_ok=True)
    with Leases(store.folder) as leases:
        for path in leases.folder.glob("crafted-*.json"):
            with leases.holding(path.stem):  # a dead worker's goes with the claim
                pass
        for path in (store.folder / "partial").glob("[!.]*") if everything else ():
            path.unlink(missing_ok=True)
        tidy(store, leases)
    return len(gone), max(0, before - size_of(store.folder))


def _is_done(path: Path, store: Store) -> bool:
    try:
        plan, since = Plan.read(path), path.stat().st_mtime
    except (InputError, OSError):  # gone since, or of another version, which may be at work
        return False
    return not any(one.to_run and unfinished(one, plan, store, since) for one in plan.cells)
