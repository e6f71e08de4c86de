"""Reading checkpoint files as data: no code in them is ever run."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..core.errors import InputError

WRAPPERS = ("state_dict", "model_state", "model")
"""Where training scripts put the weights: TSM and mmaction2, SlowFast, timm."""


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
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle versions; whether the file can be read is what matters
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile and pickle raise a dozen kinds for a damaged file
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused:
            problem = f"{path} needs {refused[1]} to be read, and code in checkpoints is never run"
            raise InputError(where, problem, "save the state dict alone, or as .safetensors") from None
        raise InputError(where, f"{path} is damaged or no checkpoint", "expected .safetensors or a file of torch.save") from None
