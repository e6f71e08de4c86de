"""How the checkpoints that the package ships are made again."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from ..core.files import sha256
from ..core.registry import resolve
from ..models import armoury, zoo
from .defended import train_defended
from .entries import Entry
from .recipe import train_tiny


def train_entry(entry: Entry, out: Path, seed: int | None = None, progress: bool = True) -> Path:
    """Trains one shipped checkpoint by its own recipe, and says on stderr whether it came out as the shipped one.

    Args:
        entry: Which.
        out: Folder to write to.
        seed: In place of the recipe's.
        progress: Whether to write to stderr.

    Returns:
        The checkpoint.

    Raises:
        InputError: As `train_tiny` and `train_defended`.
    """
    recipe = entry.recipe if seed is None else replace(entry.recipe, seed=seed)
    with _threads(entry.threads):
        if entry.defense:
            defense, model = resolve("defense", entry.defense), resolve("model", entry.model)
            dataset = resolve("dataset", entry.dataset)
            shipped = armoury.FOLDER / armoury.file_name(defense, armoury.Owner(model, dataset))
            before = sha256(shipped) if shipped.is_file() else ""
            path = train_defended(defense, model, dataset, recipe, out, progress)
        else:
            shipped = zoo.FOLDER / zoo.file_name(entry.model, "tiny", entry.dataset)
            before = sha256(shipped) if shipped.is_file() else ""
            path = train_tiny(entry.model, entry.dataset, recipe, out, progress)
    if progress and before:
        same = "the same bits as" if sha256(path) == before else "other weights than"
        print(f"{entry.name}: {same} the checkpoint that was shipped", file=sys.stderr)
    return path


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
