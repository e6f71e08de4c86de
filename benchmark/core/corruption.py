"""What a corruption promises: five settings per severity table, how it goes along in time, and where it acts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from .errors import InputError
from .params import SEVERITIES, param
from .rng import ClipRandom
from .storage import STORAGES, stored

SIZES = {"tiny-64": 64}
"""Canonical sizes of tables that were made for another than 224 pixels."""


@dataclass(frozen=True)
class Corruption(ABC):
    """What `@register("corruption", ...)` marks: a frozen dataclass; one of `Pixels`, `Timeline` and `Stream`.

    A subclass whose defaults differ declares the field anew.

    Attributes:
        version: Goes up when the same parameters give other pixels.
        tables: The five settings, severity 1 to 5, of each severity table that the corruption is published in.
        broken: Tables whose published severities do not do what they say, and why, in one word such as `inverted`.
        modes: Temporal modes that it has; the first is the default unless the field says otherwise.
        references: Tables whose authors use another mode: what `temporal=reference` stands for there, elsewhere for the first.
        stages: Where it can act.
        smallest: Shortest side of a frame that it works on, pixels.
        fewest: Frames of a clip that it works on.
        registered: Kind and name.
    """

    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[Any]]]
    broken: ClassVar[Mapping[str, str]] = {}
    modes: ClassVar[tuple[str, ...]] = ("iid", "static")
    references: ClassVar[Mapping[str, str]] = {}
    stages: ClassVar[tuple[str, ...]] = ("frames", "file")
    smallest: ClassVar[int] = 1
    fewest: ClassVar[int] = 1
    registered: ClassVar[tuple[str, str]]

    table: str = param("imagenet-c-224", help="severity table")
    temporal: str = param("iid", help="iid: drawn for every frame; static: once per clip; drift: moves with time")
    stage: str = param("frames", help="frames: the sampled frames at `size`, as if 25 a second; file: the source as it is")
    size: int | None = param(None, help="side of the square that `frames` are brought to, pixels; none: the table's", low=8)
    storage: str = param("none", help="how frames are stored after it: none, jpeg80, jpeg85 or mp4v")
    truncate: bool = param(True, help="cut to whole grey levels, as the references do, instead of rounding")

    def __post_init__(self) -> None:
        if self.temporal == "reference":
            object.__setattr__(self, "temporal", self.references.get(self.table, self.modes[0]))
        short = [table for table, settings in self.tables.items() if len(settings) != len(SEVERITIES)]
        if short:
            raise InputError(f"{self.owner}: tables", f"{short[0]} has not five settings", "one per severity")
        for field, known in (
            ("table", tuple(self.tables)),
            ("temporal", self.modes),
            ("stage", self.stages),
            ("storage", STORAGES),
        ):
            value = getattr(self, field)
            if value not in known:
                raise InputError(f"{self.owner}: {field}", f"{value!r} is unknown", f"choose from {', '.join(known)}")

    @property
    def owner(self) -> str:
        """Its name in messages."""
        _, name = getattr(self, "registered", ("", type(self).__name__))
        return f"corruption {name}"

    @property
    def canonical(self) -> int:
        """Side of the square that frames are brought to before it, pixels."""
        return self.size or SIZES.get(self.table, 224)

    def setting(self, severity: int) -> Any:
        """The table's numbers for a severity.

        Raises:
            InputError: It is not 1, 2, 3, 4 or 5.
        """
        if severity not in SEVERITIES:
            raise InputError("severity", f"{severity} is unknown", "it must be a whole number from 1 to 5")
        return self.tables[self.table][severity - 1]

    def apply(self, clips: Tensor, severity: int, rng: ClipRandom, rate: float = 25.0) -> Tensor:
        """Corrupted clips.

        Args:
            clips: uint8 (N, 3, T, H, W), RGB.
            severity: 1 (mild) to 5.
            rng: The clips' streams; nothing else decides what is drawn.
            rate: Frames per second of the clips, for what depends on it.

        Returns:
            uint8, of the same shape; never the input itself.

        Raises:
            InputError: The severity is unknown, or the clips are too small or too short.
        """
        setting = self.setting(severity)
        self.check(clips.shape[2], min(clips.shape[3:]))
        made = self.change(clips, setting, rng, rate)
        if made.dtype != torch.uint8 or made.shape != clips.shape:
            what = f"change gave {made.dtype} {tuple(made.shape)}"
            raise InputError(self.owner, what, f"it must give uint8 {tuple(clips.shape)}, see CONTRIBUTING.md")
        return stored(made, self.storage, rate)

    def check(self, frames: int, side: int) -> None:
        """Refuses clips of fewer frames or smaller frames than it works on.

        Raises:
            InputError: They are.
        """
        for value, least, unit in ((frames, self.fewest, "frames"), (side, self.smallest, "pixels on the short side")):
            if value < least:
                raise InputError(self.owner, f"the clip has {value} {unit}", f"it needs {least} or more")

    @abstractmethod
    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """`apply` before storage, with the table's numbers."""


