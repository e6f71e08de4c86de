"""What the editions of Kinetics share."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from ..core.errors import InputError
from ..core.params import param
from .annotations import Listed, numbered
from .official import Official
from .tree import fold, stem

_SPLITS = {"val": ("val", "validate", "validation"), "train": ("train", "training"), "test": ("test",)}


@dataclass(frozen=True)
class Kinetics(Official):
    """What the editions share: official CSV files, or class folders where there is none.

    Attributes:
        subset: File of YouTube ids or of class names; only these count. Empty: all.
    """

    splits: ClassVar[tuple[str, ...]] = ("val", "train", "test")
    default_split: ClassVar[str] = "val"
    homes: ClassVar[tuple[str, ...]] = ("videos", "rawframes", "frames")
    by_class: ClassVar[bool] = True
    example: ClassVar[str] = "val/abseiling/0wR5jVB-WPk_000417_000427.mp4"
    caveats: ClassVar[tuple[str, ...]] = (
        "videos vanish from YouTube: two copies hold different clips, and accuracies on them are not comparable",
        "some downloaded files are damaged; they count as failed clips",
    )

    root: str = param(help="folder of the copy: val and train, or the class folders of one of them", identity=False)
    annotations: str = param("", help="official CSV file, or its folder; empty: looked for near root", identity=False)
    subset: str = param("", help="file of YouTube ids or class names: only these clips, labels unchanged", identity=False)

    def bases(self, split: str) -> Sequence[Path]:
        """The split's own folders where there are any: val, videos_val, val_256 ..."""
        stems = [f"{before}{name}" for before in ("", "videos_", "rawframes_") for name in _SPLITS[split]]
        names = [name + after for name in stems for after in ("", "_256", "_288px")]
        found = [self.folder / name for name in names if (self.folder / name).is_dir()]
        return found or super().bases(split)

    def sources(self, split: str) -> Sequence[Path]:
        """The official CSV file; none where the class folders must do."""
        found = self._csv(split)
        return () if found is None else (found,)

    def inputs(self, split: str) -> Sequence[Path]:
        """The same, and the subset."""
        return [*super().inputs(split), *([Path(self.subset).expanduser()] if self.subset else [])]

    def parse(self, split: str) -> Iterable[Listed]:
        """The clips of the CSV file, or of the class folders, that the subset has."""
        path = self._csv(split)
        if path is None:
            yield from self._from_folders(split)
            return
        for kind, video, first, last in self._rows(path, split):
            if self._kept(video, kind):
                name = f"{video}_{first:06d}_{last:06d}"
                yield Listed(name, f"{kind}/{name}.mp4", self.label(kind, path), video, also=f"{kind}/{video}.mp4")

    def named(self) -> tuple[str, ...]:
        """The classes of the CSV file by the alphabet; none without it."""
        path = self._csv(self.splits[0])
        rows = () if path is None else self._rows(path, self.splits[0])
        kinds = {fold(kind): kind for kind, video, _, _ in rows if self.name != "mini-kinetics" or self._kept(video, kind)}
        return tuple(kinds[key] for key in sorted(kinds)) or self._folders()

    def identity(self, name: str, label: int) -> tuple[str, str]:
        """0wR5jVB-WPk_000417_000427 of group 0wR5jVB-WPk."""
        return name, re.sub(r"_\d{6}_\d{6}$", "", name)

    def _csv(self, split: str) -> Path | None:
        own = Path(self.annotations).expanduser()
        if self.annotations and own.is_file():
            return own
        if self.list:
            return None
        names = _SPLITS[split]
        for pattern in (*(f"{name}.csv" for name in names), *(f"*{name}*.csv" for name in names), "*.csv"):
            for found in self.candidates(pattern):
                if "youtube_id" in (header := _header(found)) and (pattern != "*.csv" or "split" in header):
                    return found
        return None

    def _rows(self, path: Path, split: str) -> Iterator[tuple[str, str, int, int]]:
        """Class, YouTube id, start and end in seconds of the split's lines."""
        wanted = ("label", "youtube_id", "time_start", "time_end")
        header = _header(path)
        if not set(wanted) <= set(header):
            raise InputError(self.owner, f"{path} has the columns {', '.join(header)}", f"expected {', '.join(wanted)}")
        text = [line for _, line in numbered(path, self.owner)]
        for number, row in enumerate(csv.DictReader(text), start=2):
            if (row.get("split") or split) not in _SPLITS[split]:
                continue
            try:
                kind, video, first, last = (row[column].strip() for column in wanted)
                yield kind.strip("\"'"), video, int(float(first)), int(float(last))
            except (AttributeError, ValueError, KeyError):
                raise InputError(self.owner, f"{path} line {number} is incomplete", f"expected {','.join(wanted)}") from None

    def _from_folders(self, split: str) -> Iterator[Listed]:
        for kind, path in self.tree(split).clips():
            if kind:
                name, video = self.identity(stem(path.name), 0)
                if self._kept(video, kind):
                    yield Listed(name, f"{path.parent.name}/{path.name}", self.label(kind, path), video)

    @cached_property
    def _kept(self) -> Callable[[str, str], bool]:
        """Whether the subset has a clip of this YouTube id and class."""
        if not self.subset:
            return lambda video, kind: True
        if self.chosen_names:
            names = set(map(fold, self.chosen_names))
            return lambda video, kind: fold(kind) in names
        videos = {_VIDEO.match(line)[0] for line in self._subset if _VIDEO.match(line)}  # type: ignore[index]
        return lambda video, kind: video in videos

    @property
    def chosen_names(self) -> tuple[str, ...]:
        """The class names of the subset; none where it lists YouTube ids, which are eleven letters, digits, - and _."""
        videos = sum(_VIDEO.match(line) is not None for line in self._subset)
        return self._subset if videos < len(self._subset) / 2 else ()

    @cached_property
    def _subset(self) -> tuple[str, ...]:
        return tuple(text for _, text in numbered(Path(self.subset).expanduser(), self.owner)) if self.subset else ()


_VIDEO = re.compile(r"[\w-]{11}(?=$|_\d{6}_\d{6}|\.\w+$|[ ,])")


def _header(path: Path) -> tuple[str, ...]:
    """The columns of a CSV file; none of a file that is no text."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            return tuple(cell.strip() for cell in stream.readline(4096).split(","))
    except (OSError, UnicodeDecodeError):
        return ()
