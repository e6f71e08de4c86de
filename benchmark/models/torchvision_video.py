"""All video models of torchvision, with its published Kinetics-400 weights."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torchvision.models import get_model, get_model_weights

from ..core.errors import InputError
from ..core.files import sha256
from ..core.interfaces import InputSpec, Model
from ..core.params import param
from ..core.registry import register
from .family import random_seed, untrained
from .layouts import fit
from .published import locate
from .weights import load_state

KINETICS_FPS = 30.0
"""Frame rate in which intervals are counted: that of most Kinetics videos, and a multiple of torchvision's frame rates."""


@register("model", "torchvision")
@dataclass(frozen=True)
class TorchvisionVideo:
    """Torchvision's video models (R3D, MC3, R(2+1)D, S3D, MViT, Video Swin), input as their published weights want it."""

    arch: str = param(
        help="torchvision's name of the model",
        choices=("r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b"),
    )
    weights: str = param(
        "auto",
        help="auto (torchvision's file in the local torch hub cache), random, random-<seed>, or a checkpoint: file or URL",
        identity=False,
    )
    version: ClassVar[int] = 1

    def build(self, dataset: str, classes: Sequence[str]) -> Model:
        """The model with its weights, in eval mode.

        Raises:
            InputError: The weights are not there or do not fit, or the data set's classes are not those of Kinetics-400.
        """
        published = get_model_weights(self.arch)["DEFAULT"]
        where = f"model torchvision:{self.arch}: weights"
        seed = random_seed(self.weights)
        net = untrained(lambda: get_model(self.arch, num_classes=len(classes)), seed or 0)
        model = Model(net, input_of(published), len(classes))
        model.card = {"model": f"torchvision:{self.arch}", "weights": self.weights, "recipe": published.meta["recipe"]}
        if seed is not None:
            model.card["note"] = "untrained weights: fit for timing only"
            return model.eval()
        path = cached(published, where) if self.weights == "auto" else locate(self.weights, "torchvision", dataset).path
        state = load_state(path, where)
        if self.weights == "auto":
            check_classes(classes, published.meta["categories"], where)
            model.card |= {"url": published.url, "classes": "Kinetics-400", "published": published.meta["_metrics"]}
        fit(net, state, where, head=_head(net))
        model.weights_sha256 = sha256(path)
        return model.eval()


def input_of(published: Any) -> InputSpec:
    """Frames, frame rate, resizing, crop and normalisation of torchvision's weights.

    Its recipes resample a video to `frame_rate` and take `clip_len` frames in a row, which is every n-th frame at 30 per second;
    its transform resizes without antialiasing, to a short side or, where it names two lengths, to both whatever the aspect.
    """
    transform = published.transforms()
    told = dict(re.findall(r"(clip_len|frame_rate)=([\d.]+)", published.meta["_docs"]))
    short, *long = transform.resize_size
    return InputSpec(
        frames=int(told["clip_len"].rstrip(".")),
        size=transform.crop_size[0],
        short_side=short,
        sampler="dense",
        interval=round(KINETICS_FPS / float(told["frame_rate"].rstrip("."))),
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        rate=KINETICS_FPS,
        resize="stretch" if long else "bilinear",
        long_side=long[0] if long else 0,
    )


def cached(published: Any, where: str) -> Path:
    """Torchvision's file in the local torch hub cache; nothing is downloaded.

    Raises:
        InputError: It is not there, or not the file that its name's hash promises.
    """
    name = published.url.rpartition("/")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        raise InputError(where, f"{path} is not there", f"download {published.url} and give weights=FILE, or take weights=random")
    if not sha256(path).startswith(Path(name).stem.rpartition("-")[2]):
        raise InputError(where, f"{path} is not torchvision's file, its hash differs", f"download {published.url} again")
    return path


def check_classes(classes: Sequence[str], published: Sequence[str], where: str, owner: str = "torchvision's weights") -> None:
    """Refuses a data set whose classes are not the published ones in the published order; case and punctuation do not count.

    Raises:
        InputError: Another number of classes, or another name in some place; `owner` says whose classes are published.
    """
    if len(classes) != len(published):
        problem = f"{owner} know {len(published)} classes, the data set has {len(classes)}"
        raise InputError(where, problem, "give weights that know them, or weights=random")
    for index, (ours, theirs) in enumerate(zip(classes, published, strict=True)):
        if _plain(ours) != _plain(theirs):
            raise InputError(where, f"class {index} is {ours!r} in the data set and {theirs!r} in {owner}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _head(net: torch.nn.Module) -> str:
    # Every one of these networks ends in its classifier.
    return [key for key in net.state_dict() if key.endswith(".weight")][-1].removesuffix(".weight")
