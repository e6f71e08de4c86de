"""Names of what a leaderboard shows, as short as they can be."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ..benchmark.core.errors import InputError
from ..benchmark.core.registry import Component, resolve
from ..benchmark.core.specs import split_chain


@cache
def short(kind: str, text: str) -> str:
    """A spec without its defaults; the text itself where it is a file, or nothing that is registered here."""
    if text == "none" or ".py:" in text:
        return text
    try:
        return "+".join(link.short for link in links(kind, text))
    except InputError:
        return text


@cache
def canonical(kind: str, text: str) -> str:
    """A spec with every default; the text itself where it is a file, or nothing that is registered here."""
    if text == "none" or ".py:" in text:
        return text.strip()
    try:
        return "+".join(link.text for link in links(kind, text))
    except InputError:
        return text.strip()


def links(kind: str, text: str) -> list[Component]:
    """The component of a spec, or the components of a chain of defences.

    Raises:
        InputError: One is not registered, or has such parameters no more.
    """
    return [resolve(kind, link) for link in (split_chain(text) if kind == "defense" else [text])]


def attack_title(attack: str, knowledge: str) -> str:
    """An attack and what its attacker knows."""
    kind, _, source = knowledge.partition(":")
    said = f"transfer from {short('model', source)}" if kind == "transfer" and source else knowledge
    return f"{_with_budget(attack)} ({said})"


@cache
def _with_budget(attack: str) -> str:
    """A spec without its defaults but for the budget, which nobody should have to look up."""
    brief = short("attack", attack)
    name, _, given = brief.partition(":")
    budget = next((pair for pair in attack.partition(":")[2].split(",") if pair.startswith("eps=")), "")
    if not budget or brief == attack or budget in given.split(","):
        return brief
    return f"{name}:{budget}" + (f",{given}" if given else "")


def distinct(rows: Sequence[Mapping[str, Any]], kind: str) -> list[str]:
    """The names of the rows' models, or defences; those of other weights under the same name get the start of their sha256.

    Args:
        rows: Each with `model`, `weights_sha256`, `defense` and `defense_sha256`.
        kind: `model` or `defense`.
    """
    weights = {"model": "weights_sha256", "defense": "defense_sha256"}[kind]
    names = [short(kind, str(row[kind])) for row in rows]
    alike: dict[str, set[str]] = {}
    for name, row in zip(names, rows, strict=True):
        alike.setdefault(name, set()).add(str(row[weights]))
    made = []
    for name, row in zip(names, rows, strict=True):
        several = len(alike[name]) > 1
        made.append(f"{name} @{str(row[weights])[:8]}" if several and row[weights] else name)
    return made
