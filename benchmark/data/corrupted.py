"""Clips under a corruption, wherever it acts: on the source file, on its order in time, or on the sampled frames."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..core.corruption import Corruption, Pixels, Stream, Timeline, mean_frame
from ..core.interfaces import ClipRecord, InputSpec
from ..core.rng import ClipRandom
from ..core.storage import from_frames, stored
from . import sampling, transform, video
from .loader import later, span


@dataclass(frozen=True)
class Corrupted:
    """A corruption at one severity, with the randomness of every clip.

    Attributes:
        corruption: What is done.
        severity: 1 to 5.
        text: Its canonical text, which the clips' streams are made of.
        seed: Seed.
        moment: Frames by which every sampled frame lies later; what is drawn for every frame is then drawn anew.
        version: Of its code.
    """

    corruption: Corruption
    severity: int
    text: str
    seed: int = 0
    moment: int = 0
    version: str = ""

    def streams(self, ids: Sequence[str], device: torch.device | str = "cpu") -> ClipRandom:
        """The randomness of clips: by seed, corruption, severity and clip."""
        moment = f" {self.moment}" if self.moment and self.corruption.temporal == "iid" else ""
        return ClipRandom.for_clips(ids, self.seed, f"corruption {self.text} {self.severity}{moment}", device)

    def geometry(self, spec: InputSpec) -> InputSpec:
        """The model's own view at the corruption's canonical size: the same part of the picture, in other pixels."""
        size = self.corruption.canonical
        scaled = (round(side * size / spec.size) for side in (spec.short_side, spec.long_side))
        short, long = scaled
        return replace(spec, size=size, short_side=max(size, short), long_side=max(size, long) if long else 0)

    def frames(self, clips: Tensor, ids: Sequence[str], spec: InputSpec) -> Tensor:
        """Sampled clips, uint8 (N, 3, T, size, size) at the canonical size, corrupted and brought to the model's input."""
        made = self.corruption.apply(clips, self.severity, self.streams(ids, clips.device))
        return transform.resized(made, spec.size)

    def read(self, record: ClipRecord, spec: InputSpec) -> Tensor:
        """A clip whose corruption acts on the source, as the model takes it: uint8 (3, T, H, W).

        Raises:
            ClipError: The video cannot be decoded, before the corruption or after it.
            InputError: The corruption does not work on this video.
        """
        random = self.streams([record.id])
        seen, order, rate = self._frames(self.source(record.path, random), record, spec, random)
        seen = self.changed(seen, order, random, rate)
        if self._whole:
            total = seen.shape[1]
            seen = seen[:, later(sampling.indices(total, spec, rate), self.moment, total)]
        return transform.to_input(seen.permute(1, 2, 3, 0).contiguous().numpy(), spec)

    def source(self, path: Path, random: ClipRandom) -> Path | bytes:
        """The video whose frames count: the file itself, or what the corruption makes of its stream."""
        if isinstance(self.corruption, Stream):
            return self.corruption.recode(path, self.corruption.setting(self.severity), random)
        return path

    def order(self, total: int, rate: float, random: ClipRandom) -> list[Sequence[int]]:
        """For each frame of the new video, those of the source that it shows."""
        if not isinstance(self.corruption, Timeline):
            return [[index] for index in range(total)]
        self.corruption.check(total, self.corruption.smallest)
        return self.corruption.order(total, rate, self.corruption.setting(self.severity), random)

    def changed(self, clip: Tensor, order: Sequence[Sequence[int]], random: ClipRandom, rate: float) -> Tensor:
        """Frames (3, T, H, W) of the source in their order, corrupted and stored."""
        if isinstance(self.corruption, Pixels):
            return self.corruption.apply(clip[None], self.severity, random, rate)[0]
        made = torch.stack([mean_frame(clip, frames, self.corruption.truncate) for frames in order], dim=1)
        return stored(made[None], self.corruption.storage, rate)[0]

    @property
    def _whole(self) -> bool:
        """Whether frames depend on those between them, so that all are needed and sampling comes last."""
        return self.corruption.storage == "mp4v" or self.corruption.temporal == "drift"

    def _frames(
        self, source: Path | bytes, record: ClipRecord, spec: InputSpec, random: ClipRandom
    ) -> tuple[Tensor, list[Sequence[int]], float]:
        """Frames of the source as a clip, which of them each new frame shows, and the frame rate."""
        order: list[Sequence[int]] = []
        rates: list[float] = []

        def pick(total: int, rate: float) -> list[int]:
            start, stop = span(record, total)
            rates.append(rate or 25.0)
            new = self.order(stop - start, rate, random)
            if not self._whole:
                new = [new[index] for index in later(sampling.indices(len(new), spec, rate), self.moment, len(new))]
            wanted = sorted({index for frames in new for index in frames})
            place = {index: number for number, index in enumerate(wanted)}
            order.extend([place[index] for index in frames] for frames in new)
            return [start + index for index in wanted]

        clip = from_frames(video.read_frames(source, pick, record.template))
        if isinstance(self.corruption, Pixels):
            clip = clip[:, [frames[0] for frames in order]]
        return clip, order, rates[0]
