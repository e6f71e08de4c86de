"""A published data set on this disk: its folders, its annotation files, its class names."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from ..core.errors import InputError
from ..core.params import param
from ..core.registry import did_you_mean
from .annotations import Listed, contents, find_files
from .labels import read_names
from .lists import names_of
from .tree import Tree, fold


@dataclass(frozen=True)
class LocalCopy:
    """Where a published data set lies on this disk, and what its classes are called.

    A subclass finds and parses the official annotation (`sources`, `parse`, `named`) and names clips (`identity`).

    Attributes:
        name: Registered name.
        splits: Splits there are, the one that is tested on first.
        count: Number of classes.
        homes: Folders under the root that clips lie in by custom; without any of them, they lie in the root.
        by_class: Whether clips lie in one folder per class.
        example: Where a clip is expected, for messages.
        root: Folder of the copy.
        annotations: Folder, or file, of the official annotation; empty: searched for in the root and beside it.
        list: List file of a code base instead of the official annotation; empty: none.
        names: File of class names in label order; empty: the annotation's.
        template: Names of frames in frame folders; empty: every image.
    """

    name: ClassVar[str]
    splits: ClassVar[tuple[str, ...]]
    count: ClassVar[int]
    homes: ClassVar[tuple[str, ...]]
    by_class: ClassVar[bool] = False
    example: ClassVar[str]

    root: str = param(help="folder of the copy", identity=False)
    annotations: str = param("", help="folder of the official annotation; empty: looked for near root", identity=False)
    list: str = param("", help="list file of MMAction2, TSM, GST, PySlowFast, VideoMAE ... instead", identity=False)
    names: str = param("", help="text file with one class name per line, in label order", identity=False)
    template: str = param("", help="names of frames in folders, such as img_%05d.jpg; empty: every image", identity=False)

    def sources(self, split: str) -> Sequence[Path]:
        """The official annotation files of a split.

        Raises:
            InputError: One is not there.
        """
        raise NotImplementedError

    def parse(self, split: str) -> Iterable[Listed]:
        """The clips that they list."""
        raise NotImplementedError

    def named(self) -> tuple[str, ...]:
        """Class names in label order as the annotation gives them; empty where it gives none."""
        return ()

    def identity(self, name: str, label: int) -> tuple[str, str]:
        """Id and group of a clip by its file's name, without the suffix, and its class."""
        return name, name

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order: of the file `names`, else of the annotation, else of the list, else the class folders'.

        Raises:
            InputError: None of these gives them.
        """
        return read_names(self.names, self.owner) if self.names else self._annotated() or self._folders()

    def bases(self, split: str) -> Sequence[Path]:
        """The folders that hold clips.

        Raises:
            InputError: There is no root.
        """
        found = [self.folder / home for home in self.homes if (self.folder / home).is_dir()]
        return found or [self.folder]

    def tree(self, split: str) -> Tree:
        """What lies in them."""
        return Tree(self.bases(split), self.classes if self.by_class else ())

    @property
    def owner(self) -> str:
        """The name for messages."""
        return f"dataset {self.name}"

    @cached_property
    def folder(self) -> Path:
        """The root.

        Raises:
            InputError: It is no folder.
        """
        root = Path(self.root).expanduser().resolve()
        if not root.is_dir():
            raise InputError(
                f"{self.owner}: root", f"there is no folder {self.root}", f"give the folder that holds {self.example}"
            )
        return root

    @cached_property
    def index(self) -> dict[str, int]:
        """From a class name as `fold` gives it to the label."""
        return {fold(name): label for label, name in enumerate(self.classes)}

    def label(self, name: str, where: object) -> int:
        """The label of a class or class folder, whose case and underscores may differ.

        Raises:
            InputError: There is no such class; `where` says who named it.
        """
        found = self.index.get(fold(name))
        if found is None:
            raise InputError(self.owner, f"{where} names the class {name!r}", did_you_mean(name, self.classes))
        return found

    def candidates(self, *patterns: str) -> Iterator[Path]:
        """Files of one of these names: in the folder `annotations`, else in the customary places in and beside the root."""
        yield from find_files([place / inner for place in self._places() for inner in ("", *_ANNOTATIONS)], patterns)

    def needed(self, *patterns: str) -> Path:
        """The first of the candidates, which must be there.

        Raises:
            InputError: It is not: says what was expected and what was found.
        """
        found = next(self.candidates(*patterns), None)
        if found is None:
            place = self._places()[0]
            raise InputError(
                f"{self.owner}: {'annotations' if self.annotations else 'root'}",
                f"{place} has no {' or '.join(patterns)}; found: {contents(place)}",
                f"expected {self.example} and that annotation in it or beside it; or give annotations=DIR or list=FILE",
            )
        return found

    def _places(self) -> Sequence[Path]:
        if not self.annotations:
            return self.folder, self.folder.parent
        own = Path(self.annotations).expanduser()
        return (own.parent if own.is_file() else own,)

    def _annotated(self) -> tuple[str, ...]:
        """Names of the official annotation; beside a list it may be absent."""
        if not self.list:
            return self.named()
        given = names_of(Path(self.list).expanduser(), self.owner)
        try:
            return given or self.named()
        except InputError:
            return self._folders()

    def _folders(self) -> tuple[str, ...]:
        """Names of the class folders, if there are as many as classes: by the alphabet, upper and lower case alike."""
        if self.by_class:
            for base in self.bases(self.splits[0]):
                names = [path.name for path in base.iterdir() if path.is_dir() and not path.name.startswith(".")]
                if len(names) == self.count:
                    return tuple(sorted(names, key=lambda name: (fold(name), name)))
        problem = f"{self.folder} names no {self.count} classes, in an annotation or by folders; found: {contents(self.folder)}"
        raise InputError(f"{self.owner}: root", problem, _GIVE_NAMES)


_GIVE_NAMES = "give names=FILE with one class name per line, in label order"
_ANNOTATIONS = ("annotations", "annotation", "labels", "ucfTrainTestlist", "testTrainMulti_7030_splits", "splits")
