"""Removing what a store keeps besides its cells."""

import shutil

from ...core.files import size_of
from ..store import Store
from .artifacts import kept
from .leases import Leases
from .plan import in_queue
from .worker import clear, plan_is_open, tidy


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
    for path in in_queue(store):
        if everything or plan_is_open(path, store) is False:
            path.unlink(missing_ok=True)
    clear(store)
    with Leases(store.folder) as leases:
        for path in leases.folder.glob("crafted-*.json"):
            with leases.holding(path.stem):  # a dead worker's goes with the claim
                pass
        for path in (store.folder / "partial").glob("[!.]*") if everything else ():
            path.unlink(missing_ok=True)
        tidy(store, leases)
    return len(gone), max(0, before - size_of(store.folder))
