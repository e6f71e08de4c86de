"""Reading checkpoint files as data: no code in them is ever run."""

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..core.errors import InputError

WRAPPERS = ("state_dict", "model_state", "model")
"""Where training scripts put the weights: TSM and mmaction2, SlowFast, timm."""

WAY_OUT = (
    "where you trust the file, read it elsewhere (in a container) with torch.load(..., weights_only=False) and save its state "
    "dict alone with safetensors.torch.save_file"
)


class _Ignored:
    """Stands for a NumPy scalar, such as the best accuracy beside the weights: nothing of NumPy is called, nothing is kept."""

    def __new__(cls, *args: Any) -> "_Ignored":
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


_IGNORED: list[Any] = [
    (_Ignored, name) for name in ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype")
]


def load_state(path: Path, where: str = "weights") -> dict[str, Tensor]:
    """The tensors of a checkpoint, by the names its author gave them, without `module.` in front.

    Args:
        path: A `.safetensors` file, or whatever `torch.save` wrote.
        where: The argument, for messages.

    Returns:
        CPU tensors by key.

    Raises:
        InputError: No such file, not a checkpoint, a damaged one, or one that would need to run code.
    """
    if not path.is_file():
        raise InputError(where, f"there is no file {path}", "give a .safetensors or .pth file, auto or random")
    content = _read(path, where)
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(where, f"{path} holds no state dict", f"expected names and tensors, bare or under {', '.join(WRAPPERS)}")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _read(path: Path, where: str) -> Any:
    _check_kind(path, where)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_IGNORED):
            warnings.simplefilter("ignore")  # about pickle versions; whether the file can be read is what matters
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile and pickle raise a dozen kinds for a damaged file
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused:
            problem = f"{path} needs {refused[1]} to be read, and code in checkpoints is never run"
            raise InputError(where, problem, WAY_OUT) from None
        raise InputError(where, f"{path} is damaged or no checkpoint", "expected .safetensors or a file of torch.save") from None


def _check_kind(path: Path, where: str) -> None:
    """Names the files that people take for checkpoints: the page of a download site, an archive around the checkpoint."""
    try:
        with path.open("rb") as stream:
            start = stream.read(1024).lstrip().lower()
    except OSError as error:
        raise InputError(where, f"{path} cannot be read: {error.strerror}") from None
    if start.startswith((b"<!doctype html", b"<html")):
        problem = f"{path} is an HTML page, no checkpoint: a download site's question, most likely"
        raise InputError(where, problem, "download it by hand in a browser")
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            return  # damaged, as the reader will find
        if not any(name.rpartition("/")[2] == "data.pkl" for name in names):
            inside = ", ".join(names[:3]) or "nothing"
            raise InputError(where, f"{path} is a zip archive of {inside}, none that torch.save wrote", "unpack it")
