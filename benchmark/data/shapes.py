"""The embedded world: `shapes`, `shapes-object` and `shapes-motion`.

The test clips ship with the package; training and validation clips are made on first use. A maintainer makes the shipped files
anew, after a change of the world, with `python -m robustvideo.benchmark.data.shapes [--per-class 32] [--folder DIR]`.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..core.interfaces import ClipRecord
from ..core.registry import register
from .labels import check_split
from .manifest import Manifest
from .shapes_cache import SIZES, ensure, write_clips
from .shapes_world import CLASSES, VARIANTS

SHIPPED = Path(__file__).parent / "shapes"
"""Where the test split lies: `<variant>.csv` and `<variant>/*.mp4`."""

PER_CLASS = 32
"""Shipped test clips of a class."""

FIRST = 64
"""Clips of the split `test`, so few that a newcomer's first run takes a minute; `test-large` has all of them."""


class _Shapes:
    """What the three variants share."""

    variant: ClassVar[str]

    @property
    def classes(self) -> tuple[str, ...]:
        """The eight directions of motion."""
        return CLASSES

    def records(self, split: str) -> list[ClipRecord]:
        """The videos of `test` (64), `test-large` (256, those of `test` among them), `train` (1,600) or `val` (160).

        Each clip is its own group.

        Raises:
            InputError: There is no such split, or the cache folder cannot be written.
        """
        check_split(split, ("test", "test-large", *SIZES), f"dataset {self.variant}")
        folder = SHIPPED if split.startswith("test") else ensure(self.variant, split)
        records = Manifest(str(folder / f"{self.variant}.csv")).records("test")
        return records[:FIRST] if split == "test" else records


@register("dataset", "shapes")
@dataclass(frozen=True)
class Shapes(_Shapes):
    """Toy videos in which background, object and motion each tell the class (Hwang et al. 2024, section 3.2)."""

    version: ClassVar[int] = 1
    variant: ClassVar[str] = "shapes"


@register("dataset", "shapes-object")
@dataclass(frozen=True)
class ShapesObject(_Shapes):
    """Toy videos in which object and motion each tell the class; the background is random."""

    version: ClassVar[int] = 1
    variant: ClassVar[str] = "shapes-object"


@register("dataset", "shapes-motion")
@dataclass(frozen=True)
class ShapesMotion(_Shapes):
    """Toy videos in which motion alone tells the class; background and object are random."""

    version: ClassVar[int] = 1
    variant: ClassVar[str] = "shapes-motion"


def write_test_split(variant: str, folder: Path, per_class: int) -> None:
    """Makes the files that ship: `<folder>/<variant>.csv` and `<folder>/<variant>/*.mp4`, in place of older ones.

    Args:
        variant: One of `shapes_world.VARIANTS`.
        folder: Where to.
        per_class: Clips of each of the eight classes.
    """
    clips = folder / variant
    clips.mkdir(parents=True, exist_ok=True)
    for old in clips.glob("*.mp4"):
        old.unlink()
    write_clips(folder, variant, "test", per_class * len(CLASSES))


def main() -> None:
    """Writes the test splits of all variants; for maintainers."""
    parser = argparse.ArgumentParser(prog="python -m robustvideo.benchmark.data.shapes", description=main.__doc__)
    parser.add_argument("--per-class", type=int, default=PER_CLASS, help=f"clips of each class, default {PER_CLASS}")
    parser.add_argument("--folder", type=Path, default=SHIPPED, help="where to, default: the package's own")
    options = parser.parse_args()
    for variant in VARIANTS:
        write_test_split(variant, options.folder, options.per_class)


if __name__ == "__main__":
    main()
