"""What the published data sets share: annotation to clips, clips to files, and a manifest that is written once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..core.errors import InputError
from ..core.interfaces import ClipRecord
from .annotations import Listed
from .frame_folder import template_pattern
from .labels import check_split
from .listed import from_list
from .local import LocalCopy
from .written import written_once

Records = list[ClipRecord]


@dataclass(frozen=True)
class Official(LocalCopy):
    """A published data set, read from its own annotation or from a list file of a code base.

    A clip whose file is missing is listed all the same and fails when it is loaded.

    Attributes:
        version: Goes up when its records change.
        default_split: The split that is tested on by custom.
        sizes: Official number of clips of each split, where it is known.
        caveats: What is known to be odd about the data, for `vbench data check`.
    """

    version: ClassVar[int]
    default_split: ClassVar[str]
    sizes: ClassVar[dict[str, int]]
    caveats: ClassVar[tuple[str, ...]] = ()

    def records(self, split: str) -> Records:
        """The clips of a split, in the order of the annotation.

        Raises:
            InputError: There is no such split, the annotation is missing or wrong, or not one of its clips is there.
        """
        check_split(split, self.splits, f"dataset {self.name}")
        if self.template:
            template_pattern(self.template)
        return written_once(self, split, self.version, self.inputs(split), lambda: self.listed(split))

    def listed(self, split: str) -> Sequence[Listed]:
        """The clips of a split as the list or the official annotation has them, each id once.

        Raises:
            InputError: Two clips of one id differ, or the annotation is missing or wrong.
        """
        rows = from_list(self, Path(self.list).expanduser(), split) if self.list else self.parse(split)
        found: dict[str, Listed] = {}
        for row in rows:
            other = found.setdefault(row.id, row)
            if other != row and other.label != row.label:
                raise InputError(
                    self.owner, f"{row.id} is listed with labels {other.label} and {row.label}", "a clip has one label"
                )
        return tuple(found.values())

    def inputs(self, split: str) -> Sequence[Path]:
        """The files that decide what `listed` gives: their content is part of the manifest's name."""
        given = [Path(path).expanduser() for path in (self.list, self.names) if path]
        return [*given, *([] if self.list else self.sources(split))]
