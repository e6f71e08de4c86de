"""Corruptions of time: frames that are lost, held, mixed or out of order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

from ..benchmark.core.corruption import Timeline
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from .temporal_order import joined, ring, segments, shuffled, singles, windows

USUAL_RATE = 25.0
"""Frames per second of a video whose own rate is unknown."""


@register("corruption", "sampling")
@dataclass(frozen=True)
class Sampling(Timeline):
    """Only every r-th frame is kept.

    Formula: new frame t shows old frame r * floor(t / r), r = 2 4 8 16 32: a kept frame stands r times, so that the video keeps
    its length and speed. A clip of at most r frames is its first frame, so a sampled clip of 16 frames has nothing left at
    severity 4.

    Table schiappa2023 drops the repetition: the video is r times shorter and faster, and a sampler that spreads its frames over
    the whole video undoes it.

    Source: Schiappa et al. 2023, A large-scale robustness analysis of video action recognition models; rose2022 is the form of
    their multi-modal code (the generator of ROSE-P has no code for it), schiappa2023 that of the CVPR release.
    """

    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[Any]]] = {"rose2022": (2, 4, 8, 16, 32), "schiappa2023": (2, 4, 8, 16, 32)}
    broken: ClassVar[Mapping[str, str]] = {"schiappa2023": "shorter"}

    table: str = param("rose2022", help="severity table")

    def order(self, total: int, rate: float, setting: Any, rng: ClipRandom) -> list[Sequence[int]]:
        """Each kept frame `setting` times, or once."""
        if self.table == "schiappa2023":
            return singles(range(0, total, setting))
        return singles(position - position % setting for position in range(total))


@register("corruption", "reverse_sampling")
@dataclass(frozen=True)
class ReverseSampling(Sampling):
    """Only every r-th frame is kept, and time runs backwards.

    Formula: the order of `sampling`, last frame first; r = 2 4 8 16 32.

    Table schiappa2023 drops the repetition, as in `sampling`: what a sampler over the whole video shows is then only reversed.

    Source: Schiappa et al. 2023, A large-scale robustness analysis of video action recognition models; tables as in `sampling`.
    """

    version: ClassVar[int] = 1

    def order(self, total: int, rate: float, setting: Any, rng: ClipRandom) -> list[Sequence[int]]:
        """The order of `sampling` from the end."""
        return super().order(total, rate, setting, rng)[::-1]


@register("corruption", "jumble")
@dataclass(frozen=True)
class Jumble(Timeline):
    """Frames are shuffled inside windows.

    Formula: the video is cut into windows of w frames (the last may be shorter); the frames of each are put into a uniformly
    drawn order, so that they move (w - 1/w) / 3 places on average. Table vbench: w = 2 4 8 16 32.

    Both published tables have w = 64 / 2^severity = 32 16 8 4 2: severity 1 is the harshest. A clip shorter than its window is
    shuffled as a whole, so windows of 16 and 32 are the same to a sampled clip of 16 frames.

    Source: Schiappa et al. 2023, A large-scale robustness analysis of video action recognition models, and the generator of
    ROSE-P (2022); table vbench is theirs the right way round.
    """

    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "vbench": (2, 4, 8, 16, 32),
        "rose2022": (32, 16, 8, 4, 2),
        "schiappa2023": (32, 16, 8, 4, 2),
    }
    broken: ClassVar[Mapping[str, str]] = {"rose2022": "inverted", "schiappa2023": "inverted"}

    table: str = param("vbench", help="severity table")

    def order(self, total: int, rate: float, setting: Any, rng: ClipRandom) -> list[Sequence[int]]:
        """Windows of `setting` frames, each shuffled."""
        return joined((window[place] for place in shuffled(len(window), rng)) for window in windows(total, setting))


@register("corruption", "box_jumble")
@dataclass(frozen=True)
class BoxJumble(Timeline):
    """Segments of the video change places; inside a segment time runs on.

    Formula: table vbench cuts the video into 8 equal segments; each group of g = 2 3 4 6 8 neighbours (the last group may be
    smaller) is permuted in one cycle, so that every segment leaves its place. A frame moves 1, 1.25, 1.67, 2 and 3 segments on
    average. With fewer than 8 frames there are as many segments as frames.

    The published tables permute segments of (severity + 1)^2 = 4 9 16 25 36 frames over the whole video: nothing happens where
    the segment is as long as the video, and on long ones frames move equally far at every severity.

    Source: Schiappa et al. 2023, A large-scale robustness analysis of video action recognition models, and the generator of
    ROSE-P (2022); table vbench is this project's.
    """

    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "vbench": (2, 3, 4, 6, 8),
        "rose2022": (4, 9, 16, 25, 36),
        "schiappa2023": (4, 9, 16, 25, 36),
    }
    broken: ClassVar[Mapping[str, str]] = {"rose2022": "no-op", "schiappa2023": "no-op"}

    table: str = param("vbench", help="severity table")

    def order(self, total: int, rate: float, setting: Any, rng: ClipRandom) -> list[Sequence[int]]:
        """Permuted segments: neighbours among eight, or all of `setting` frames."""
        if self.table != "vbench":
            parts = windows(total, setting)
            return joined(parts[place] for place in shuffled(len(parts), rng))
        parts = segments(total, 8)
        return joined(parts[group[place]] for group in windows(len(parts), setting) for place in ring(len(group), rng))


@register("corruption", "freeze")
@dataclass(frozen=True)
class Freeze(Timeline):
    """The picture freezes now and then.

    Formula: every frame but the first shows what the one before showed with probability p = .12 .24 .36 .48 .60, independently;
    runs of equal frames have 1 / (1 - p) frames on average.

    Table schiappa2023 draws k frames of T, k = .4 T, .2 T, .1 T, .05 T (2 or more) and 1, and holds each until the next; what
    comes before the first drawn frame is gone, so the video is shorter by (T - k) / (k + 1) frames on average.

    Source: the generator of ROSE-P (2022), whose function cannot run as published; Schiappa et al. 2023, A large-scale robustness
    analysis of video action recognition models.
    """

    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[Any]]] = {
        "rose2022": (0.12, 0.24, 0.36, 0.48, 0.6),
        "schiappa2023": ((0.4, 1), (0.2, 1), (0.1, 1), (0.05, 2), (0.0, 1)),
    }
    broken: ClassVar[Mapping[str, str]] = {"schiappa2023": "shorter"}

    table: str = param("rose2022", help="severity table")

    def order(self, total: int, rate: float, setting: Any, rng: ClipRandom) -> list[Sequence[int]]:
        """Kept frames, each held until the next."""
        if self.table == "schiappa2023":
            share, least = setting
            drawn = set(shuffled(total, rng)[: max(int(share * total), least)])
            return singles(_held([position in drawn for position in range(total)], start=min(drawn)))
        draws = rng.uniform((total,))[0].tolist()
        return singles(_held([draw >= setting for draw in draws]))


@register("corruption", "frame_rate")
@dataclass(frozen=True)
class FrameRate(Timeline):
    """The video has fewer frames per second, each shown longer.

    Formula: at F = 20 16 12 9 6 frames per second a frame belongs to slot floor(t F / rate) and shows the first frame of its
    slot; the length and the speed stay. A rate that is unknown counts as 25. A video of F frames per second or fewer stays as it
    is.

    The authors encode the video again at F and so keep fewer frames; here each stands for its slot, so that a sampler which takes
    every n-th frame sees the old speed. Their released command cannot run (ffmpeg knows no `-fps`). For Something-Something, at
    12 frames per second, they take 10 8 6 4 2 in place of these.

    Source: Yi et al. 2021, Benchmarking the robustness of spatial-temporal models against corruptions; table of Mini Kinetics-C.
    """

    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[Any]]] = {"yi2021": (20, 16, 12, 9, 6)}

    table: str = param("yi2021", help="severity table")

    def order(self, total: int, rate: float, setting: Any, rng: ClipRandom) -> list[Sequence[int]]:
        """The first frame of each slot, held."""
        slots = [int(position * setting / (rate or USUAL_RATE)) for position in range(total)]
        return singles(_held([slot != before for slot, before in zip(slots, [-1, *slots], strict=False)]))


@register("corruption", "temporal_blur")
@dataclass(frozen=True)
class TemporalBlur(Timeline):
    """Every frame is the mean of its neighbours in time, as with a slow shutter.

    Formula: new frame i is the mean of old frames i - c to i + c - 1 that exist, c = 3 5 7 9 11, cut to whole grey levels.

    Table yi2021 drops the first and the last c frames instead; with 2c frames or fewer, where nothing would be left, it shows the
    mean of all. For Something-Something, at 12 frames per second, the authors take c = 1 2 3 4 6.

    Source: Yi et al. 2021, Benchmarking the robustness of spatial-temporal models against corruptions, which calls it motion
    blur; table of Mini Kinetics-C.
    """

    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[Any]]] = {"vbench": (3, 5, 7, 9, 11), "yi2021": (3, 5, 7, 9, 11)}
    broken: ClassVar[Mapping[str, str]] = {"yi2021": "shorter"}

    table: str = param("vbench", help="severity table")

    def order(self, total: int, rate: float, setting: Any, rng: ClipRandom) -> list[Sequence[int]]:
        """Windows of up to 2 * `setting` frames."""
        if self.table == "yi2021":
            return [range(at - setting, at + setting) for at in range(setting, total - setting)] or [range(total)]
        return [range(max(at - setting, 0), min(at + setting, total)) for at in range(total)]


@register("corruption", "reverse")
@dataclass(frozen=True)
class Reverse(Timeline):
    """Time runs backwards, in segments that grow to the whole video.

    Formula: the video is cut into n = 5 4 3 2 1 equal segments; they stay in place, and each is shown from its end. Severity 5 is
    the video backwards; a frame moves T / 2n places on average. Motion runs backwards at every severity, so that a model which
    sees short-range motion alone can lose as much at severity 1 as at 5.

    Source: this project's; reversal as in Schiappa et al. 2023, A large-scale robustness analysis of video action recognition
    models.
    """

    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[Any]]] = {"vbench": (5, 4, 3, 2, 1)}

    table: str = param("vbench", help="severity table")

    def order(self, total: int, rate: float, setting: Any, rng: ClipRandom) -> list[Sequence[int]]:
        """`setting` segments, each backwards."""
        return joined(part[::-1] for part in segments(total, setting))


@register("corruption", "frame_drop")
@dataclass(frozen=True)
class FrameDrop(Timeline):
    """Frames are lost in bursts, as on a poor connection.

    Formula: Gilbert's model with two states. A burst starts before a frame with probability l / ((1 - l) b) and ends with 1 / b,
    so that l = .1 .2 .3 .4 .5 of the frames are lost in bursts of b = 2 3 4 5 6 frames on average; the first frame always
    arrives. The last one that arrived is held over a gap, or with gap=skip the gap is closed, and the video jumps and is shorter.

    Unlike `freeze`, whose frames are lost independently, a frame is lost more often after one that was lost: gaps are fewer
    and longer. A sampled clip of 16 frames often has none at severity 1.

    Source: Gilbert 1960, Capacity of a burst-noise channel, for the model; the table is this project's.
    """

    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[Any]]] = {"vbench": ((0.1, 2), (0.2, 3), (0.3, 4), (0.4, 5), (0.5, 6))}

    table: str = param("vbench", help="severity table")
    gap: str = param("hold", help="hold: the last frame stands over a gap; skip: the gap is closed", choices=("hold", "skip"))

    def order(self, total: int, rate: float, setting: Any, rng: ClipRandom) -> list[Sequence[int]]:
        """The frames that arrived, each held until the next or once."""
        loss, burst = setting
        arrived, start = [True], loss / (1 - loss) / burst
        for draw in rng.uniform((total,))[0, 1:].tolist():
            arrived.append(draw >= start if arrived[-1] else draw < 1 / burst)
        return singles([position for position in range(total) if arrived[position]] if self.gap == "skip" else _held(arrived))


def _held(kept: Sequence[bool], start: int = 0) -> list[int]:
    """Positions from `start`, which is kept in any case: the latest that is kept."""
    shown = (position if kept[position] else start for position in range(start, len(kept)))
    return list(accumulate(shown, max))
