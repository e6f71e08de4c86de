"""One frame in the place of all."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..benchmark.core.defense import Preprocessing
from ..benchmark.core.errors import InputError
from ..benchmark.core.interfaces import InputSpec
from ..benchmark.core.params import param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom


@register("defense", "uniform")
@dataclass(frozen=True)
class Uniform(Preprocessing):
    """Uniformised video: one frame is shown at all times, so that nothing moves: what a model knows from a single frame.

    Formula: x'(t) = x(i) for t = 0 ... T - 1, in frames of the model's input.

    The baseline that a temporal defence has to beat: an attack's change of frame i no longer stands where it was made for. The
    paper tries every i; here one i is deployed, by default the middle one, floor(T / 2), and its table is had by naming each. The
    gradient is exact: that of all times, summed at frame i, and 0 at every other frame.

    Source: Hwang et al. 2024, Temporal Shuffling for Defending Deep Action Recognition Models against Adversarial Attacks,
    section 3.1 and Tables 1 and 3.
    """

    frame: int | None = param(None, help="frame i that is shown, from 0; none: the middle one", unit="frames", low=0)

    def check(self, input: InputSpec) -> None:
        """Refuses a frame that the model's clips do not have.

        Raises:
            InputError: It is beyond the last.
        """
        if self.frame is not None and self.frame >= input.frames:
            problem = f"{self.frame} is beyond the last frame of the model's clips"
            raise InputError("defense uniform: frame", problem, f"it must be from 0 to {input.frames - 1}")

    def purify(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """The chosen frame, T times."""
        frames = clips.shape[2]
        shown = frames // 2 if self.frame is None else self.frame
        return clips.index_select(2, torch.full((frames,), shown, device=clips.device))
