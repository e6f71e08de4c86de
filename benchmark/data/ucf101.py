"""UCF101."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from ..core.errors import InputError
from ..core.params import param
from ..core.registry import register
from .annotations import Listed, numbered
from .official import Official
from .tree import stem


@register("dataset", "ucf101")
@dataclass(frozen=True)
class Ucf101(Official):
    """UCF101 (Soomro et al. 2012): 13,320 clips of 101 actions, three official splits.

    Splits `1`, `2`, `3` are the official test lists and `1-train` ... the training lists, from ucfTrainTestlist. Labels follow
    classInd.txt, whose order ignores case (Hammering before HammerThrow). The class is the folder's, never the file's: folder
    HandstandPushups holds v_HandStandPushups_g01_c01.avi. Clips of one source video (g01 to g25 of a class) form a group.
    """

    version: ClassVar[int] = 1
    name: ClassVar[str] = "ucf101"
    splits: ClassVar[tuple[str, ...]] = ("1", "2", "3", "1-train", "2-train", "3-train")
    default_split: ClassVar[str] = "1"
    sizes: ClassVar[dict[str, int]] = {
        "1": 3783, "2": 3734, "3": 3696, "1-train": 9537, "2-train": 9586, "3-train": 9624
    }  # fmt: skip
    count: ClassVar[int] = 101
    homes: ClassVar[tuple[str, ...]] = ("UCF-101", "UCF101", "videos", "rawframes", "frames")
    by_class: ClassVar[bool] = True
    example: ClassVar[str] = "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi"
    caveats: ClassVar[tuple[str, ...]] = (
        "HandstandPushups: the folder is the class; the files say v_HandStandPushups",
        "class order ignores case: sorting by ASCII swaps Hammering/HammerThrow and JumpingJack/JumpRope",
    )

    root: str = param(help="folder of the copy: class folders, or UCF-101 and ucfTrainTestlist", identity=False)
    annotations: str = param("", help="folder of classInd.txt and testlist01.txt; empty: looked for near root", identity=False)

    def sources(self, split: str) -> Sequence[Path]:
        """The list of the split and classInd.txt."""
        return (self.needed(list_name(split)), self.needed("classInd.txt"))

    def parse(self, split: str) -> Iterable[Listed]:
        """The clips of the split's list."""
        return from_places(self, self.needed(list_name(split)))

    def named(self) -> tuple[str, ...]:
        """The names of classInd.txt by their numbers."""
        path, found = self.needed("classInd.txt"), {}
        for line, text in numbered(path, self.owner):
            number, _, name = text.partition(" ")
            if not number.isdecimal() or not name.strip():
                raise InputError(self.owner, f"{path} line {line} reads {text!r}", "a line is: 1 ApplyEyeMakeup")
            found[int(number)] = name.strip()
        if sorted(found) != [*range(1, len(found) + 1)]:
            raise InputError(self.owner, f"{path} does not number its {len(found)} classes from 1 on", "give each class a line")
        return tuple(found[number] for number in sorted(found))

    def identity(self, name: str, label: int) -> tuple[str, str]:
        """v_ApplyEyeMakeup_g01_c01 of group ApplyEyeMakeup/g01."""
        match = re.search(r"_(g\d+)_c\d+$", name)
        return name, f"{self.classes[label]}/{match[1]}" if match else name


def list_name(split: str) -> str:
    """`1` to testlist01.txt, `2-train` to trainlist02.txt."""
    return f"{'train' if split.endswith('train') else 'test'}list0{split[0]}.txt"


def from_places(data: Official, path: Path) -> Iterator[Listed]:
    """The clips of a list of CLASS/FILE.avi; a number after it is not needed, for the folder is the class.

    Raises:
        InputError: A line names no class folder, or one that is no class.
    """
    for line, text in numbered(path, data.owner):
        head, _, last = text.rpartition(" ")
        place = PurePosixPath(head if head and last.isdecimal() else text)
        if len(place.parts) < 2:
            raise InputError(data.owner, f"{path} line {line} reads {text!r}", f"a line is: {data.example}")
        label = data.label(place.parent.name, f"{path} line {line}")
        name, group = data.identity(stem(place.name), label)
        yield Listed(name, str(place), label, group)
