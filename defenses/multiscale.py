"""Ensembles over frame rates."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..benchmark.core.defense import Views
from ..benchmark.core.errors import InputError
from ..benchmark.core.params import param
from ..benchmark.core.registry import register

_SCALE = re.compile(r"([1-9]\d*)(?:x([1-9]\d*))?")


@register("defense", "multiscale")
@dataclass(frozen=True)
class Multiscale(Views):
    """Multi-scale sampling: the scores of the clip at several frame intervals are averaged.

    Formula: log mean softmax f(x[s_i]) over the scales i. A scale `IxL` takes L frames, I apart, around the middle of the
    clip, at most as many as fit; `I` alone takes as many as fit. Its frames are held, each about as long, until there are T
    again.

    Re-implemented from the paper, and less than it: the winner of ROSE samples the video anew for every scale (intervals of
    6, 7, 8, 10 and 12 frames, with 16, 14, 12, 10 and 9 of them, so that about all of an HMDB51 video is seen), gives each to
    a network of its own and weighs their scores. Here every scale comes from the T frames that the one model is given,
    because that is where a perturbation lives, and all weigh the same. So larger intervals add no frames: they leave some
    out. One deterministic ensemble: an attack that knows it goes through every scale, so that one of its passes costs as many of
    the model's.

    Source: the winner of ROSE 2022 (Robustness in Sequential Data challenge, CVPR), section 4.5 and table 6.
    """

    version: ClassVar[int] = 1

    scales: str = param("1/2/3", help="frame intervals, or interval x number of frames, such as 1x8/2x4")

    def __post_init__(self) -> None:
        if not all(map(_SCALE.fullmatch, self.scales.split("/"))):
            remedy = "write intervals, or interval x frames, such as 1/2/3 or 1x8/2x4"
            raise InputError("defense multiscale: scales", f"{self.scales!r} is no list of scales", remedy)

    def views(self, clips: Tensor) -> Iterator[Tensor]:
        """The clip at every scale, with T frames each."""
        frames = clips.unbind(dim=2)
        for scale in self.scales.split("/"):
            interval, _, length = scale.partition("x")
            order = sampled(len(frames), int(interval), int(length or len(frames)))
            yield torch.stack([frames[place] for place in order], dim=2)


def sampled(frames: int, interval: int, length: int) -> list[int]:
    """Which T of T frames a scale shows: `length` of them at most, `interval` apart around the middle, each held in its place.

    Args:
        frames: T.
        interval: Distance, in frames.
        length: How many are wanted.

    Returns:
        T positions from 0, never falling.
    """
    length = min(length, -(-frames // interval))
    start = (frames - (length - 1) * interval - 1) // 2
    return [start + interval * ((2 * place + 1) * length // (2 * frames)) for place in range(frames)]
