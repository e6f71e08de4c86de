"""What a training keeps: the best epoch so far, and where it stands, so that a killed one goes on."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.files import write_atomically


class Best:
    """The weights of the best epoch by accuracy under the trial, then by clean accuracy; of equals the later one.

    Training on after the best epoch loses robust accuracy on clips that were not trained on (Rice et al. 2020, Overfitting in
    Adversarially Robust Deep Learning), so the epoch is chosen on the validation clips.

    Args:
        keep: `best`, or `last` for the last epoch whatever it is worth.
    """

    def __init__(self, keep: Literal["best", "last"]) -> None:
        self._keep = keep
        self.epoch, self.score, self.weights = 0, (-1.0, -1.0), {}

    def see(self, number: int, robust: float, accuracy: float, network: nn.Module) -> None:
        """Looks at an epoch."""
        if self._keep == "last":
            self.epoch = number
        elif (robust, accuracy) >= self.score:
            self.epoch, self.score = number, (robust, accuracy)
            self.weights = {key: value.detach().clone() for key, value in network.state_dict().items()}

    def restore(self, network: nn.Module) -> None:
        """Gives the network the best epoch's weights."""
        if self.weights:
            network.load_state_dict(self.weights)


class State:
    """A training's state after an epoch, in a file.

    Args:
        path: The file; None for none.
        key: What the training is: a file of another training is not used.
        parts: What has `state_dict` and `load_state_dict`, by name.
        order: The generator of the order of clips.
        best: The best epoch so far.
        device: Where the network lies.
    """

    def __init__(
        self,
        path: Path | None,
        key: str,
        parts: Mapping[str, Any],
        order: torch.Generator,
        best: Best,
        device: torch.device,
    ) -> None:
        self._path, self._key, self._parts, self._order, self._best, self._device = path, key, parts, order, best, device

    def save(self, history: list[dict[str, Any]], seconds: float) -> None:
        """Writes it, in one step: a kill leaves the file of this epoch or of the one before.

        Args:
            history: The epochs so far.
            seconds: What they took.

        Raises:
            InputError: The folder cannot be written, or the disk is full.
        """
        if self._path is None:
            return
        content = {
            "key": self._key,
            "history": history,
            "seconds": seconds,
            "order": self._order.get_state(),
            "random": torch.get_rng_state(),
            "cuda": [torch.cuda.get_rng_state(self._device)] if self._device.type == "cuda" else [],
            "best": {"epoch": self._best.epoch, "score": list(self._best.score), "weights": self._best.weights},
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        try:
            write_atomically(self._path, buffer.getvalue())
        except OSError as error:
            raise InputError("out", f"cannot write {self._path}: {error.strerror or error}") from None

    def load(self) -> tuple[list[dict[str, Any]], float] | None:
        """Takes everything back to where the file left it.

        Returns:
            The epochs that are done and what they took, in seconds; None where there is no file, or one of another training.

        Raises:
            InputError: The file cannot be read.
        """
        if self._path is None or not self._path.is_file():
            return None
        try:
            content = torch.load(self._path, map_location="cpu", weights_only=True)
            return self._take(content) if content["key"] == self._key else None
        except Exception as error:  # torch, zipfile and pickle raise a dozen kinds for a damaged file
            problem = f"{self._path}, which a killed training left, is damaged or of another version ({type(error).__name__})"
            raise InputError("out", problem, "delete it to start afresh") from None

    def _take(self, content: dict[str, Any]) -> tuple[list[dict[str, Any]], float]:
        for name, part in self._parts.items():
            part.load_state_dict(content["parts"][name])
        self._order.set_state(content["order"])
        torch.set_rng_state(content["random"])
        if content["cuda"] and self._device.type == "cuda":
            torch.cuda.set_rng_state(content["cuda"][0], self._device)
        best: dict[str, Any] = content["best"]
        weights: dict[str, Tensor] = {key: value.to(self._device) for key, value in best["weights"].items()}
        self._best.epoch, self._best.score, self._best.weights = best["epoch"], tuple(best["score"]), weights
        return content["history"], content["seconds"]
