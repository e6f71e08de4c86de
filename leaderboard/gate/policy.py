"""What a check forbids: tiers, the cells in them, and regressions that somebody has accepted for a while."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ...benchmark.core.errors import InputError
from ...benchmark.core.registry import did_you_mean
from .judged import Acknowledgement

FILE = Path(__file__).parents[1] / "policy.toml"
"""The default policy, and the documentation of the format."""

TIERS = ("critical", "supporting", "advisory")
USUAL = "supporting"


@dataclass(frozen=True)
class Rule:
    """What holds for a cell.

    Attributes:
        tier: critical, supporting or advisory; advisory cells fail nothing.
        max_drop: Largest drop of accuracy that is allowed, in [0, 1).
        must_see: Size of a drop that could become significant, else the verdict is INCONCLUSIVE; in [0, 1).
    """

    tier: str
    max_drop: float
    must_see: float


@dataclass(frozen=True)
class Policy:
    """What a check forbids.

    Attributes:
        name: Of its file, or `default`.
        tiers: Rule of every tier.
        cells: Rules of patterns of cell names.
        acknowledged: Regressions that fail nothing.
    """

    name: str
    tiers: Mapping[str, Rule]
    cells: Mapping[str, Rule] = field(default_factory=dict)
    acknowledged: tuple[Acknowledgement, ...] = ()

    def rule(self, cell: str) -> Rule:
        """Of the pattern with the most characters that are no wildcards, of equals the first; else of the usual tier."""
        matching = [pattern for pattern in self.cells if fnmatchcase(cell, pattern)]
        return self.cells[max(matching, key=_literal)] if matching else self.tiers[USUAL]

    def accepted(self, cell: str) -> Acknowledgement | None:
        """Who accepted a regression of this cell, if somebody did."""
        return next((one for one in self.acknowledged if fnmatchcase(cell, one.cell)), None)

    def require(self, cells: Sequence[str]) -> None:
        """Refuses patterns that match nothing, which would silently forbid nothing.

        Raises:
            InputError: A pattern or an acknowledgement matches none of the cells of the baseline.
        """
        patterns = {one: f"the pattern {one!r}" for one in self.cells}
        patterns |= {one.cell: f"the acknowledgement of {one.cell!r}" for one in self.acknowledged}
        for pattern, what in patterns.items():
            if not any(fnmatchcase(cell, pattern) for cell in cells):
                problem = f"{self.name}: {what} matches no cell of the baseline"
                raise InputError("policy", problem, did_you_mean(pattern, cells[:3] if len(cells) > 9 else cells))


def read(path: Path | None, today: date) -> Policy:
    """A policy; without a path the default one, which also fills what a file leaves out.

    Raises:
        InputError: It cannot be read, has unknown keys or values, or an acknowledgement has expired by `today`.
    """
    default = _toml(FILE)
    tiers = {tier: _rule(default["tiers"][tier], tier, None, "") for tier in TIERS}
    if path is None:
        return Policy("default", tiers)
    told = _toml(path)
    _known(told, ("tiers", "cells", "acknowledged"), str(path))
    for tier, value in _table(told, "tiers", path).items():
        _known({tier: value}, TIERS, f"{path}: tiers")
        tiers[tier] = _rule(value, tier, tiers[tier], f"{path}: tiers.{tier}")
    cells = {pattern: _cell(value, tiers, f"{path}: {pattern!r}") for pattern, value in _table(told, "cells", path).items()}
    entries = told.get("acknowledged", [])
    if not isinstance(entries, list):
        raise InputError("policy", f"{path}: acknowledged is no list of tables", "write [[acknowledged]]")
    return Policy(str(path), tiers, cells, tuple(_accepted(entry, today, str(path)) for entry in entries))


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("policy", f"cannot read {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("policy", f"{path} is not TOML: {error}") from None


def _table(told: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    found = told.get(key, {})
    if not isinstance(found, dict):
        raise InputError("policy", f"{path}: {key} is no table", f"write [{key}]")
    return found


def _known(told: Any, keys: Sequence[str], where: str) -> None:
    if not isinstance(told, dict):
        raise InputError("policy", f"{where} is {told!r}", f"it must be a table of {', '.join(keys)}")
    for key in told:
        if key not in keys:
            raise InputError("policy", f"{where} has an unknown key {key!r}", did_you_mean(key, keys))


def _cell(told: Any, tiers: Mapping[str, Rule], where: str) -> Rule:
    _known(told, ("tier", "max_drop", "must_see"), where)
    tier = told.get("tier", USUAL)
    if tier not in TIERS:
        raise InputError("policy", f"{where}: tier is {tier!r}", f"it must be {', '.join(TIERS)}")
    return _rule({key: value for key, value in told.items() if key != "tier"}, tier, tiers[tier], where)


def _rule(told: Any, tier: str, usual: Rule | None, where: str) -> Rule:
    _known(told, ("max_drop", "must_see"), where)
    fractions = {key: _fraction(value, f"{where}: {key}") for key, value in told.items()}
    if usual is None:
        return Rule(tier, **fractions)
    most = fractions.get("max_drop", usual.max_drop)
    return Rule(tier, most, fractions.get("must_see", most if "max_drop" in fractions else usual.must_see))


def _fraction(value: Any, where: str) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and 0 <= value < 1:
        return float(value)
    example = f"{value / 100:g}" if number and 1 <= value < 100 else "0.02"
    raise InputError(
        "policy", f"{where} is {value!r}", f"it must be a fraction in [0, 1); write {example} for points of per cent"
    )


def _accepted(told: Any, today: date, name: str) -> Acknowledgement:
    keys = ("cell", "until", "reason", "by")
    _known(told, keys, f"{name}: acknowledged")
    texts = {key: told[key] for key in keys if key in told and key != "until"}
    lacking = [key for key in keys if key not in told] + [
        key for key, text in texts.items() if not isinstance(text, str) or not text.strip()
    ]
    if lacking:
        problem = f"{name}: an acknowledgement lacks {', '.join(lacking)}"
        raise InputError("policy", problem, "it needs cell, until, reason and by")
    until = _day(told["until"], f"{name}: acknowledged {told['cell']!r}")
    if until < today:
        problem = f"{name}: the acknowledgement of {told['cell']!r} by {told['by']!r} expired on {until}"
        raise InputError("policy", problem, "renew it or remove it")
    return Acknowledgement(until=until.isoformat(), **texts)


def _day(value: Any, where: str) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise InputError("policy", f"{where}: until is {value!s}", "it must be a day such as 2027-01-31") from None


def _literal(pattern: str) -> int:
    """How specific a pattern is."""
    return sum(letter not in "*?" for letter in pattern)
