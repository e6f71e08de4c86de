"""What the rooms promise each other."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from .budget import Limits
from .errors import InputError
from .losses import Loss, check_classes
from .rng import ClipRandom


@dataclass(frozen=True)
class InputSpec:
    """What a model takes, and how a decoded video becomes that.

    Attributes:
        frames: Frames T of a clip.
        size: Height and width of the square crop, pixels.
        short_side: Length that the short side is resized to before the centre crop, pixels.
        sampler: `uniform` (TSN: centre frame of T equal segments), `midpoints` (PySlowFast: middles of T rounded intervals),
            `linspace` (T frames from the first to the last) or `dense` (T frames, `interval` apart, centred).
        interval: Distance of dense frames, in frames.
        mean: Per-channel mean, RGB, in [0, 1].
        std: Per-channel standard deviation, RGB, in [0, 1].
        rate: Frames per second that `interval` counts in; 0 counts the video's own frames.
        resize: `antialias` (PIL's bilinear), `bilinear` (OpenCV's, without antialiasing) or `stretch` (torchvision's 112-pixel
            models: to short_side x `long_side` whatever the aspect, without antialiasing).
        long_side: Width after `stretch`, pixels.
        channels: Order in which the network wants the channels; clips, `mean` and `std` are always RGB.
    """

    frames: int
    size: int
    short_side: int
    sampler: Literal["uniform", "midpoints", "linspace", "dense"] = "uniform"
    interval: int = 1
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    rate: float = 0.0
    resize: Literal["antialias", "bilinear", "stretch"] = "antialias"
    long_side: int = 0
    channels: Literal["RGB", "BGR"] = "RGB"


class Model(nn.Module):
    """A classifier of canonical clips; it owns normalisation and layout.

    `forward` maps float32 clips (N, 3, T, H, W), RGB in [0, 1], to logits (N, K).

    Attributes:
        input: What it takes.
        classes: Number of classes K.
        name: Canonical spec, for tables.
        weights_sha256: Hash of the weights.
        card: What is known of it (paper, recipe, figures), for `vbench show` and the store.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, net: nn.Module, input: InputSpec, classes: int, layout: Literal["NCTHW", "NTCHW"] = "NCTHW") -> None:
        super().__init__()
        self.net = net
        self.input = input
        self.classes = classes
        self.layout = layout
        self.name = type(net).__name__
        self.weights_sha256 = ""
        self.card: dict[str, Any] = {}
        mean, std = torch.tensor(input.mean).view(3, 1, 1, 1), torch.tensor(input.std).view(3, 1, 1, 1)
        self.register_buffer("scale", 1 / std, persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (N, K) of clips (N, 3, T, H, W).

        Raises:
            InputError: The clips have another shape than `input` says.
        """
        wanted = (3, self.input.frames, self.input.size, self.input.size)
        if clips.dim() != 5 or tuple(clips.shape[1:]) != wanted:
            expected = ", ".join(map(str, wanted))
            raise InputError(f"model {self.name}: clips", f"their shape is {tuple(clips.shape)}", f"it must be (N, {expected})")
        clips = torch.addcmul(self.shift, clips, self.scale)  # (clips - mean) / std in one pass over memory
        if self.input.channels == "BGR":
            clips = clips.flip(1)
        return self.net(clips.transpose(1, 2) if self.layout == "NTCHW" else clips)


class ModelFactory(Protocol):
    """What `@register("model", ...)` marks."""

    def build(self, dataset: str, classes: Sequence[str]) -> Model:
        """The model with its weights, in eval mode, for a data set with these class names."""
        ...


class Scorer(Protocol):
    """A model, possibly defended: one pass, one random draw."""

    def __call__(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """Logits (N, K) of clips (N, 3, T, H, W)."""
        ...


class Defense(Protocol):
    """What `@register("defense", ...)` marks: a frozen dataclass.

    Attributes:
        stochastic: Whether two passes may differ.
        gradient: `exact`, `bpda` (its `protect` lets gradients pass a surrogate) or `none`.
    """

    version: ClassVar[int]
    stochastic: ClassVar[bool]
    gradient: ClassVar[Literal["exact", "bpda", "none"]]

    @property
    def draws(self) -> int:
        """How many passes the deployed defence averages; 1 where it is deterministic."""
        ...

    def protect(self, model: Scorer) -> Scorer:
        """The defended model: a single draw. The harness averages draws and builds the adaptive attack."""
        ...


class Gradient(NamedTuple):
    """Gradient of the summed loss to the clips, with what the same pass says of them.

    Attributes:
        grad: (N, C, T, H, W).
        loss: (N,).
        logits: (N, K).
    """

    grad: Tensor
    loss: Tensor
    logits: Tensor


class Target(Protocol):
    """What an attack may ask of the model it attacks; every call is counted, per clip.

    Attributes:
        stochastic: Whether two passes over the same clips may differ.
        until_fooled: Whether a clip that is already fooled may leave the batch.
    """

    stochastic: bool
    until_fooled: bool

    def gradient(self, clips: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom) -> Gradient:
        """One gradient, averaged over draws where the target is random (EOT).

        Args:
            clips: (N, C, T, H, W) in [0, 1].
            labels: (N, ...), what the loss takes: true classes (N,), or true and target classes (N, 2).
            loss: Of logits (N, K) and labels to (N,). Passes may hold several draws of a clip, or a part of the clips, so it must
                not close over tensors of the batch. A `cam.WithFeatures` loss also gets the last feature maps.
            rng: The clips' streams.
        """
        ...

    def logits(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """Scores (N, K) as the deployed model gives them, without gradient: one query per clip."""
        ...

    def note(self, name: str, values: Tensor, rng: ClipRandom) -> None:
        """Keeps numbers (N, ...) that the attack found out about the clips of `rng`; they are stored with the cell."""
        ...


class Attack(ABC):
    """What `@register("attack", ...)` marks: a frozen dataclass with the fields or class attributes `norm` and `eps`.

    Attributes:
        version: Goes up when the same parameters give other numbers.
        norm: `linf`, `l2`, `l1`, `l21` (sum over frames of the frames' L2 norms), or `append` for clips that get other frames.
        eps: The budget, in the norm's unit.
        black_box: Whether it asks for scores alone, never for a gradient.
        reports: Measured columns that belong beside its accuracy: of `frames`, `area`, `thickness`, `roughness`, `queries`.
        eot: Draws per gradient that it is defined with, where the target is random; the threat may ask for more.
        universal: Whether one perturbation serves all clips, so that `fit` must make it on others first.
        fit_split: Split that `fit` is shown; None: the data set's validation or training clips.
        fit_clips: How many clips of it.
    """

    version: ClassVar[int] = 1
    norm: str
    eps: float
    black_box: ClassVar[bool] = False
    reports: ClassVar[tuple[str, ...]] = ()
    eot: int = 1
    universal: bool = False
    fit_split: str | None = None
    fit_clips: int = 64

    @property
    def limits(self) -> Limits:
        """What the harness checks besides the norm."""
        return Limits()

    @property
    def calls(self) -> tuple[int, int]:
        """Gradient calls and queries per clip at most, for progress."""
        return getattr(self, "steps", 1) * getattr(self, "restarts", 1), 0

    @property
    def fit_calls(self) -> int:
        """Gradient calls in all that `fit` makes, for progress."""
        return 0

    def check(self, input: InputSpec, classes: int) -> None:
        """Refuses, before anything is computed, what a model's clips or classes do not allow: frames or pixels beyond them.

        Raises:
            InputError: Which parameter, what is wrong, what would be right.
        """
        check_classes(getattr(self, "loss", ""), classes)

    def single_step(self) -> "Attack | None":
        """The one-step attack that a sound iterative run must not be weaker than."""
        return None

    def fit(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> "Attack":
        """The attack with its universal perturbation, made on clips (M, C, T, H, W) that it will not be judged on."""
        return self

    @abstractmethod
    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Candidates (N, C, T, H, W); the harness projects, measures and verifies them."""


@dataclass(frozen=True)
class ClipRecord:
    """One video of a data set.

    Attributes:
        id: Stable name, unique in the data set.
        path: Video file, or folder of frames.
        label: Class index, 0-based.
        group: Source video, for intervals; clips of one group are not independent.
        start: First frame of the clip in its video, from 0.
        stop: The frame after its last; None stands for the video's end, as does every number beyond it.
        template: Names of the frames in a folder, such as `img_%05d.jpg`; empty: every image.
    """

    id: str
    path: Path
    label: int
    group: str
    start: int = 0
    stop: int | None = None
    template: str = ""


class Dataset(Protocol):
    """What `@register("dataset", ...)` marks."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        ...

    def records(self, split: str) -> list[ClipRecord]:
        """The videos of a split."""
        ...


@dataclass
class Batch:
    """Clips ready for a model.

    Attributes:
        records: N records.
        clips: uint8, or float in [0, 1], (N, 3, T, H, W), RGB.
        labels: int64 (N,).
    """

    records: list[ClipRecord]
    clips: Tensor
    labels: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.labels = torch.tensor([record.label for record in self.records])

    @property
    def ids(self) -> list[str]:
        """Clip ids, N of them."""
        return [record.id for record in self.records]
