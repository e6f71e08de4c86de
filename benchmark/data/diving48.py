"""Diving48."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..core.errors import InputError
from ..core.params import param
from ..core.registry import register
from .annotations import Listed, entry, read_json
from .official import Official


@register("dataset", "diving48")
@dataclass(frozen=True)
class Diving48(Official):
    """Diving48 (Li et al. 2018) with the corrected labels V2: 16,997 clips of 48 kinds of dives.

    Splits `test` and `train`, from Diving48_V2_test.json and Diving48_V2_train.json; an entry's start_frame and end_frame (the
    frame after the last) bound the clip in its file. Labels follow Diving48_vocab.json. Clips of one source video form a group.
    """

    version: ClassVar[int] = 1
    name: ClassVar[str] = "diving48"
    splits: ClassVar[tuple[str, ...]] = ("test", "train")
    default_split: ClassVar[str] = "test"
    sizes: ClassVar[dict[str, int]] = {"test": 1970, "train": 15027}
    count: ClassVar[int] = 48
    homes: ClassVar[tuple[str, ...]] = ("rgb", "videos", "rawframes", "frames")
    example: ClassVar[str] = "rgb/_8Vy3dlHg2w_00000.mp4"
    caveats: ClassVar[tuple[str, ...]] = (
        "the labels of V1 (Diving48_train.json) are known to be wrong; only V2 is read",
        "the official extracted frames are incomplete; decode the mp4 files",
    )

    root: str = param(help="folder of the copy: mp4 files, or rgb", identity=False)
    annotations: str = param("", help="folder of Diving48_V2_*.json and Diving48_vocab.json; empty: near root", identity=False)

    def sources(self, split: str) -> Sequence[Path]:
        """The split's file and the vocabulary."""
        return (self.needed(f"Diving48_V2_{split}.json"), self.needed("Diving48_vocab.json"))

    def parse(self, split: str) -> Iterable[Listed]:
        """The clips of the split's file."""
        path = self.sources(split)[0]
        for item in read_json(path, self.owner, list):
            name = entry(item, "vid_name", str, path, self.owner)
            numbers = [entry(item, key, int, path, self.owner) for key in ("label", "start_frame", "end_frame")]
            label, start, stop = numbers
            if not 0 <= label < len(self.classes) or not 0 <= start < stop:
                problem = f"{path}: clip {name} has label {label} and frames {start} to {stop}"
                raise InputError(
                    self.owner, problem, f"labels run from 0 to {len(self.classes) - 1}, and a clip ends after it starts"
                )
            yield Listed(name, f"{name}.mp4", label, self.identity(name, label)[1], start, stop, stop - start)

    def named(self) -> tuple[str, ...]:
        """Each dive's four parts: take-off, somersaults, twists, position."""
        path = self.needed("Diving48_vocab.json")
        return tuple(" ".join(map(str, parts)) for parts in read_json(path, self.owner, list))

    def identity(self, name: str, label: int) -> tuple[str, str]:
        """_8Vy3dlHg2w_00000 of group _8Vy3dlHg2w."""
        video, _, number = name.rpartition("_")
        return name, video if number.isdecimal() else name
