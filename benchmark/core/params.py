"""Parameters of components: declaration, parsing from text, canonical text."""

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from .errors import InputError

REQUIRED = object()
"""Stands for "no default": the parameter must be given."""

PIXEL = "fraction of the pixel range"
"""Unit of parameters that live in pixel space and are written as a fraction of 255, such as `eps=8/255`."""

SEVERITIES = range(1, 6)
"""Of every corruption, the mildest first."""

_FRACTION = re.compile(r"^\s*([-+]?[\d.]+)\s*/\s*([\d.]+)\s*$")


def param(
    default: Any = REQUIRED,
    *,
    help: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    identity: bool = True,
) -> Any:
    """Declares a field of a component's dataclass.

    Args:
        default: The default; leave out for a required parameter, which is also the positional one of a spec.
        help: One line for `vbench show`.
        unit: Unit, for `vbench show` and for the canonical text.
        low: Smallest allowed value.
        high: Largest allowed value.
        choices: Allowed strings.
        identity: False for parameters that only say where something lies (a path): they stay out of a cell's hash.
    """
    metadata = dict(help=help, unit=unit, low=low, high=high, choices=choices, identity=identity)
    if default is REQUIRED:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Field:
    """One declared parameter, as read from the source without importing it."""

    name: str
    type: str
    default: Any = REQUIRED
    help: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    identity: bool = True

    def parse(self, text: str, owner: str) -> Any:
        """Text to value, checked; `owner` names the component in errors.

        Raises:
            InputError: The text is not of the field's type or out of its bounds.
        """
        where = f"{owner}: {self.name}"
        if "None" in self.type and text.lower() in ("none", "auto"):
            return None
        value = _convert(text, self.type.split("|")[0].strip(), where)
        self.check(value, where)
        return value

    def check(self, value: Any, where: str) -> None:
        """Checks bounds and choices; raises InputError."""
        if self.choices and value not in self.choices:
            raise InputError(where, f"{value!r} is unknown", f"choose from {', '.join(self.choices)}")
        low, high = self.low, self.high
        if isinstance(value, str) or (low is None or value >= low) and (high is None or value <= high):
            return
        bounds = f"at least {self.format(low)}" if high is None else f"from {self.format(low)} to {self.format(high)}"
        raise InputError(where, f"{self.format(value)} is out of bounds", f"it must be {bounds}")

    def format(self, value: Any) -> str:
        """Value to its one canonical text."""
        if value is None:
            return "none"
        if isinstance(value, bool):
            return str(value).lower()
        if self.unit == PIXEL and isinstance(value, float):
            return pixel_text(value)
        return f"{value:.12g}" if isinstance(value, float) else str(value)


def pixel_text(value: float) -> str:
    """A pixel-range fraction as people write it: 0.0313725 -> '8/255' where exact to 1e-9 and below 1, else the number."""
    levels = round(value * 255, 4)
    if value == 0 or value >= 1 or abs(levels / 255 - value) > 1e-9:
        return f"{value:.12g}"
    return f"{levels:.10g}/255"


def _convert(text: str, kind: str, where: str) -> Any:
    try:
        if kind == "float":
            match = _FRACTION.match(text)
            value = float(match[1]) / float(match[2]) if match else float(text)
            if value - value != 0:  # inf and nan
                raise ValueError
            return value
        if kind == "int":
            return int(text)
        if kind == "bool":
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        return text
    except (ValueError, KeyError, ZeroDivisionError):
        wanted = {"float": "a number such as 0.5 or 8/255", "int": "a whole number", "bool": "true or false"}[kind]
        raise InputError(where, f"{text!r} is not {wanted}") from None
