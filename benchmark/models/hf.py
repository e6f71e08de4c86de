"""Fine-tuned video classifiers in the format of Hugging Face: a local folder, or a repository of the hub."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import transformers
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.files import sha256
from ..core.interfaces import Model
from ..core.params import param
from ..core.registry import register
from . import hf_files
from .family import random_seed, untrained
from .hf_input import KINDS, Kind, input_of
from .torchvision_video import check_classes


class Logits(nn.Module):
    """Transformers' classifier without what it wraps its logits in."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (N, K) of clips (N, T, 3, H, W)."""
        return self.net(clips).logits


@register("model", "hf")
@dataclass(frozen=True)
class HuggingFace:
    """VideoMAE, ViViT, TimeSformer and V-JEPA 2 classifiers of Hugging Face, with the input that their files describe."""

    version: ClassVar[int] = 1

    id: str = param(
        help="folder with config.json and weights, or a repository of the hub such as MCG-NJU/videomae-base-finetuned-kinetics"
    )
    weights: str = param("auto", help="auto (the folder's), random or random-<seed>", identity=False)
    download: bool = param(False, help="fetch what the local Hugging Face cache lacks", identity=False)
    sampler: str = param(
        "auto",
        help="which frames; auto: uniform for the 174 classes of Something-Something, else dense",
        choices=("auto", "uniform", "midpoints", "linspace", "dense"),
    )
    interval: int | None = param(None, help="distance of dense frames; none: what the architecture is trained with", low=1)

    def build(self, dataset: str, classes: Sequence[str]) -> Model:
        """The model with its weights, in eval mode.

        Raises:
            InputError: The files are not there, are of another kind or damaged, or know other classes than the data set.
        """
        where = f"model hf:{self.id}"
        seed = random_seed(self.weights)
        if self.weights != "auto" and seed is None:
            raise InputError(f"{where}: weights", f"{self.weights!r} is unknown", "write auto, random or random-<seed>")
        folder = hf_files.folder(self.id, self.download, seed is None, where)
        config, kind = _config(folder, where)
        spec = input_of(config, folder, kind, where)
        sampler = kind.sampler(config.num_labels) if self.sampler == "auto" else self.sampler
        spec = replace(spec, sampler=sampler, interval=self.interval or spec.interval)
        card: dict[str, Any] = {"model": f"hf:{self.id}", "architecture": config.model_type, "weights": self.weights}
        digest = ""
        if seed is None:
            _check(config, classes, where)
            net, card["unused"] = hf_files.load(kind.network, config, folder, where)
            digest = _digest(hf_files.weight_files(folder, where))
        else:
            config.num_labels = len(classes)
            net = _untrained(kind, config, seed, where)
        model = Model(Logits(net), spec, len(classes), "NTCHW")
        model.card, model.weights_sha256 = card, digest
        return model.eval()


def _config(folder: Path, where: str) -> tuple[Any, Kind]:
    told = hf_files.read_json(folder / "config.json", where)
    kind = KINDS.get(str(told.get("model_type")))
    if kind is None:
        problem = f"its architecture is {told.get('model_type')!r}"
        raise InputError(where, problem, f"it must be one of {', '.join(KINDS)}")
    try:
        return getattr(transformers, kind.config).from_dict(told), kind
    except Exception as error:  # transformers checks its fields with errors of its own
        raise InputError(where, f"{folder / 'config.json'} is not valid: {str(error).splitlines()[0]}") from None


def _untrained(kind: Kind, config: Any, seed: int, where: str) -> Any:
    try:
        return untrained(lambda: getattr(transformers, kind.network)(config), seed)
    except ValueError as error:  # widths that do not divide, unknown activations
        raise InputError(where, f"transformers cannot build its config.json: {str(error).splitlines()[0]}") from None


def _check(config: Any, classes: Sequence[str], where: str) -> None:
    """Refuses other classes than the data set's; names such as LABEL_3 say nothing, so there only their number counts."""
    names = [config.id2label[index] for index in range(config.num_labels)]
    if all(name == f"LABEL_{index}" for index, name in enumerate(names)):
        names = list(classes) if len(names) == len(classes) else names
    check_classes(classes, names, where, "its weights")


def _digest(files: Sequence[Path]) -> str:
    """The file's sha256, as the hub shows it; of several files, one over all of theirs."""
    digests = [sha256(path) for path in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