@dataclass(frozen=True)
class Pixels(Corruption):
    """A corruption that changes the pixels of frames. Subclasses define `change`."""

    def draws(self, frames: int) -> int:
        """How many draws a clip needs: one per frame in `iid`, else one."""
        return frames if self.temporal == "iid" else 1

    def quantise(self, values: Tensor) -> Tensor:
        """Grey levels as float, which may be overwritten, to uint8: clipped to 0..255, then cut or rounded."""
        values = values.clamp_(0, 255)
        return (values if self.truncate else values.round_()).to(torch.uint8)


@dataclass(frozen=True)
class Timeline(Corruption):
    """A corruption that shows other frames than the video's, or means of them: it needs no pixels to be decided."""

    modes: ClassVar[tuple[str, ...]] = ("static",)

    temporal: str = param("static", help="static: one draw for the whole clip")
    stage: str = param("file", help="file: the whole video, before frames are sampled; frames: the sampled frames")

    @abstractmethod
    def order(self, total: int, rate: float, setting: Any, rng: ClipRandom) -> list[Sequence[int]]:
        """For each frame of the new video the frames of the old one whose mean it shows.

        Args:
            total: Frames of the old video, `fewest` or more.
            rate: Frames per second; 0 where unknown.
            setting: The table's numbers.
            rng: The clip's stream, one.
        """

    def change(self, clips: Tensor, setting: Any, rng: ClipRandom, rate: float) -> Tensor:
        """Clips in the new order; a shorter one holds its last frame, a longer one is cut."""
        made, total = torch.empty_like(clips), clips.shape[2]
        for row, clip in enumerate(clips):
            order = self.order(total, rate, setting, rng[torch.tensor([row])])
            for position in range(total):
                made[row, :, position] = mean_frame(clip, order[min(position, len(order) - 1)], self.truncate)
        return made


def mean_frame(clip: Tensor, positions: Sequence[int], truncate: bool) -> Tensor:
    """The mean of frames of a clip (3, T, H, W), uint8 (3, H, W)."""
    if len(positions) == 1:
        return clip[:, positions[0]]
    mean = clip[:, list(positions)].float().mean(dim=1)
    return (mean if truncate else mean.round()).to(torch.uint8)


@dataclass(frozen=True)
class Stream(Corruption):
    """A corruption of the compressed video. Subclasses define `recode` for files and `change` for frames in memory."""

    modes: ClassVar[tuple[str, ...]] = ("static",)

    temporal: str = param("static", help="static: the codec decides")
    stage: str = param("file", help="file: the source file as it is; frames: the sampled frames, encoded for the purpose")

    @abstractmethod
    def recode(self, path: Path, setting: Any, rng: ClipRandom) -> bytes:
        """The file again, compressed anew or damaged; it may hold frames that do not decode.

        Args:
            path: A video file.
            setting: The table's numbers.
            rng: The clip's stream, one.

        Raises:
            InputError: There is no video in it, or this build of FFmpeg lacks the encoder.
        """
