"""Something-Something V1, and what Jester shares with it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from ..core.errors import InputError
from ..core.params import param
from ..core.registry import did_you_mean, register
from .annotations import Listed, numbered
from .official import Official


class FrameFolders(Official):
    """A data set of frame folders named by number, with `id;label` lines and a file of labels in their order.

    Attributes:
        prefix: What the names of its annotation files begin with.
    """

    prefix: ClassVar[str]

    def sources(self, split: str) -> Sequence[Path]:
        """The split's file and the labels'."""
        return (self._file("validation" if split == "val" else split), self._file("labels"))

    def parse(self, split: str) -> Iterable[Listed]:
        """The clips of the split's file."""
        path = self.sources(split)[0]
        for line, text in numbered(path, self.owner):
            name, mark, label = text.partition(";")
            if not mark or not name.strip():
                raise InputError(self.owner, f"{path} line {line} reads {text!r}", "a line is: id;label")
            if label.strip() not in self._labels:
                found = did_you_mean(label.strip(), self.classes)
                raise InputError(self.owner, f"{path} line {line} names the class {label.strip()!r}", found)
            yield Listed(name.strip(), name.strip(), self._labels[label.strip()], name.strip())

    def named(self) -> tuple[str, ...]:
        """The lines of the labels' file."""
        return tuple(text for _, text in numbered(self._file("labels"), self.owner))

    @cached_property
    def _labels(self) -> dict[str, int]:
        # Not `index`: two templates may differ in nothing but what that folds away.
        return {name: label for label, name in enumerate(self.classes)}

    def _file(self, kind: str) -> Path:
        return self.needed(f"{self.prefix}-{kind}.csv", *([f"{kind}.csv"] if kind != "labels" else ["labels.csv"]))


@register("dataset", "ssv1")
@dataclass(frozen=True)
class SomethingV1(FrameFolders):
    """Something-Something V1 (Goyal et al. 2017): 97,539 labelled clips of 174 actions, as folders of frames.

    Splits `train` and `val`. Labels follow something-something-v1-labels.csv. Every clip is its own group.
    """

    version: ClassVar[int] = 1
    name: ClassVar[str] = "ssv1"
    splits: ClassVar[tuple[str, ...]] = ("val", "train")
    default_split: ClassVar[str] = "val"
    sizes: ClassVar[dict[str, int]] = {"val": 11522, "train": 86017}
    count: ClassVar[int] = 174
    homes: ClassVar[tuple[str, ...]] = ("20bn-something-something-v1", "rawframes", "frames", "videos")
    example: ClassVar[str] = "20bn-something-something-v1/100218/00001.jpg"
    caveats: ClassVar[tuple[str, ...]] = (
        "there are no videos: the JPEGs are 100 px high, so models see them enlarged and one JPEG round trip away",
        "a horizontal flip changes six labels (left and right)",
    )
    prefix: ClassVar[str] = "something-something-v1"

    root: str = param(help="folder of the copy: numbered frame folders, or 20bn-something-something-v1", identity=False)
    annotations: str = param("", help="folder of something-something-v1-*.csv; empty: looked for near root", identity=False)
