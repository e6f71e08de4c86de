"""What a cell's file may hold: keys, types, ranges, its hash and its provenance."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from ..benchmark.core.errors import InputError
from ..benchmark.core.specs import Spec, split_chain
from ..benchmark.evaluation.store import SCHEMA
from ..benchmark.evaluation.tables import KNOWLEDGE


class Problem(NamedTuple):
    """Something that is wrong with a submission.

    Attributes:
        level: error: it cannot be taken as it is; alarm: somebody should look into it.
        rule: Which rule it breaks.
        cell: Hash of the cell; empty where it is about a table.
        words: What is wrong.
    """

    level: Literal["error", "alarm"]
    rule: str
    cell: str
    words: str


Test = Callable[[Any], bool]

MOST = 2**53
"""Larger numbers are no counts; and what is not smaller than this is not finite either, or not exact."""


def shown(value: Any, width: int = 80) -> str:
    """A value of a stranger's file, on one line that no terminal takes for a command."""
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(str(value).split()))
    return text if len(text) <= width else text[: width - 1] + "…"


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -MOST < value < MOST


def _size(value: Any) -> bool:
    return _number(value) and value >= 0


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _any(value: Any) -> bool:
    return True


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _maybe(test: Test) -> Test:
    return lambda value: value is None or test(value)


def _list(test: Test) -> Test:
    return lambda value: isinstance(value, list) and all(map(test, value))


def _dict(value: Any) -> bool:
    return isinstance(value, dict)


def _one_of(*known: str) -> Test:
    return lambda value: value in known


def _hex(digits: int) -> Test:
    return lambda value: isinstance(value, str) and len(value) == digits and set(value) <= set("0123456789abcdef")


def _spec(value: Any) -> bool:
    """A spec, or a chain of them, that can be read."""
    try:
        return _name(value) and bool([Spec.parse(link, "spec") for link in split_chain(value)])
    except InputError:
        return False


def _threat(value: Any) -> bool:
    if not _name(value) or value.partition(":")[0] not in ("none", *KNOWLEDGE):
        return False
    if not value.startswith("adaptive"):
        return True
    return _spec(value) and dict(Spec.parse(value, "threat").values).get("eot", "1").isdecimal()


CELL: dict[str, Test] = {
    "schema": lambda value: value == SCHEMA,
    "cell": _hex(24),
    "spec": _dict,
    "clips": _dict,
    "evidence": _dict,
}
CELL |= {"status": _one_of("ok", "error"), "error": _text, "provenance": _dict}
CELL_MORE: dict[str, Test] = {"reports": _list(_name), "failed": _list(_dict), "corruption": _dict, "declared": _dict}
CELL_MORE |= {"notes": lambda value: _dict(value) and all(isinstance(one, list) for one in value.values()), "trace": _text}

SPEC: dict[str, Test] = {"protocol": lambda value: _count(value) and value > 0, "kind": _one_of("clean", "attack", "corruption")}
SPEC |= dict.fromkeys(("split", "norm", "strength", "dtype"), _name)
SPEC |= dict.fromkeys(("dataset", "model", "attack", "defense"), _spec)
SPEC |= {"limit": _maybe(_count), "manifest_sha256": _hex(64), "weights_sha256": _text, "input": _dict, "eps": _maybe(_size)}
SPEC |= {"attack_files": _list(_hex(64)), "fit_manifest_sha256": _text, "threat": _threat, "source_sha256": _text, "seed": _count}
SPEC |= {"versions": lambda value: isinstance(value, dict) and all(map(_text, value.values()))}
SPEC_MORE: dict[str, Test] = {"shifts": _count, "corruption": _name, "severity": lambda value: value in (1, 2, 3, 4, 5)}
SPEC_MORE |= {"defense_sha256": _list(_hex(64))}

CLIPS: dict[str, Test] = {"id": _name, "label": _count, "group": _text, "correct": _share, "pred": _count, "top5": _share}
CLIPS |= {"margin": _maybe(_number)}
ATTACKED: dict[str, Test] = {"linf": _maybe(_size), "l2": _maybe(_size), "frames": _size, "gradients": _count, "queries": _count}
ATTACKED |= {"solved": lambda value: value == -1 or _count(value)}
NEWER: dict[str, Test] = dict.fromkeys(("area", "thickness", "roughness"), _size)  # cells of protocol 1 lack some
FLIPS: dict[str, Test] = {"flips": _maybe(_share)}

