"""The grammar of component specs: `name:key=value,key=value`, chains with `+`, lists with `,`."""

import re
from dataclasses import dataclass

from .errors import InputError

_FILE = re.compile(r"^(?P<name>.+?\.py:[A-Za-z_]\w*)(?::(?P<rest>.*))?$")
_CHAIN = re.compile(r"\+(?=[A-Za-z_./~])")


@dataclass(frozen=True)
class Spec:
    """A component as the user wrote it: name, at most one positional value, named values as text."""

    name: str
    positional: str = ""
    values: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str, kind: str) -> "Spec":
        """Reads one spec, such as `pgd:eps=8/255,steps=50`, `torchvision:r3d_18` or `mine.py:build:depth=18`.

        Raises:
            InputError: The text breaks the grammar; `kind` names the argument.
        """
        text = text.strip()
        match = _FILE.match(text)
        name, _, rest = (match["name"], "", match["rest"] or "") if match else text.partition(":")
        if not name:
            raise InputError(kind, f"{text!r} has no name", "write name or name:key=value,key=value")
        positional, values = "", {}
        for position, piece in enumerate(rest.split(",") if rest else []):
            key, equals, value = (part.strip() for part in piece.partition("="))
            if position == 0 and not equals and key:
                positional = key
            elif not equals or not key:
                raise InputError(f"{kind} {name}", f"{piece!r} is not key=value")
            elif not value:
                raise InputError(f"{kind} {name}: {key}", "has no value", f"write {key}=VALUE, or leave it out")
            elif key in values:
                raise InputError(f"{kind} {name}", f"{key} is given twice")
            else:
                values[key] = value
        return cls(name, positional, tuple(values.items()))


def split_list(texts: list[str]) -> list[str]:
    """Splits repeated and comma-separated values; a piece with `=` belongs to the entry before it.

    `["pgd:eps=8/255,steps=50,flicker"]` gives `["pgd:eps=8/255,steps=50", "flicker"]`.
    """
    entries: list[str] = []
    for text in texts:
        fresh = True
        for piece in text.split(","):
            if "=" in piece and ":" not in piece.split("=")[0] and not fresh:
                entries[-1] += "," + piece.strip()
            elif piece.strip():
                entries.append(piece.strip())
            fresh = False
    return entries


def split_chain(text: str) -> list[str]:
    """Splits a chained defence `shuffle+smoothing:sigma=0.1`; the `+` of `1e+3` is no link."""
    parts = [part.strip() for part in _CHAIN.split(text)]
    if not all(parts):
        raise InputError("defense", f"{text!r} has an empty link", "write first+second")
    return parts
