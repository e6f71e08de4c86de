"""What one accuracy does not say, from stored cells: accuracy against eps, success against queries, and more."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..benchmark.core.errors import InputError
from ..benchmark.core.specs import Spec
from ..benchmark.evaluation.stats import interval
from ..benchmark.evaluation.tables import FULL_KNOWLEDGE, OF_THE_ATTACKER, cells_table

CLIPS = ["dataset", "split", "limit", "manifest_sha256", "seed"]
"""What cells share that were measured on the same clips."""

PLACE = [*CLIPS, "model", "weights_sha256", "attack", "defense", "threat", "cell"]
"""What names a cell in these tables."""

POINTS = 200
"""Points of a curve at most; between them success is constant or nearly so."""

NOTE = "fooled_by_frame"
"""The note of attacks that try every frame by itself: 1 where changing that frame alone fooled, per clip and frame."""

SWEPT = ("attack", "eps", "strength")
"""In what the cells of a curve over eps may differ; `strength` says when a clip leaves the attack, not how far it goes."""

OF_ATTACKS = ("kind", "norm", "threat", "attack_files", "fit_manifest_sha256", "source_sha256")
"""What cells without attack do not share with those of the same pipeline that are attacked."""

Cells = Sequence[Mapping[str, Any]]


def eps_curves(cells: Cells) -> pd.DataFrame:
    """Accuracy against the budget, of every attack that was run with several and nothing else changed.

    Of several runs with one budget the one that leaves least counts, as on the leaderboard. Every curve starts at eps 0 with the
    clean accuracy of its pipeline, where that was measured.

    Returns:
        PLACE, defense_sha256, curve (the attack's spec without eps), line (the same for the points of one curve), norm, eps,
        clips, accuracy, accuracy_low and accuracy_high (95 %), by curve and eps.
    """
    clean = {
        _rest(cell, (*SWEPT, *OF_ATTACKS)): cell for cell in cells if cell["status"] == "ok" and cell["spec"]["kind"] == "clean"
    }
    sweeps: dict[str, dict[float, Mapping[str, Any]]] = {}
    for cell in _measured(cells):
        eps, curve = cell["spec"].get("eps"), without_eps(cell["spec"]["attack"])
        if not isinstance(eps, (int, float)) or not eps > 0 or curve == cell["spec"]["attack"]:
            continue
        sweep = sweeps.setdefault(json.dumps([curve, _rest(cell, SWEPT)]), {})
        if eps not in sweep or np.mean(cell["clips"]["correct"]) < np.mean(sweep[eps]["clips"]["correct"]):
            sweep[eps] = cell
    rows = []
    for number, sweep in enumerate(one for one in sweeps.values() if len(one) > 1):
        some = next(iter(sweep.values()))
        start = clean.get(_rest(some, (*SWEPT, *OF_ATTACKS)))
        named = {name: some["spec"][name] for name in ("threat", "norm")} | {"curve": without_eps(some["spec"]["attack"])}
        named |= {"line": number, "defense_sha256": " ".join(some["spec"].get("defense_sha256", []))}
        for eps, cell in sorted({**({0.0: start} if start else {}), **sweep}.items()):
            rows.append(_place(cell) | named | {"eps": eps} | _accuracy(cell))
    names = ["defense_sha256", "curve", "line", "norm", "eps", "clips", "accuracy", "accuracy_low", "accuracy_high"]
    return pd.DataFrame(rows, columns=pd.Index([*PLACE, *names]))


def without_eps(attack: str) -> str:
    """An attack's spec but for its eps; the text as it is where it has none, or is no spec."""
    try:
        spec = Spec.parse(attack, "attack")
    except InputError:
        return attack
    if "eps" not in dict(spec.values):
        return attack
    pairs = [spec.positional] if spec.positional else []
    pairs += [f"{key}={value}" for key, value in spec.values if key != "eps"]
    return f"{spec.name}:{','.join(pairs)}" if pairs else spec.name


def query_curves(cells: Cells) -> pd.DataFrame:
    """Success against queries, of every attack that reports queries and holds the pipeline that is judged.

    Success is the share of all clips that were seen misclassified within so many calls. Calls are queries, and gradients where
    the attack asks for any; the harness's own look at the clean clip is the first one, so that the curve starts at the share of
    clips that are wrong without any change. Of a random defence it is what the attacker saw, in single answers of it.

    Returns:
        PLACE, queries, clips, success, success_low and success_high (95 %), one row per step of a curve. Of a perturbation that
        serves all clips there is none, for its calls belong to no clip.
    """
    rows = []
    for cell in _measured(cells):
        if "queries" not in cell.get("reports", ()) or _threat(cell) not in FULL_KNOWLEDGE or "fit" in cell["evidence"]:
            continue
        clips = cell["clips"]
        solved = np.array(clips["solved"])
        calls = np.array(clips["gradients"]) + np.array(clips["queries"])
        for point in _points(solved[solved >= 0], int(calls.max())):
            fooled = (solved >= 0) & (solved <= point)
            rows.append(_place(cell) | {"queries": point} | _share("success", fooled.astype(float), clips["group"]))
    return pd.DataFrame(rows, columns=pd.Index([*PLACE, "queries", "clips", "success", "success_low", "success_high"]))


def frame_curves(cells: Cells) -> pd.DataFrame:
    """Accuracy by the one frame that is attacked, of attacks that tried every frame by itself.

    A clip that is wrong without any change counts as wrong for every frame.

    Returns:
        PLACE, frame (from 0), clips, accuracy, accuracy_low, accuracy_high (95 %), and mean and worst over the frames.
    """
    rows = []
    for cell in _measured(cells):
        fooled = _fooled(cell.get("notes", {}).get(NOTE), len(cell["clips"]["id"]))
        if fooled is None:
            continue
        right = 1 - fooled
        over = {"mean": float(right.mean()), "worst": float(right.mean(axis=0).min())}
        for frame, column in enumerate(right.T):
            rows.append(_place(cell) | {"frame": frame} | _share("accuracy", column, cell["clips"]["group"]) | over)
    names = ["frame", "clips", "accuracy", "accuracy_low", "accuracy_high", "mean", "worst"]
    return pd.DataFrame(rows, columns=pd.Index([*PLACE, *names]))


def transfers(cells: Cells) -> pd.DataFrame:
    """Accuracy of models on clips that were made on other models, and on themselves.

    Returns:
        PLACE, source (the model that the attack was made on), clips, accuracy, accuracy_low, accuracy_high (95 %), for every data
        set, attack and defence that has a transfer. Where the source is the model itself, the row is white-box, and oblivious
        behind a defence.
    """
    rows = []
    for row in cells_table(cells).to_dict("records"):
        threat, _, source = str(row["threat"]).partition(":")
        if row["status"] == "ok" and threat in ("transfer", "white-box", "oblivious"):
            found = {"source": source if threat == "transfer" else row["model"], "clips": row["n"]}
            accuracy = {f"accuracy{end}": row[f"top1{end}"] for end in ("", "_low", "_high")}
            rows.append({name: row[name] for name in PLACE} | found | accuracy)
    groups = {_group(row) for row in rows if row["threat"].startswith("transfer")}
    names = ["source", "clips", "accuracy", "accuracy_low", "accuracy_high"]
    return pd.DataFrame([row for row in rows if _group(row) in groups], columns=pd.Index([*PLACE, *names]))


def _group(row: Mapping[str, Any]) -> str:
    return str([row[name] for name in (*CLIPS, "attack", "defense")])


def _measured(cells: Cells) -> Iterable[Mapping[str, Any]]:
    """Attacked cells that were measured, in a reading order."""
    attacked = [cell for cell in cells if cell["status"] == "ok" and cell["spec"]["kind"] == "attack"]
    return sorted(attacked, key=lambda cell: [str(cell["spec"][name]) for name in PLACE[:-1]])


def _place(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {name: cell["spec"][name] for name in PLACE[:-1]} | {"cell": cell["cell"]}


def _rest(cell: Mapping[str, Any], free: Sequence[str]) -> str:
    """Everything that a cell's result depends on but for `free`."""
    kept = {name: value for name, value in cell["spec"].items() if name not in free}
    unversioned = OF_THE_ATTACKER if "kind" in free else ()
    made_by = {part: version for part, version in cell["spec"]["versions"].items() if part not in unversioned}
    return json.dumps(kept | {"versions": made_by}, sort_keys=True)


def _threat(cell: Mapping[str, Any]) -> str:
    return cell["spec"]["threat"].partition(":")[0]


def _share(name: str, values: "np.ndarray[Any, Any]", groups: Sequence[str]) -> dict[str, float]:
    low, high = interval(values.tolist(), groups)
    return {"clips": len(values), name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}


def _accuracy(cell: Mapping[str, Any]) -> dict[str, float]:
    return _share("accuracy", np.asarray(cell["clips"]["correct"], dtype=float), cell["clips"]["group"])


def _points(solved: "np.ndarray[Any, Any]", last: int) -> list[int]:
    """Calls at which a curve steps, thinned to POINTS, and its first and last."""
    steps = np.unique(solved)
    if len(steps) > POINTS:
        steps = steps[np.linspace(0, len(steps) - 1, POINTS).round().astype(int)]
    return sorted({1, last, *steps.tolist()})


def _fooled(note: Any, count: int) -> "np.ndarray[Any, Any] | None":
    """The note as (N, T) of 0 and 1; 1 where the attack was not tried because the clip was wrong anyway."""
    known = [row for row in note or [] if isinstance(row, list)]
    if not known:
        return None
    full = np.ones((count, len(known[0])))
    for row, values in zip(full, note, strict=False):  # the note ends with the last clip that was tried
        if values is not None:
            row[:] = [1.0 if one is None or one != one else one for one in values]
    return full
