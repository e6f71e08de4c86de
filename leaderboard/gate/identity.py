"""Which cell of a store is the one of a baseline: what makes it the same, what makes it incomparable, and its name."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ...benchmark.core.errors import InputError
from ..titles import links

Spec = Mapping[str, Any]

SAME = ("dataset", "split", "limit", "kind", "model", "defense", "attack", "corruption", "severity", "threat", "seed")
"""What makes two cells one and the same; not the weights, for other weights are what a release changes."""

CONDITIONS = ("protocol", "manifest_sha256", "versions", "dtype", "input", "strength", "norm", "eps", "attack_files")
CONDITIONS += ("fit_manifest_sha256",)
"""What two measurements of a cell must share to be comparable."""

CHECKPOINTS = {
    "weights_sha256": ("dataset", "split", "model"),
    "defense_sha256": ("dataset", "split", "model", "defense"),
    "source_sha256": ("dataset", "split", "threat"),
}
"""Hashes of weights, and what has only one of them in what one check judges."""


def identity(spec: Spec) -> tuple[Any, ...]:
    """What a cell of the baseline and one of a store share where they are the same."""
    return tuple(spec.get(key) for key in SAME)


def nickname(spec: Spec) -> tuple[Any, ...]:
    """The same with short specs: what stays where a new version of a component has other defaults or parameters."""
    return spec["dataset"], spec["split"], spec.get("limit"), spec["seed"], name(spec)


def name(spec: Spec) -> str:
    """model|defense|work|threat, each as its shortest spec; without attack there is no threat."""
    parts = [short("model", spec["model"]), short("defense", spec["defense"]), work(spec)]
    return "|".join([*parts, *([short_threat(spec)] if spec["kind"] == "attack" else [])])


def names(specs: Sequence[Spec]) -> list[str]:
    """The name of each, with the data set, split, limit and seed behind the names that would otherwise be there twice."""
    plain = [name(spec) for spec in specs]
    count = Counter(plain)
    return [f"{one}|{place(spec)}" if count[one] > 1 else one for one, spec in zip(plain, specs, strict=True)]


def place(spec: Spec) -> str:
    """Which clips, and which seed."""
    first = "" if spec.get("limit") is None else f"/first {spec['limit']}"
    return f"{spec['dataset']}/{spec['split']}{first}/seed {spec['seed']}"


def work(spec: Spec) -> str:
    """`clean`, the attack's shortest spec, or the corruption's with its severity."""
    if spec["kind"] == "clean":
        return "clean"
    if spec["kind"] == "corruption":
        return f"{short('corruption', spec['corruption'])}:{spec['severity']}"
    return short("attack", spec["attack"])


def short_threat(spec: Spec) -> str:
    """What the attacker knows; of a transfer, with the shortest spec of the model that it comes from."""
    kind, colon, source = str(spec["threat"]).partition(":")
    return f"{kind}:{short('model', source)}" if kind == "transfer" and colon else str(spec["threat"])


@cache
def short(kind: str, text: str) -> str:
    """A canonical spec without its defaults; whole where the component is not installed here."""
    if text == "none":
        return text
    try:
        return "+".join(link.short for link in links(kind, text))
    except (InputError, OSError, ValueError):
        return text


def changed(before: Spec, after: Spec) -> str:
    """Why two cells cannot be compared, each condition from what to what; empty where they can."""
    keys = [key for key in SAME if before.get(key) != after.get(key)] + list(CONDITIONS)
    lines = []
    for key in keys:
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            parts = sorted({part for part in {*old, *new} if old.get(part) != new.get(part)})
            noun = "version of " if key == "versions" else f"{key} "
            lines += [f"{noun}{part}: {_brief(old.get(part))} -> {_brief(new.get(part))}" for part in parts]
        elif old != new:
            lines.append(f"{key.removesuffix('_sha256')}: {_brief(old)} -> {_brief(new)}")
    return "; ".join(lines)


def one_checkpoint(specs: Sequence[Spec], where: str) -> None:
    """Refuses cells of two checkpoints: a verdict on a mixture of them would be about neither.

    Raises:
        InputError: Two cells of one model, trained defence or source of transfers have other weights.
    """
    seen: dict[tuple[Any, ...], str] = {}
    for spec in specs:
        for key, owner in CHECKPOINTS.items():
            weights = spec.get(key)
            weights = " ".join(weights) if isinstance(weights, list) else weights
            if not weights:
                continue
            whose = (key, *(spec.get(part) for part in owner))
            if seen.setdefault(whose, weights) != weights:
                what = short(owner[-1], str(spec[owner[-1]]))
                both = f"{_brief(seen[whose])} and {_brief(weights)}"
                raise InputError("store", f"{where} holds two checkpoints of {what}: {both}", "keep them in stores of their own")


def _brief(value: Any) -> str:
    """A value for a line; of a hash, what tells it from others."""
    text = "none" if value is None or value == "" or value == [] else str(value)
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text[:120]
