"""Something-Something V2."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..core.errors import InputError
from ..core.params import param
from ..core.registry import did_you_mean, register
from .annotations import Listed, entry, read_json
from .official import Official


@register("dataset", "ssv2")
@dataclass(frozen=True)
class SomethingV2(Official):
    """Something-Something V2 (Goyal et al. 2017): 193,690 labelled clips of 174 actions.

    Splits `train` and `val`, from something-something-v2-*.json; the class of a clip is its template without brackets, numbered
    by something-something-v2-labels.json. Clips are webm files, or folders of frames. Every clip is its own group.
    """

    version: ClassVar[int] = 1
    name: ClassVar[str] = "ssv2"
    splits: ClassVar[tuple[str, ...]] = ("val", "train")
    default_split: ClassVar[str] = "val"
    sizes: ClassVar[dict[str, int]] = {"val": 24777, "train": 168913}
    count: ClassVar[int] = 174
    homes: ClassVar[tuple[str, ...]] = (
        "20bn-something-something-v2", "videos", "20bn-something-something-v2-frames", "rawframes", "frames"
    )  # fmt: skip
    example: ClassVar[str] = "20bn-something-something-v2/1.webm"
    caveats: ClassVar[tuple[str, ...]] = ("a horizontal flip swaps labels 86 and 87, 93 and 94, 166 and 167",)

    root: str = param(help="folder of the copy: webm files, or 20bn-something-something-v2", identity=False)
    annotations: str = param("", help="folder of something-something-v2-*.json; empty: looked for near root", identity=False)

    def sources(self, split: str) -> Sequence[Path]:
        """The split's file and the labels'."""
        return (self._file("validation" if split == "val" else split), self._file("labels"))

    def parse(self, split: str) -> Iterable[Listed]:
        """The clips of the split's file."""
        path, labels = self.sources(split)[0], {name: label for label, name in enumerate(self.classes)}
        for item in read_json(path, self.owner, list):
            name = str(entry(item, "id", (str, int), path, self.owner))
            kind = entry(item, "template", str, path, self.owner).replace("[", "").replace("]", "")
            if kind not in labels:
                raise InputError(self.owner, f"{path}: clip {name} has the template {kind!r}", did_you_mean(kind, labels))
            yield Listed(name, f"{name}.webm", labels[kind], name)

    def named(self) -> tuple[str, ...]:
        """The names of the labels' file by their numbers."""
        path = self._file("labels")
        found = read_json(path, self.owner, dict)
        numbers = {int(number): str(name) for name, number in found.items() if str(number).isdecimal()}
        if sorted(numbers) != [*range(len(found))]:
            raise InputError(self.owner, f"{path} does not number its {len(found)} names from 0 on", 'an entry is: "name": "0"')
        return tuple(numbers[number] for number in sorted(numbers))

    def _file(self, kind: str) -> Path:
        return self.needed(f"something-something-v2-{kind}.json", f"{kind}.json")
