"""A baseline: what a store measured, per clip, in a file small enough for git.

JSON with one line per cell, so that a change of one cell is a change of one line, and an annotation has a line to stand at. Ids
and source videos of clips stand there once for all cells on the same clips. Of a cell there is all that makes it comparable,
without what most cells share, and how many passes of every clip were right: one bit per clip, as hexadecimal digits, or as many
as the passes of a random pipeline need.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...benchmark.core.errors import InputError
from ..results import Results
from .identity import SAME, changed, identity, names, one_checkpoint

SCHEMA = 1
OWN = ("kind", "model", "weights_sha256", "defense", "defense_sha256", "attack", "norm", "eps", "threat", "versions")
"""What every line has for itself, though others share it: were it said once, one more cell could rewrite many lines."""

MOST_PASSES = 1000  # stores keep three digits of a share, so that a thousandth is the finest
_HASH = re.compile(r'"hash":\s*"([0-9a-f]+)"')


@dataclass(frozen=True)
class Measured:
    """A cell with its clips, sorted by id.

    Attributes:
        name: For people and policies.
        hash: The cell's hash.
        spec: Its identity, conditions and checkpoints.
        ids: Of the clips.
        groups: Their source videos.
        correct: Share of right passes, (clips,).
        line: Line of the baseline file.
    """

    name: str
    hash: str
    spec: Mapping[str, Any]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    correct: NDArray[np.floating]
    line: int = 1


@dataclass(frozen=True)
class Baseline:
    """What stores are checked against.

    Attributes:
        name: Of the file, as it was given.
        cells: In the order of the file.
    """

    name: str
    cells: tuple[Measured, ...]


class Clips:
    """Puts the clips of cells in the order of their ids; cells on the same clips share the tuples."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[tuple[str, ...], tuple[str, ...], Any]] = {}

    def sort(self, cell: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...], NDArray[np.floating]]:
        """Ids, source videos and shares of a stored cell.

        Raises:
            InputError: A list is missing, of another length, or holds something else.
        """
        try:
            clips = cell["clips"]
            key = tuple(clips["id"]), tuple(clips["group"])
            correct = np.array(clips["correct"], dtype=float)
            good = correct.shape == (len(key[0]),) and len(key[1]) == len(correct) and len(correct) > 0
            if not good or not ((correct >= 0) & (correct <= 1)).all() or len(set(key[0])) != len(correct):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise InputError("store", f"cell {cell['cell']} has broken clip lists", "measure it again") from None
        if key not in self._known:
            order = sorted(range(len(key[0])), key=key[0].__getitem__)
            self._known[key] = tuple(key[0][k] for k in order), tuple(key[1][k] for k in order), np.array(order)
        ids, groups, order = self._known[key]
        return ids, groups, correct[order]


def make(results: Results) -> str:
    """The text of a baseline file: every cell that was measured; failed ones are named in `left_out` and are not checked.

    Raises:
        InputError: No cell was measured, there are two checkpoints of one model, or one cell was measured under two conditions.
    """
    where = ", ".join(str(folder) for folder in results.folders) or "the store"
    cells = _single([cell for cell in results.cells if cell["status"] == "ok"], where)
    if not cells:
        raise InputError("store", f"{where} has no cell that was measured", "a baseline needs one")
    specs = [cell["spec"] for cell in cells]
    one_checkpoint(specs, where)
    common = _common(specs)
    clips, sets, lines = Clips(), {}, []
    for name, cell in zip(names(specs), cells, strict=True):
        ids, groups, correct = clips.sort(cell)
        text = _json({"id": ids} | ({} if groups == ids else {"group": groups}))
        key = hashlib.sha256(text.encode()).hexdigest()[:12]
        sets[key] = text
        passes, packed = pack(correct, cell["cell"])
        own = {key: value for key, value in cell["spec"].items() if key not in common or common[key] != value}
        entry = {"name": name, "top1": round(float(correct.mean()), 4), "clips": key, "passes": passes}
        lines.append((name, _json(entry | {"correct": packed, "spec": own, "hash": cell["cell"]})))
    failed = [cell for cell in results.cells if cell["status"] != "ok"]
    left = [_json({"hash": cell["cell"], "error": str(cell["error"])[:200]}) for cell in failed]
    return "\n".join(
        [
            f'{{"schema":{SCHEMA},',
            f'"common":{_json(common)},',
            '"clips":{',
            *_rows([f'"{key}":{text}' for key, text in sorted(sets.items())]),
            '},"cells":[',
            *_rows([text for _, text in sorted(lines)]),
            '],"left_out":[',
            *_rows(left),
            "]}\n",
        ]
    )


