"""What the corruption literature makes of accuracies: mPC, rPC, mCE, relative mCE, gamma and flip probability."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..benchmark.core.errors import InputError
from ..benchmark.core.params import SEVERITIES
from ..benchmark.core.registry import did_you_mean

CLIPS = ["dataset", "split", "limit", "manifest_sha256", "seed"]
"""What rows share that can be compared."""

PLACE = [*CLIPS, "model", "weights_sha256", "defense", "defense_sha256"]
"""What the cells of one row share."""

SCORES = ["accuracy", "ce", "relative_ce", "gamma_a", "gamma_r", "flips"]
"""Scores of one corruption, means over its five severities; fractions, not per cent."""

NAN = float("nan")
Table = list[dict[str, Any]]


@dataclass(frozen=True)
class CorruptionMetrics:
    """Three tables; every number is NaN unless each cell that it is made of was measured.

    Attributes:
        models: One row per PLACE: `corruptions` (how many the means go over), `left_out` (those of its own that they do not),
            `missing` (cells of the means that were not measured), `clean`, `mpc`, `rpc`, `mce`, `relative_mce`, `gamma_a`,
            `gamma_r`, `flips`, `flags`.
        corruptions: One row per PLACE and corruption: `corruption`, `family`, `common` (whether the means go over it), `missing`,
            SCORES.
        families: One row per PLACE and family, over the same corruptions as `models`: `family`, `corruptions`, `missing`, SCORES.
    """

    models: pd.DataFrame
    corruptions: pd.DataFrame
    families: pd.DataFrame


def corruption_metrics(cells: pd.DataFrame, baseline: str | None = None) -> CorruptionMetrics:
    """The metrics of a table of cells such as `cells.csv`.

    With A0 the clean accuracy, A the accuracy under corruption c at severity s, and E = 1 - A:

        mPC          mean over c of the mean over s of A; rPC = mPC / A0 (Michaelis et al. 2019; Yi et al. 2021)
        mCE          mean over c of (sum over s of E) / (sum over s of the baseline's E)
        relative mCE the same of E - E0 (both Hendrycks and Dietterich 2019)
        gamma_a      mean of 1 - (A0 - A); gamma_r mean of 1 - (A0 - A) / A0 (Schiappa et al. 2023)
        flips        mean flip probability

    Every mean goes over severities, then over corruptions, never over families first. It goes over the corruptions that all rows
    on the same clips have, whether measured or failed; rows without any count for nothing. A corruption is its whole canonical
    text. Repeated cells must agree in accuracy; where they do not, the cell counts as missing: `ambiguous:<corruption>`. A ratio
    to a baseline that loses nothing is undefined: `undefined-ce:<corruption>` and `undefined-relative-ce:<corruption>`.

    Args:
        cells: Columns PLACE (`manifest_sha256` and `defense_sha256` may be absent), kind, corruption, family, severity, status,
            top1, flips and flags.
        baseline: Model that mCE divides by, undefended: its text, the name before the colon, or the hash of its weights. Without
            one mCE is NaN, for in video there is no agreed one.

    Raises:
        InputError: The baseline, or one of its cells, is in none of the sets of clips; where one of several lacks it, its rows
            have the flag `no-baseline`.
    """
    models: Table = []
    corruptions: Table = []
    families: Table = []
    lacking: list[InputError] = []
    groups = list(_comparable(cells))
    for rows in groups:
        common = sorted(set.intersection(*(set(row.scores) for row in rows)))
        try:
            base = None if baseline is None else _baseline(rows, common, baseline)
        except InputError as error:
            base = None
            lacking.append(error)
        for row in rows:
            if base is not None:
                row.divide(base)
            elif baseline is not None:
                row.flags += " no-baseline"
            models.append(_model(row, common))
            corruptions += [row.place | scores | {"common": name in common} for name, scores in row.scores.items()]
            by_family: dict[str, Table] = {}
            for name in common:
                by_family.setdefault(row.scores[name]["family"], []).append(row.scores[name])
            families += [row.place | {"family": family} | _means(scores) for family, scores in sorted(by_family.items())]
    if lacking and len(lacking) == len(groups):
        raise lacking[0]
    return CorruptionMetrics(
        pd.DataFrame(models, columns=pd.Index([*PLACE, *_MODEL])),
        pd.DataFrame(corruptions, columns=pd.Index([*PLACE, "corruption", "family", "common", "missing", *SCORES])),
        pd.DataFrame(families, columns=pd.Index([*PLACE, "family", "corruptions", "missing", *SCORES])),
    )


_MODEL = [
    "corruptions",
    "left_out",
    "missing",
    "clean",
    "mpc",
    "rpc",
    "mce",
    "relative_mce",
    "gamma_a",
    "gamma_r",
    "flips",
    "flags",
]


@dataclass
class _Row:
    """What was measured at one PLACE: clean accuracy, and per corruption the SCORES with `family`, `missing` and `flags`."""

    place: dict[str, Any]
    clean: float
    flags: str
    scores: dict[str, dict[str, Any]]

    @property
    def name(self) -> str:
        return f"{self.place['model']} with weights {str(self.place['weights_sha256'])[:12]}"

    def divide(self, base: "_Row") -> None:
        """Adds the errors relative to the baseline's, where it has the corruption."""
        for corruption, scores in self.scores.items():
            if corruption not in base.scores:
                continue
            theirs = base.scores[corruption]["accuracy"]
            scores["ce"] = _ratio(1 - scores["accuracy"], 1 - theirs)
            scores["relative_ce"] = _ratio(self.clean - scores["accuracy"], base.clean - theirs)
            for name, lost in (("ce", 1 - theirs), ("relative-ce", base.clean - theirs)):
                if lost <= 0:
                    scores["flags"] += f" undefined-{name}:{_short(corruption)}"


def _comparable(cells: pd.DataFrame) -> Iterable[list[_Row]]:
    """Rows with corruption cells, together with the others on the same clips."""
    places: dict[tuple[Any, ...], Table] = {}
    for cell in cells.reindex(columns=[*PLACE, *_READ]).to_dict("records"):
        plain = {str(name): None if pd.isna(value) else value for name, value in cell.items()}
        if plain["kind"] in ("clean", "corruption"):
            places.setdefault(tuple(plain[name] for name in PLACE), []).append(plain)
    families = {cell["corruption"]: cell["family"] for found in places.values() for cell in found if cell["family"]}
    groups: dict[tuple[Any, ...], list[_Row]] = {}
    for place, found in places.items():
        row = _row(dict(zip(PLACE, place, strict=True)), found, families)
        if row.scores:
            groups.setdefault(place[: len(CLIPS)], []).append(row)
    return groups.values()


_READ = ["kind", "corruption", "family", "severity", "status", "top1", "flips", "flags"]


def _row(place: dict[str, Any], cells: Table, families: Mapping[str, str]) -> _Row:
    clean, _, flags = _measured(cell for cell in cells if cell["kind"] == "clean")
    by_corruption: dict[str, Table] = {}
    for cell in cells:
        if cell["kind"] == "corruption":
            by_corruption.setdefault(cell["corruption"], []).append(cell)
    # A failed cell may not know its family; another of the same corruption does.
    scores = {name: _scores(name, found, clean) | {"family": families.get(name, "")} for name, found in by_corruption.items()}
    return _Row(place, clean, flags if clean == clean else f"{flags} no-clean", scores)


def _scores(corruption: str, cells: Table, clean: float) -> dict[str, Any]:
    """A corruption's SCORES but for those that need a baseline, `missing` and `flags`."""
    found = [_measured(cell for cell in cells if cell["severity"] == severity) for severity in SEVERITIES]
    accuracies, flips = [one[0] for one in found], [one[1] for one in found]
    accuracy = float(np.mean(accuracies))
    return {
        "corruption": corruption,
        "missing": sum(map(math.isnan, accuracies)),
        "accuracy": accuracy,
        "ce": NAN,
        "relative_ce": NAN,
        "gamma_a": 1 - (clean - accuracy),
        "gamma_r": 1 - _ratio(clean - accuracy, clean),
        "flips": float(np.mean(flips)),
        "flags": " ".join(one[2] for one in found),
    }


def _measured(cells: Iterable[dict[str, Any]]) -> tuple[float, float, str]:
    """Accuracy, flip probability and flags of a cell and its repetitions; NaN where it failed, or where they disagree."""
    found = list(cells)
    flags = " ".join(cell["flags"] or "" for cell in found)
    ok = [cell for cell in found if cell["status"] == "ok"]
    if len({cell["top1"] for cell in ok}) > 1:
        return NAN, NAN, f"{flags} ambiguous:{'clean' if ok[0]['kind'] == 'clean' else _short(ok[0]['corruption'])}"
    if not ok:
        return NAN, NAN, flags
    flips = [float(cell["flips"]) for cell in ok if cell["flips"] is not None]
    return float(ok[0]["top1"]), flips[0] if flips else NAN, flags


def _model(row: _Row, common: list[str]) -> dict[str, Any]:
    means = _means([row.scores[name] for name in common])
    flags = " ".join([row.flags, *(row.scores[name]["flags"] for name in common)])
    return row.place | {
        "left_out": len(row.scores) - len(common),
        "clean": row.clean,
        "mpc": means["accuracy"],
        "rpc": _ratio(means["accuracy"], row.clean),
        "mce": means["ce"],
        "relative_mce": means["relative_ce"],
        **{name: means[name] for name in ("corruptions", "missing", "gamma_a", "gamma_r", "flips")},
        "flags": " ".join(sorted(set(flags.split()))),
    }


def _means(scores: Table) -> dict[str, Any]:
    """Means over corruptions; NaN, not a mean of the rest, where one of them is."""
    means = {name: float(np.mean([one[name] for one in scores])) if scores else NAN for name in SCORES}
    return means | {"corruptions": len(scores), "missing": sum(one["missing"] for one in scores)}


def _baseline(rows: list[_Row], common: list[str], baseline: str) -> _Row:
    """The baseline's row among those on the same clips, complete."""
    plain = [row for row in rows if row.place["defense"] == "none"]
    models = [str(row.place["model"]) for row in plain]
    where = f"{rows[0].place['dataset']} {rows[0].place['split']}"
    found = [
        row for row, model in zip(plain, models, strict=True) if baseline in (model, _short(model), row.place["weights_sha256"])
    ]
    if not found:
        raise InputError(
            "baseline", f"there are no undefended corruption cells of {baseline!r} on {where}", did_you_mean(baseline, models)
        )
    if len(found) > 1:
        several = " and ".join(row.name for row in found)
        raise InputError("baseline", f"{baseline!r} is several on {where}: {several}", "write the whole model, or weights_sha256")
    base = found[0]
    gaps = ["its clean cell"] if math.isnan(base.clean) else []
    gaps += [f"{base.scores[name]['missing']} of {name}" for name in common if base.scores[name]["missing"]]
    if gaps:
        raise InputError("baseline", f"cells of {baseline!r} on {where} are missing: {', '.join(gaps)}", "run them first")
    return base


def _ratio(part: float, whole: float) -> float:
    """NaN where the whole is nothing, or less."""
    return part / whole if whole > 0 else NAN


def _short(text: str) -> str:
    """The name of a spec."""
    return text.partition(":")[0]
