"""What lies in the folders of clips of a data set, found by name whatever the layout and the suffix."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from ..core.errors import InputError
from .video import VIDEOS


def fold(name: str) -> str:
    """A class or folder name as copies of a data set agree on it: no case, no quotes, spaces for underscores."""
    return " ".join(name.replace("_", " ").translate(_QUOTES).casefold().split())


def stem(name: str) -> str:
    """A file name without the suffix of a video; other dots belong to the name."""
    head, dot, suffix = name.rpartition(".")
    return head if head and f"{dot}{suffix}".lower() in VIDEOS else name


class Tree:
    """The video files and frame folders under some bases: BASE/CLIP, or BASE/CLASS/CLIP.

    Args:
        bases: Folders to look into; the first that has a clip gives it.
        classes: Class names; folders of these names hold clips, any other folder is itself a clip of frames.
    """

    def __init__(self, bases: Sequence[Path], classes: Iterable[str]) -> None:
        self._bases = list(bases)
        self._keys = {fold(name) for name in classes}
        self._clips: dict[tuple[str, str], str] = {}
        self._stems: dict[tuple[str, str], str] = {}
        self._anywhere: dict[str, set[str]] = {}
        self.folders: set[str] = set()
        for base in self._bases:
            for entry in _shown(base):
                if entry.is_dir() and fold(entry.name) in self._keys:
                    self.folders.add(entry.name)
                    for inner in _shown(entry):
                        self._add(fold(entry.name), inner)
                else:
                    self._add("", entry)

    def find(self, place: str) -> Path | None:
        """The clip that an annotation calls `place`: exactly so, else with another suffix or as a folder of frames.

        Only the last two parts of the place count, so that lists with the paths of another machine work. The name of the class
        folder may differ in case and in underscores; a clip outside class folders, or in another one, is found by its own name.
        """
        path = PurePosixPath(place)
        own, bare = path.name, stem(path.name)
        elsewhere = self._anywhere.get(bare, set())
        for folder in (fold(path.parent.name), "", *(elsewhere if len(elsewhere) == 1 else ())):
            hit = self._clips.get((folder, own)) or self._stems.get((folder, bare))
            if hit:
                return Path(hit)
        return None

    def clips(self) -> Iterator[tuple[str, Path]]:
        """Every clip with the folded name of its class folder, which is empty for those outside of one."""
        for (folder, _), path in self._clips.items():
            yield folder, Path(path)

    @staticmethod
    def stamp(bases: Sequence[Path], classes: Iterable[str]) -> list[tuple[str, int]]:
        """When the folders last gained or lost an entry: equal stamps, equal trees. Reads no more than the folders' times."""
        keys, found = {fold(name) for name in classes}, []
        for base in bases:
            found.append((str(base), base.stat().st_mtime_ns))
            if keys:
                inner = [entry for entry in _shown(base) if fold(entry.name) in keys and entry.is_dir()]
                found += sorted((entry.path, entry.stat().st_mtime_ns) for entry in inner)
        return found

    def _add(self, folder: str, entry: "os.DirEntry[str]") -> None:
        bare = stem(entry.name)
        if not entry.is_dir() and bare == entry.name:
            return
        self._clips.setdefault((folder, entry.name), entry.path)
        self._stems.setdefault((folder, bare), entry.path)
        self._anywhere.setdefault(bare, set()).add(folder)


def _shown(folder: "Path | os.DirEntry[str]") -> "list[os.DirEntry[str]]":
    """Entries by name, so that what is found does not depend on the file system; files come before folders."""
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError("root", f"{os.fspath(folder)} cannot be read: {error.strerror}", "give a folder of your own") from None
    return sorted(shown, key=lambda entry: (entry.is_dir(), entry.name))


_QUOTES = str.maketrans("", "", "\"'`\u2019")
