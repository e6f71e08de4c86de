"""From a resolved component to a model that is ready to be measured."""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.interfaces import InputSpec, Model
from ..core.registry import ROOT_MODULE, Component

WRAP = "wrap it: Model(net, InputSpec(frames=..., size=..., short_side=...), classes=K)"


def build_model(component: Component, dataset: str, classes: Sequence[str]) -> Model:
    """Builds, freezes, hashes and probes a model.

    Args:
        component: A registered factory, or a user's function `path/to/file.py:builder` that returns a `Model`.
        dataset: Name of the data set.
        classes: Its class names, in label order.

    Returns:
        The model on the CPU in eval mode; its parameters take no gradient.

    Raises:
        InputError: The builder fails or returns no `Model`, or the model does not give finite logits (N, K).
    """
    where = f"model {component}"

    def build() -> Any:
        made = component.create()
        return made if isinstance(made, nn.Module) or not hasattr(made, "build") else made.build(dataset, classes)

    # Our own failures are bugs and keep their traceback.
    ours = component.entry.module.startswith(f"{ROOT_MODULE}.")
    made = build() if ours else _guarded(build, where)
    if not isinstance(made, Model):
        what = "a plain nn.Module" if isinstance(made, nn.Module) else f"{type(made).__name__!r}"
        raise InputError(where, f"it returned {what}, it must return a Model", WRAP)
    if component.live is not None:
        made.weights_sha256 = state_sha256(made)  # it may have been trained since it was last seen
    if made.classes != len(classes):
        raise InputError(where, f"the model has {made.classes} classes, data set {dataset} has {len(classes)}")
    return _finish(made, str(component))


def wrap_module(net: nn.Module, input: InputSpec, classes: int, layout: Literal["NCTHW", "NTCHW"] = "NCTHW") -> Model:
    """Any network as a `Model`, frozen, hashed and probed: the way in from Python.

    Args:
        net: Takes normalised clips in `layout`, gives logits (N, K).
        input: What it takes; the wrapper normalises by its mean and std.
        classes: K.
        layout: Order of the dimensions that the network wants.

    Raises:
        InputError: It does not give finite logits (1, K).
    """
    return _finish(Model(net, input, classes, layout), type(net).__name__)


def state_sha256(model: Model) -> str:
    """Hash of what a model computes with: input spec, layout, and the state (names, dtypes, shapes, bytes) sorted by name."""
    digest = hashlib.sha256(f"{model.input}\n{model.layout}".encode())
    for name, module in model.net.named_modules():
        digest.update(f"\n{name}\n{_code(type(module))}\n{_settings(module)}".encode())
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"\n{key}\n{value.dtype}\n{tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _code(kind: type[nn.Module]) -> str:
    """What tells two kinds of module apart: its name, and its source where it is no library's."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__.partition(".")[0] in ("torch", "torchvision", ROOT_MODULE):
        return name
    try:
        return f"{kind.__qualname__}\n{inspect.getsource(kind)}"
    except (OSError, TypeError):
        return name


def _settings(module: nn.Module) -> list[tuple[str, Any]]:
    """Numbers and texts that a module keeps as plain attributes; `training` is the harness's."""
    plain = {key: value for key, value in vars(module).items() if isinstance(value, (bool, int, float, str, tuple))}
    return sorted((key, value) for key, value in plain.items() if key != "training")


def _finish(model: Model, name: str) -> Model:
    model.eval().requires_grad_(False)
    model.name = name
    model.weights_sha256 = model.weights_sha256 or state_sha256(model)
    _probe(model, f"model {name}")
    return model


def _probe(model: Model, where: str) -> None:
    """Two zero clips: the cheapest way to learn that a model does not do what it says."""
    size = model.input.size
    with torch.inference_mode():
        logits = _guarded(lambda: model(torch.zeros(2, 3, model.input.frames, size, size)), where)
    if not isinstance(logits, Tensor):
        raise InputError(where, f"the model returned {type(logits).__name__!r}, it must return logits (N, K)")
    if tuple(logits.shape) != (2, model.classes):
        raise InputError(
            where, f"the model returned shape {tuple(logits.shape)}, it must return logits (N, K), here (2, {model.classes})"
        )
    if not logits.is_floating_point() or not logits.isfinite().all():
        raise InputError(where, "the model returned logits that are not finite numbers", "check its weights and normalisation")


def _guarded(call: Callable[[], Any], where: str) -> Any:
    try:
        return call()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        lines = str(error).strip().splitlines() or [""]
        raise InputError(where, f"it failed with {type(error).__name__}: {lines[0]}") from error
