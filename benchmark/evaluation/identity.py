"""What a cell's result depends on, and the hashes that are made of it."""

from dataclasses import asdict
from typing import Any

from ..core.files import digest, sha256
from ..core.trained import Armed
from ..data.selection import manifest_sha256
from .cell import Cell
from .parts import Parts
from .scene import seen

PROTOCOL = 2
"""Goes up when the way of measuring changes in a way that moves numbers."""

JUDGED = ("model", "weights_sha256", "defense", "defense_sha256", "threat", "source_sha256", "versions")
"""Parts of a spec that say by whom adversarial clips are judged, and not what they are."""


def spec(cell: Cell, bench: Parts) -> dict[str, Any]:
    """Everything that the cell's result depends on, and nothing else."""
    model, source = bench.model(cell), bench.source(cell)
    parts = {"dataset": cell.dataset, "model": cell.model, "attack": cell.attack, "source": cell.source}
    parts |= {"corruption": cell.corruption} | {f"defense {number}": link for number, link in enumerate(cell.defense)}
    place = f"{cell.dataset} {cell.split} {cell.limit}"
    # Only where there is one, so that a cell of an earlier version keeps its hash.
    extra: dict[str, Any] = {"shifts": cell.shifts} if cell.shifts else {}
    extra |= {"corruption": cell.corruption.text, "severity": cell.severity} if cell.corruption else {}
    averaged = {"threat": cell.threat.version} if cell.threat and cell.threat.version != "1" else {}
    weights = [link.sha256 for link in bench.links(cell) if isinstance(link, Armed)]
    extra |= {"defense_sha256": weights} if weights else {}
    return extra | {
        "protocol": PROTOCOL,
        "kind": cell.kind,
        "dataset": cell.dataset.text,
        "split": cell.split,
        "limit": cell.limit,
        "manifest_sha256": bench.once(f"manifest {place}", lambda: manifest_sha256(bench.records(cell))),
        "model": cell.model.text,
        "weights_sha256": model.weights_sha256,
        "input": bench.once(f"input {cell.model}", lambda: asdict(model.input)),
        "attack": cell.attack.text if cell.attack else "none",
        **bench.once(f"budget {cell.attack}", lambda: _budget(cell, bench)),
        "fit_manifest_sha256": bench.once(f"fit manifest {place} {cell.attack}", lambda: _fit_manifest(cell, bench)),
        "defense": cell.defense_text,
        "threat": f"transfer:{cell.source.text}" if cell.source else str(cell.threat or "none"),
        "source_sha256": source.weights_sha256 if source else "",
        "strength": _strength(cell, bench),
        "seed": cell.seed,
        "dtype": bench.precision,
        "versions": {name: part.entry.version for name, part in parts.items() if part} | averaged,
    }


def crafted_key(cell: Cell, bench: Parts) -> str:
    """Names the adversarial clips of a cell: cells that judge the same ones have the same key."""
    made_on = cell.source or cell.model
    model = bench.source(cell) or bench.model(cell)
    content = {name: value for name, value in spec(cell, bench).items() if name not in JUDGED}
    content |= {
        "input": seen(bench.model(cell).input),
        "made_on": made_on.text,
        "sha256": model.weights_sha256,
        "batch_size": bench.batch_of(cell),
    }
    return digest(content | {"versions": [part.entry.version for part in (cell.dataset, made_on, cell.attack) if part]})


def _budget(cell: Cell, bench: Parts) -> dict[str, Any]:
    if cell.attack is None:
        return {"norm": "none", "eps": 0.0, "attack_files": []}
    attack = bench.attack(cell)
    return {"norm": attack.norm, "eps": attack.eps, "attack_files": [sha256(path) for path in attack.files]}


def _fit_manifest(cell: Cell, bench: Parts) -> str:
    return manifest_sha256(bench.fit_records(cell)) if cell.attack and bench.attack(cell).universal else ""


def _strength(cell: Cell, bench: Parts) -> str:
    if not cell.attack or not cell.full:
        return "first-success" if cell.attack else "none"
    return "full-8bit" if bench.eight_bit(cell) else "full"