EVIDENCE: dict[str, Test] = dict.fromkeys(("zero", "nonfinite", "outside"), _count)
CHECK: dict[str, Test] = {"n": _count, "attack": _share, "doubled": _maybe(_share), "single_step": _maybe(_share)}
PROBE: dict[str, Test] = dict.fromkeys(("range", "sums", "again", "other"), _maybe(_number))
PROBE |= {"n": _count, "grid": _number, "backward": _count}
PROBE_MORE: dict[str, Test] = dict.fromkeys(("predicted", "measured"), _list(_maybe(_number)))
CLIMB: dict[str, Test] = {"n": _count, "calls": _count, "rise": _number, "late": _number}
FIT: dict[str, Test] = dict.fromkeys(("clips", "gradients", "queries"), _count)
PARTS = {"check": (CHECK, {}), "probe": (PROBE, PROBE_MORE), "climb": (CLIMB, {}), "fit": (FIT, {})}
EVIDENCE_MORE: dict[str, Test] = dict.fromkeys(PARTS, _dict) | {"card": _maybe(_share), "surrogate": _flag, "unrounded": _count}

DECLARED: dict[str, Test] = {"stochastic": _flag, "draws": _count, "gradient": _one_of("none", "bpda", "exact")}
CORRUPTION: dict[str, Test] = dict.fromkeys(("family", "table", "temporal", "stage"), _text)
CORRUPTION_MORE: dict[str, Test] = {"size": _maybe(_count), "storage": _text, "truncate": _flag, "broken": _text}

PROVENANCE: dict[str, Test] = {
    "versions": lambda value: _dict(value) and all(_name(value.get(one)) for one in ("robustvideo", "torch"))
}
PROVENANCE |= {"python": _name, "commit": _text, "device": _name, "cores": _maybe(_count), "machine": _text, "wall_s": _size}
PROVENANCE |= {"started": lambda value: _text(value) and _date(value), "batch_size": _count, "threads": _count}


def of_cell(cell: Any) -> list[Problem]:
    """What is wrong with the content of a file; only the first kind of problem, for the later ones rest on the earlier."""
    if not isinstance(cell, dict):
        return [Problem("error", "schema", "", "is no cell")]
    name = cell["cell"] if _hex(24)(cell.get("cell")) else ""
    rules = (("schema", _schema), ("values", _values), ("hash", _hash), ("provenance", _provenance))
    for rule, look in rules:
        if words := look(cell):
            return [Problem("error", rule, name, one) for one in words]
    return []


