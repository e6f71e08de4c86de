"""Files of a Hugging Face repository: where they lie, and how weights are read from them without running code."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import snapshot_download
from transformers.utils import logging

from ..core.errors import InputError

DESCRIPTIONS = ("config.json", "*preprocessor_config.json")
WEIGHTS = (("*.safetensors", "*.safetensors.index.json"), ("pytorch_model*.bin", "pytorch_model.bin.index.json"))
"""Patterns of the files with weights and their index: safetensors where there are any, else pickles, which are read as data."""

_HUB = re.compile(r"[\w.-]+/[\w.-]+")


def folder(id: str, download: bool, weights: bool, where: str) -> Path:
    """The folder that a model's id means.

    Args:
        id: A local folder, or a repository of the hub.
        download: Whether to fetch from the hub what its local cache lacks.
        weights: Whether the weights are needed too.
        where: The argument, for messages.

    Raises:
        InputError: There is no such folder or repository, or the cache lacks it and nothing may be fetched.
    """
    path = Path(id).expanduser()
    if not path.is_dir():
        if not _HUB.fullmatch(id):
            raise InputError(where, f"there is no folder {id}", "give a folder, or a repository of the hub as owner/name")
        path = _snapshot(id, DESCRIPTIONS, download, where)
        for patterns in WEIGHTS if weights else ():
            path = _snapshot(id, patterns, download, where)
            if any(path.glob(patterns[0])):
                break
    return path


def _snapshot(id: str, patterns: tuple[str, ...], download: bool, where: str) -> Path:
    try:
        return Path(snapshot_download(id, allow_patterns=list(patterns), local_files_only=not download))
    except Exception as error:  # the hub's client and the one below it raise a dozen kinds
        if not download:
            problem = "it is no folder, and the local Hugging Face cache does not hold it"
            raise InputError(where, problem, "write download=true to fetch it, or give a folder") from None
        raise InputError(where, f"it cannot be fetched: {str(error).strip().splitlines()[0]}") from None


def read_json(path: Path, where: str) -> dict[str, Any]:
    """A file's JSON object.

    Raises:
        InputError: It is not there, or holds none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(where, f"{path.parent} holds no {path.name}", "give a folder that has it, or download=true") from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise InputError(where, f"{path} is damaged, it holds no JSON object")
    return content


def weight_files(folder: Path, where: str) -> list[Path]:
    """The files with weights, sorted: safetensors where there are any.

    Raises:
        InputError: There are none.
    """
    for pattern, _ in WEIGHTS:
        files = sorted(folder.glob(pattern))
        if files:
            return files
    problem = f"{folder} holds neither model.safetensors nor pytorch_model.bin"
    raise InputError(where, problem, "give a folder that has one, download=true, or weights=random")


def load(network: str, config: Any, folder: Path, where: str) -> tuple[Any, list[str]]:
    """A network of transformers with the folder's weights, in float32, and the names of weights that it has no place for.

    Files of the hub hold some of those (a pooler that the classifier does not read), so they are no error.

    Raises:
        InputError: A file is damaged or would need to run code, or a weight is missing or of another shape.
    """
    safe = weight_files(folder, where)[0].suffix == ".safetensors"
    try:
        with _quiet():
            net, told = getattr(transformers, network).from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=safe,
                weights_only=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # transformers, safetensors and pickle raise a dozen kinds for a damaged file
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(where, f"its weights cannot be read: {lines[0]}") from None
    for word in ("missing", "mismatched"):
        keys = sorted(map(str, told[f"{word}_keys"]))
        if keys:
            problem = f"its weights do not fit {network}: {len(keys)} {word} ({', '.join(keys[:3])}{', ...' if keys[3:] else ''})"
            raise InputError(where, problem, "give one that was fine-tuned to classify")
    return net, sorted(told["unexpected_keys"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Transformers without progress bars and reports; what they say becomes our one line."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
