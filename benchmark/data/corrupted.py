"""Clips under a corruption, wherever it acts: on the source file, on its order in time, or on the sampled frames."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core.corruption import Corruption, Pixels, Stream, Timeline, mean_frame
from ..core.interfaces import ClipRecord, InputSpec
from ..core.rng import ClipRandom
from ..core.storage import from_frames, stored
from . import sampling, transform, video
from .loader import picker, span


@dataclass(frozen=True)
class Corrupted:
    """A corruption at one severity, with the randomness of every clip.

    Attributes:
        corruption: What is done.
        severity: 1 to 5.
        text: Its canonical text, which the clips' streams are made of.
        seed: Seed.
        moment: Frames by which the clips start later; a corruption that is drawn for every frame is drawn anew.
    """

    corruption: Corruption
    severity: int
    text: str
    seed: int = 0
    moment: int = 0

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
        if isinstance(self.corruption, Timeline):
            clip, rate = self._reordered(self.corruption, record, spec, random)
        else:
            clip, rate = self._recoded(record, spec, random)
        if isinstance(self.corruption, Pixels):
            clip = self.corruption.apply(clip[None], self.severity, random, rate)[0]
        else:
            clip = stored(clip[None], self.corruption.storage, rate)[0]
        return transform.to_input(clip.permute(1, 2, 3, 0).contiguous().numpy(), spec)

    def _reordered(self, timeline: Timeline, record: ClipRecord, spec: InputSpec, random: ClipRandom) -> tuple[Tensor, float]:
        shown: list[Sequence[int]] = []
        rates: list[float] = []

        def pick(total: int, rate: float) -> list[int]:
            start, stop = span(record, total)
            timeline.check(stop - start, timeline.smallest)
            order = timeline.order(stop - start, rate, timeline.setting(self.severity), random)
            shown.extend(order[index] for index in sampling.indices(len(order), spec, rate))
            rates.append(rate or 25.0)
            return [start + index for frames in shown for index in frames]

        clip = from_frames(video.read_frames(record.path, pick, record.template))
        made, first = [], 0
        for frames in shown:
            made.append(mean_frame(clip[:, first : first + len(frames)], range(len(frames)), timeline.truncate))
            first += len(frames)
        return torch.stack(made, dim=1), rates[0]

    def _recoded(self, record: ClipRecord, spec: InputSpec, random: ClipRandom) -> tuple[Tensor, float]:
        rates: list[float] = []
        pick = picker(record, spec)

        def picked(total: int, rate: float) -> Sequence[int]:
            rates.append(rate or 25.0)
            return pick(total, rate)

        if isinstance(self.corruption, Stream):
            source = self.corruption.recode(record.path, self.corruption.setting(self.severity), random)
        else:
            source = record.path
        return from_frames(video.read_frames(source, picked, record.template)), rates[0]
