"""Clips of the embedded world on disk: written once, found again."""

import csv
import hashlib
import io
import shutil
import tempfile
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..core.errors import InputError
from ..core.files import cache_root, sha256, write_atomically
from ..core.progress import progress
from . import shapes_world

SIZES = {"train": 1600, "val": 160}
"""Clips of the splits that are made on demand."""

_FIRST_SEED = {"test": 0, "val": 1_000_000, "train": 2_000_000}
"""The splits' seeds lie a million apart, so no clip is in two of them."""


def ensure(variant: str, split: str) -> Path:
    """The folder with a split's `<variant>.csv` and clips, made if it is not there yet.

    Clips are made in a folder of another name that is renamed when complete: an interrupted run leaves nothing that looks
    finished, and of two processes that make it at once the first wins. The name holds a hash of the renderer's source and of
    the size, so clips of a changed world are never mixed with old ones.

    Raises:
        InputError: The cache folder cannot be written.
    """
    source = Path(shapes_world.__file__).read_bytes()
    world = hashlib.sha256(source + f"{split} {SIZES[split]} {_FIRST_SEED[split]}".encode()).hexdigest()[:12]
    folder = cache_root() / "shapes" / f"{variant}-{split}-{world}"
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise _unwritable(error) from None
    try:
        write_clips(making, variant, split, SIZES[split])
        making.chmod(0o755)
        making.rename(folder)
    except OSError as error:
        if not folder.is_dir():
            raise _unwritable(error) from None
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return folder


def write_clips(folder: Path, variant: str, split: str, count: int) -> None:
    """Writes `<folder>/<variant>/*.mp4` and then `<folder>/<variant>.csv` (id, path, label, class, group, sha256).

    Clip i has label i mod 8 and its own seed. A progress bar goes to stderr if that is a terminal and `VBENCH_NO_PROGRESS` is
    not set.

    Raises:
        OSError: The folder cannot be written.
    """
    (folder / variant).mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("id", "path", "label", "class", "group", "sha256"))
    with _progress() as progress:
        for number in progress.track(range(count), description=f"making {variant} {split}"):
            label = number % len(shapes_world.CLASSES)
            name = f"{variant}-{split}-{number:04d}"
            path = folder / variant / f"{number:04d}.mp4"
            shapes_world.encode(path, shapes_world.render(variant, label, _FIRST_SEED[split] + number))
            place = path.relative_to(folder).as_posix()
            table.writerow((name, place, label, shapes_world.CLASSES[label], name, sha256(path)))
    write_atomically(folder / f"{variant}.csv", text.getvalue())


def _progress() -> Progress:
    return progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def _unwritable(error: OSError) -> InputError:
    return InputError("VBENCH_CACHE", f"the cache folder cannot be written: {error}", "set VBENCH_CACHE to a folder of your own")
