"""What the rooms promise each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from .errors import InputError
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
        cam: Name of the submodule of `net` whose output are the last feature maps, for class activation mapping; empty: they are
            found (`cam.last_maps`).
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
        self.cam = ""
        mean, std = torch.tensor(input.mean).view(3, 1, 1, 1), torch.tensor(input.std).view(3, 1, 1, 1)
        self.register_buffer("scale", 1 / std, persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.scale.device

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