def among(cells: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Cells on one list of clips must agree about its clips: ids, labels and source videos."""
    known: dict[str, tuple[str, dict[str, Any]]] = {}
    found = []
    for cell in cells:
        clips, spec = cell["clips"], cell["spec"]
        if not clips:
            continue
        place = str([spec["dataset"], spec["split"], spec["limit"], spec["manifest_sha256"]])
        facts = dict(zip(clips["id"], zip(clips["label"], clips["group"], strict=True), strict=True))
        facts |= dict.fromkeys((one["id"] for one in cell.get("failed", [])), None)
        other, theirs = known.setdefault(place, (cell["cell"], facts))
        odd = sorted(set(facts) ^ set(theirs)) or [
            one for one in facts if None not in (facts[one], theirs[one]) and facts[one] != theirs[one]
        ]
        if odd:
            words = f"has other clips, labels or source videos than cell {other} of the same list: {shown(odd[0])}"
            found.append(Problem("error", "clips", cell["cell"], words))
    return found


def _schema(cell: Mapping[str, Any]) -> list[str]:
    words = _keys("", cell, CELL, CELL_MORE)
    if words:
        return words
    spec, clips, evidence = cell["spec"], cell["clips"], cell["evidence"]
    words = _keys("spec: ", spec, SPEC, SPEC_MORE) + _keys("declared: ", cell.get("declared"), DECLARED, {})
    words += _keys("corruption: ", cell.get("corruption"), CORRUPTION, CORRUPTION_MORE)
    if words:
        return words
    words = _kind(cell)
    if cell["status"] == "error":
        return words + ([] if cell["error"] and not clips and not evidence else ["failed, and has clips, or does not say why"])
    attacked = spec["kind"] == "attack"
    needed = CLIPS | (ATTACKED if attacked else {}) | (NEWER if attacked and spec["protocol"] > 1 else {})
    words += _keys("clips: ", clips, dict.fromkeys(needed, _list(_any)), dict.fromkeys({**NEWER, **FLIPS}, _list(_any)))
    words += _keys("evidence: ", evidence, EVIDENCE, EVIDENCE_MORE)
    if words:
        return words
    return [one for name, parts in PARTS.items() for one in _keys(f"evidence: {name}: ", evidence.get(name), *parts)]


def _keys(where: str, given: Mapping[str, Any] | None, known: Mapping[str, Test], more: Mapping[str, Test]) -> list[str]:
    """What a part lacks, has too much, or has of another type."""
    if given is None:
        return []
    words = [f"{where}{name} is missing" for name in known if name not in given]
    words += [f"{where}{shown(name)} is not known" for name in given if name not in known and name not in more]
    tests = {**known, **more}
    return words + [
        f"{where}{name} is {shown(json.dumps(given[name]))}" for name in given if name in tests and not tests[name](given[name])
    ]


def _kind(cell: Mapping[str, Any]) -> list[str]:
    """Whether what a cell is agrees with what it says of itself."""
    spec, words = cell["spec"], []
    attacked, corrupted = spec["kind"] == "attack", spec["kind"] == "corruption"
    if attacked != (spec["attack"] != "none") or attacked != (spec["threat"] != "none"):
        words.append(
            f"spec: a cell of kind {spec['kind']} with attack {shown(spec['attack'])} and threat {shown(spec['threat'])}"
        )
    if not all((name in part) == corrupted for part, name in ((spec, "corruption"), (spec, "severity"), (cell, "corruption"))):
        words.append(f"spec: a cell of kind {spec['kind']} with, or without, a corruption")
    said = dict(Spec.parse(spec["attack"], "attack").values)
    words += [
        f"spec: {name} is {shown(spec[name])}, the attack's is {shown(said[name])}"
        for name in ("norm", "eps")
        if name in said and _other(said[name], spec[name])
    ]
    for one in cell.get("failed", []):
        words += _keys("failed: ", one, {"id": _name, "reason": _text}, {})
    return words


def _other(text: str, value: Any) -> bool:
    """Whether a parameter's text is another value than this one."""
    if not isinstance(value, (int, float)):
        return text != value
    try:
        return abs(float(Fraction(text)) - value) > 1e-9
    except (ValueError, ZeroDivisionError, OverflowError):
        return True


def _values(cell: Mapping[str, Any]) -> list[str]:
    """Vectors of one length, with values that can be."""
    clips, spec = cell["clips"], cell["spec"]
    if not clips:
        return []
    sizes = {name: len(values) for name, values in clips.items()}
    if len(set(sizes.values())) > 1 or not sizes["id"]:
        return [f"vectors of unequal length, or none: {', '.join(f'{name} {size}' for name, size in sizes.items())}"]
    tests = CLIPS | ATTACKED | NEWER | FLIPS
    odd = {name: [one for one in values if not tests[name](one)] for name, values in clips.items()}
    words = [f"clips: {name} holds {shown(json.dumps(found[0]))}" for name, found in odd.items() if found]
    if words:
        return words
    ids = [*clips["id"], *(one["id"] for one in cell.get("failed", []))]
    if len(set(ids)) < len(ids):
        words.append("clips: an id is there twice")
    if spec["limit"] is not None and len(ids) > spec["limit"]:
        words.append(f"clips: {len(ids)}, and the limit is {spec['limit']}")
    rows = zip(clips["id"], clips["correct"], clips["pred"], clips["label"], strict=True)
    wrong = [name for name, share, pred, label in rows if share > 0.5 and pred != label]
    return words + ([f"clips: {shown(wrong[0])} is right, and its pred is not its label"] if wrong else [])


def _hash(cell: Mapping[str, Any]) -> list[str]:
    """The name of a cell is made of its spec, as `Bench.hash` makes it."""
    made = hashlib.sha256(json.dumps(cell["spec"], sort_keys=True).encode()).hexdigest()[:24]
    return [] if made == cell["cell"] else [f"the hash of its spec is {made}"]


def _provenance(cell: Mapping[str, Any]) -> list[str]:
    given = cell["provenance"]
    words = _keys("provenance: ", given, PROVENANCE, {})
    if not words and given["commit"].endswith("-dirty"):
        words.append(f"provenance: commit {shown(given['commit'])} had changes that are in no commit")
    return words


def _date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
