"""HMDB51."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..core.errors import InputError
from ..core.params import param
from ..core.registry import register
from .annotations import Listed, numbered
from .official import Official
from .tree import stem
from .ucf101 import from_places, list_name

_TAGS = re.compile(r"_[a-z]_[a-z]{2}_np\d_[a-z]{2}_[a-z]{3}_\d+$")


@register("dataset", "hmdb51")
@dataclass(frozen=True)
class Hmdb51(Official):
    """HMDB51 (Kuehne et al. 2011): 6,766 clips of 51 actions from films and the web, three official splits.

    Splits `1`, `2`, `3` are the clips marked 2 (test) in <class>_test_split<k>.txt and `1-train` ... those marked 1; clips
    marked 0 are in neither. MMAction2's testlist01.txt and trainlist01.txt are read too. Labels follow the alphabet. A file is
    named <video>_<class>_<tags>_<number>.avi: clips cut from one video form a group.
    """

    version: ClassVar[int] = 1
    name: ClassVar[str] = "hmdb51"
    splits: ClassVar[tuple[str, ...]] = ("1", "2", "3", "1-train", "2-train", "3-train")
    default_split: ClassVar[str] = "1"
    sizes: ClassVar[dict[str, int]] = {
        "1": 1530, "2": 1530, "3": 1530, "1-train": 3570, "2-train": 3570, "3-train": 3570
    }  # fmt: skip
    count: ClassVar[int] = 51
    homes: ClassVar[tuple[str, ...]] = ("hmdb51_org", "hmdb51", "videos", "rawframes", "frames")
    by_class: ClassVar[bool] = True
    example: ClassVar[str] = "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi"

    root: str = param(help="folder of the copy: class folders, or hmdb51_org and testTrainMulti_7030_splits", identity=False)
    annotations: str = param("", help="folder of <class>_test_split1.txt; empty: looked for near root", identity=False)

    def sources(self, split: str) -> Sequence[Path]:
        """The 51 files of the split, or MMAction2's one."""
        pattern = f"*_test_split{split[0]}.txt"
        first = next(self.candidates(pattern), None)
        if first is not None:
            return sorted(first.parent.glob(pattern))
        return (self.needed(list_name(split), pattern),)

    def parse(self, split: str) -> Iterable[Listed]:
        """The clips of the split."""
        wanted = "1" if split.endswith("train") else "2"
        for path in self.sources(split):
            kind = _class_of(path)
            if not kind:
                yield from from_places(self, path)
                continue
            label = self.label(kind, path)
            for line, text in numbered(path, self.owner):
                file, _, mark = text.rpartition(" ")
                if not file or mark not in ("0", "1", "2"):
                    raise InputError(self.owner, f"{path} line {line} reads {text!r}", "a line is: <file>.avi and 0, 1 or 2")
                if mark == wanted:
                    name, group = self.identity(stem(file.strip()), label)
                    yield Listed(name, f"{kind}/{file.strip()}", label, group)

    def named(self) -> tuple[str, ...]:
        """The classes that have a file, by the alphabet."""
        kinds = tuple(sorted(filter(None, map(_class_of, self.sources(self.splits[0])))))
        return kinds or self._folders()

    def identity(self, name: str, label: int) -> tuple[str, str]:
        """brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0 of group April_09."""
        kind = self.classes[label].replace(" ", "_")
        return f"{kind}/{name}", _TAGS.sub("", name).removesuffix(f"_{kind}")


def _class_of(path: Path) -> str:
    match = re.fullmatch(r"(.+)_test_split\d\.txt", path.name)
    return match[1] if match else ""