def read(path: Path | str) -> Baseline:
    """A baseline file.

    Raises:
        InputError: It cannot be read, is not JSON, of another schema, or damaged.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("baseline", f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("baseline", f"{path} is not JSON: {error}", "make it with vbench baseline <store> > FILE") from None
    if not isinstance(told, dict) or "schema" not in told:
        raise InputError("baseline", f"{path} is no baseline", "make it with vbench baseline <store> > FILE")
    if told["schema"] != SCHEMA:
        problem = f"{path} is a baseline of schema {told['schema']!r}, and this version reads {SCHEMA}"
        raise InputError("baseline", problem, "use the vbench version that wrote it, or make it again")
    lines = {match[1]: number for number, line in enumerate(text.split("\n"), 1) for match in [_HASH.search(line)] if match}
    try:
        sets = {key: _clips(value) for key, value in told["clips"].items()}
        cells = tuple(_cell(entry, told["common"], sets, lines, str(path)) for entry in told["cells"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError("baseline", f"{path} is damaged: {type(error).__name__} {error}", "make it again") from None
    if not cells:
        raise InputError("baseline", f"{path} holds no cells", "make it again")
    return Baseline(str(path), cells)


def pack(correct: NDArray[np.floating], cell: str = "") -> tuple[int, str]:
    """The number of passes, and how many of them were right per clip, as hexadecimal digits.

    Raises:
        InputError: The shares are no whole numbers of at most MOST_PASSES passes.
    """
    for passes in range(1, MOST_PASSES + 1):
        counts = np.rint(correct * passes).astype(int)
        if np.array_equal(_shares(counts, passes), correct):
            width = passes.bit_length()
            bits = (counts[:, None] >> np.arange(width)[::-1]) & 1
            return passes, np.packbits(bits.astype(np.uint8).ravel()).tobytes().hex()
    raise InputError("store", f"cell {cell} has shares of right passes that are no thousandths", "measure it again")


def unpack(packed: str, clips: int, passes: int) -> NDArray[np.floating]:
    """The shares that `pack` packed.

    Raises:
        ValueError: The digits are no such numbers, or too few or many.
    """
    if not 1 <= passes <= MOST_PASSES:
        raise ValueError(f"{passes} passes")
    width = passes.bit_length()
    length = 2 * -(-clips * width // 8)
    if len(packed) != length:
        raise ValueError(f"{len(packed)} digits where {clips} clips need {length}")
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(packed), np.uint8))
    counts = bits[: clips * width].reshape(clips, width) @ (1 << np.arange(width)[::-1])
    if bits[clips * width :].any() or (counts > passes).any():
        raise ValueError("digits that are no counts of right passes")
    return _shares(counts, passes)


def _shares(counts: NDArray[np.integer], passes: int) -> NDArray[np.floating]:
    return np.round(counts / passes, 3)


def _single(cells: Sequence[Mapping[str, Any]], where: str) -> list[Mapping[str, Any]]:
    """Each cell once: of runs to full strength and to the first success the full one, of the same run twice the newest."""
    found: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for cell in sorted(
        cells, key=lambda cell: (str(cell["spec"].get("strength")).startswith("full"), cell["provenance"]["started"])
    ):
        spec = cell["spec"]
        other = found.get(identity(spec))
        if other is not None and other["spec"].get("strength") == spec.get("strength"):
            one_checkpoint([other["spec"], spec], where)
            if why := changed(other["spec"], spec):
                problem = f"{where} holds {names([spec])[0]} twice ({why})"
                raise InputError("store", problem, "make the baseline of a store that holds it once")
        found[identity(spec)] = cell
    return list(found.values())


def _common(specs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What most cells have, of the keys that all have."""
    found = {}
    for key in sorted(set.intersection(*(set(spec) for spec in specs)) - set(OWN)):
        texts = Counter(_json(spec[key]) for spec in specs)
        found[key] = json.loads(min(texts, key=lambda text: (-texts[text], text)))
    return found


def _clips(told: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    ids = tuple(told["id"])
    groups = tuple(told.get("group", ids))
    if (
        len(groups) != len(ids)
        or len(set(ids)) != len(ids)
        or not ids
        or not all(isinstance(one, str) for one in (*ids, *groups))
    ):
        raise ValueError("a list of clips that is empty, uneven or has a clip twice")
    return ids, groups


def _cell(
    told: Mapping[str, Any],
    common: Mapping[str, Any],
    sets: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]],
    lines: Mapping[str, int],
    path: str,
) -> Measured:
    name, spec, line = str(told["name"]), {**common, **told["spec"]}, lines.get(told["hash"], 1)
    if told["clips"] not in sets:
        raise InputError("baseline", f"{path}, line {line}: the list of clips {told['clips']!r} is not in it", "make it again")
    ids, groups = sets[told["clips"]]
    lacking = [key for key in SAME if key not in ("corruption", "severity") and key not in spec]
    if lacking:
        raise InputError("baseline", f"{path}, line {line}: {name} lacks {', '.join(lacking)}", "make it again")
    try:
        correct = unpack(told["correct"], len(ids), told["passes"])
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError("baseline", f"{path}, line {line}: the clips of {name} are damaged ({error})", "make it again") from None
    return Measured(name, str(told["hash"]), spec, ids, groups, correct, line)


def _rows(texts: Sequence[str]) -> list[str]:
    return [text + ("," if number < len(texts) else "") for number, text in enumerate(texts, 1)]


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=False, allow_nan=False)
