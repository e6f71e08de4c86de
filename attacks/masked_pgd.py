"""PGD inside a region: the base of patch and border, and the patch."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from ..benchmark.core.ascent import Sign, ascend
from ..benchmark.core.attack import Attack, Target
from ..benchmark.core.best import Best
from ..benchmark.core.budget import Ball, Limits, check_eps
from ..benchmark.core.errors import InputError
from ..benchmark.core.interfaces import InputSpec
from ..benchmark.core.losses import LOSSES
from ..benchmark.core.masks import check_place, patch_mask, patch_size, random_places
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom


class StickerBall(Ball):
    """Balls in which a start shows the same random pixel values in all frames, as far as eps lets it."""

    def __getitem__(self, rows: Tensor) -> "StickerBall":
        """The balls of some clips."""
        return StickerBall(self.clean[rows], self._norm, self._eps, None if self._mask is None else self._mask[rows])

    def random(self, rng: ClipRandom) -> Tensor:
        """A sticker of uniform pixel values, brought into the ball."""
        channels, _, *frame = self.clean.shape[1:]
        return self.project(rng.uniform((channels, 1, *frame)).expand_as(self.clean).contiguous())


class StickerSign(Sign):
    """A step of one sticker: its pixel values, the frames' mean, go along the sign of the gradient summed over the frames."""

    def __call__(self, x: Tensor, grad: Tensor) -> Tensor:
        """New iterates; the ball keeps them to the region."""
        sticker = x.mean(dim=2, keepdim=True).add_(grad.sum(dim=2, keepdim=True).sign_(), alpha=self._step)
        return sticker.expand_as(x).contiguous()


@dataclass(frozen=True)
class Region(Attack):
    """Base of attacks that may change the pixels of a region and no others."""

    reports: ClassVar[tuple[str, ...]] = ("area",)

    norm: str = param("linf", help="norm of the budget inside the region", choices=("linf",))
    eps: float = param(1.0, help="budget inside the region; 1: any pixel value", unit=PIXEL)
    ratio: float = param(0.1, help="share of a frame's area that the region may take; whole pixels make it less", low=0, high=1)
    steps: int = param(100, help="gradient steps", low=1)
    step: float = param(0.02, help="step size", unit=PIXEL, low=0)
    random_start: bool = param(True, help="start at uniform noise inside the region")
    restarts: int = param(1, help="independent runs; the best iterate over all is kept", low=1)
    loss: str = param("ce", help="loss that is maximised", choices=("ce", "cw", "dlr"))

    def __post_init__(self) -> None:
        check_eps(self.owner, self.norm, self.eps, whole=True)

    @property
    def owner(self) -> str:
        """How messages name the attack."""
        return f"attack {self.registered[1]}"  # type: ignore[attr-defined]

    @property
    def limits(self) -> Limits:
        """The area is the share asked for, which the region's whole pixels never exceed."""
        return Limits(area=self.ratio)

    def single_step(self) -> Self:
        """The one-step attack that a sound iterative run must not be weaker than."""
        return replace(self, steps=1, step=self.eps, random_start=False, restarts=1)

    @property
    @abstractmethod
    def sticker(self) -> bool:
        """Whether the region shows the same pixel values in all frames."""

    @abstractmethod
    def mask(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """The region, (N, 1, T or 1, H, W), for clips (N, C, T, H, W)."""

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Adversarial candidates (N, C, T, H, W) of clips (N, C, T, H, W) with labels (N,)."""
        best = Best(clips)
        ball = (StickerBall if self.sticker else Ball)(clips, self.norm, self.eps, self.mask(clips, rng))
        for _ in range(self.restarts):
            ascend(
                target,
                ball,
                labels,
                rng,
                best,
                loss=LOSSES[self.loss],
                steps=self.steps,
                move=(StickerSign if self.sticker else Sign)(self.step),
                random_start=self.random_start,
                keep="last" if target.stochastic and self.restarts == 1 else "best",
            )
        return best.clips


@register("attack", "masked-pgd")
@dataclass(frozen=True)
class MaskedPGD(Region):
    """A rectangular patch, optimised by projected gradient descent.

    Formula: x <- P(x + step * m * sign(grad loss)), where the mask m is 1 inside the patch and 0 elsewhere, and P brings the clip
    into the L-inf eps-ball and [0, 1]. The patch measures floor(H sqrt(ratio)) x floor(W sqrt(ratio)) pixels; the start is
    uniform noise inside it. Pixels are those of the model's input, so no crop can cut the patch off.

    `per_frame` says what a frame has to itself. `pattern`: what the patch shows, while its place stays (Armory's patch).
    `place`: also where it is. `nothing`: the patch is a sticker, the same pixel values in one place all through the clip; its
    values, the mean over frames of what they show, go along the sign of the gradient summed over the frames. With eps < 1 each
    frame shows the sticker as far as its ball allows.

    Source: Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, section 2.1, restricted to a
    patch as in Armory's video scenarios; Kinfu and Vidal 2022, Analysis and Extensions of Adversarial Training for Video
    Classification.
    """

    version: ClassVar[int] = 1

    position: str = param("fixed", help="fixed: at row and column; random: drawn for each clip", choices=("fixed", "random"))
    row: int = param(0, help="topmost row of a fixed patch, pixels from the top", low=0)
    column: int = param(0, help="leftmost column of a fixed patch, pixels from the left", low=0)
    per_frame: str = param(
        "pattern",
        help="what differs between frames: nothing, the pattern, or the place too",
        choices=("nothing", "pattern", "place"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.per_frame == "place" and self.position == "fixed":
            raise InputError(f"{self.owner}: per_frame", "a fixed place is the same in all frames", "add position=random")

    def check(self, input: InputSpec, classes: int) -> None:
        """Refuses a patch that has no pixels or reaches beyond the frame."""
        super().check(input, classes)
        self._size((input.size, input.size))

    @property
    def sticker(self) -> bool:
        """Whether the patch shows the same pixel values in all frames."""
        return self.per_frame == "nothing"

    def mask(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """The patch, (N, 1, T or 1, H, W)."""
        height, width = clips.shape[-2:]
        size = self._size((height, width))
        if self.position == "random":
            return patch_mask(clips, size, *random_places(clips, size, rng, self.per_frame == "place"))
        rows, columns = (clips.new_full((len(clips), 1), at).long() for at in (self.row, self.column))
        return patch_mask(clips, size, rows, columns)

    def _size(self, frame: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the patch in a frame of this height and width, pixels, where it fits."""
        size = patch_size(self.owner, frame, self.ratio)
        if self.position == "fixed":
            check_place(self.owner, frame, size, self.row, self.column)
        return size
