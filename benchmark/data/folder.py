"""Any videos, sorted into one folder per class."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from ..core.errors import InputError
from ..core.interfaces import ClipRecord
from ..core.params import param
from ..core.registry import did_you_mean, register
from .frame_folder import natural
from .labels import check_split, read_names
from .video import VIDEOS

_OWNER = "dataset folder"
_SPLITS = ("train", "val", "test")


@register("dataset", "folder")
@dataclass(frozen=True)
class Folder:
    """Videos in one folder per class: ROOT/CLASS/VIDEO, or ROOT/SPLIT/CLASS/VIDEO with splits named train, val and test.

    Where ROOT has a folder train, val or test, its folders of these names are the splits and nothing else in it counts (a class
    of that name needs a manifest); otherwise every folder in it is a class and all clips are of split `test`. In a class folder,
    a file with a video's suffix is a clip and a folder is a clip of frames; hidden names do not count. Labels follow the
    code-point order of the class names over all splits, or the file `names` (official orders differ: UCF101's ignores case). The
    id is the path under ROOT, and every clip is its own group.
    """

    version: ClassVar[int] = 1

    root: str = param(help="folder that holds the class folders, or train/val/test folders of them", identity=False)
    names: str = param("", help="text file with one class name per line, in label order", identity=False)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order.

        Raises:
            InputError: There is no class folder, or one that `names` does not list.
        """
        found = sorted({folder.name for base in self._splits.values() for folder in _folders(base)})
        if not found:
            raise InputError(
                f"{_OWNER}: root", f"{self.root} has no class folders", "put each class's videos into a folder of its name"
            )
        if not self.names:
            return tuple(found)
        given = read_names(self.names, _OWNER)
        for name in found:
            if name not in given:
                raise InputError(f"{_OWNER}: names", f"{self.names} lacks the folder {name!r}", did_you_mean(name, given))
        return given

    def records(self, split: str) -> list[ClipRecord]:
        """The videos of a split, by class and in natural order of their names.

        Raises:
            InputError: The root is missing or empty, or there is no such split.
        """
        check_split(split, list(self._splits), self.root)
        index = {name: label for label, name in enumerate(self.classes)}
        root, base = Path(self.root).expanduser(), self._splits[split]
        records = []
        for folder in _folders(base):
            for clip in _clips(folder):
                name = clip.relative_to(root).as_posix()
                records.append(ClipRecord(name, clip, index[folder.name], name))
        if not records:
            raise InputError(
                f"{_OWNER}: root", f"{base} holds no videos", f"videos are {', '.join(VIDEOS)} files or frame folders"
            )
        return records

    @cached_property
    def _splits(self) -> dict[str, Path]:
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise InputError(f"{_OWNER}: root", f"there is no folder {self.root}", "give the folder that holds the class folders")
        return {name: root / name for name in _SPLITS if (root / name).is_dir()} or {"test": root}


def _folders(base: Path) -> list[Path]:
    return sorted(entry for entry in base.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _clips(folder: Path) -> list[Path]:
    shown = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    clips = (entry for entry in shown if entry.suffix.lower() in VIDEOS or entry.is_dir())
    return sorted(clips, key=lambda clip: natural(clip.name))
