"""vbench: robustness of video action-recognition models.

`evaluate` is the Python entry; `Model` and `InputSpec` wrap a network of your own.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core.interfaces import InputSpec, Model
    from .evaluation.api import evaluate

__all__ = ["InputSpec", "Model", "evaluate"]


def __getattr__(name: str) -> Any:
    """Imports torch only when something that needs it is asked for, so that the command line answers at once."""
    if name == "evaluate":
        from .evaluation.api import evaluate

        return evaluate
    if name in ("Model", "InputSpec"):
        from .core import interfaces

        return getattr(interfaces, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
