"""What a leaderboard does not list, and what to run so that it is."""

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ..benchmark.evaluation.store import Store
from .audit_evidence import unsearched
from .board import groups, safe, seen


def not_listed(store: Store) -> list[str]:
    """A line for each defence that lets no gradient pass and was met by no black-box attack: which, and what to run.

    Such a defence survives every attack that the store has, whatever it is worth (Athalye et al. 2018), so it gets no row.

    Raises:
        InputError: The folder is no store.
    """
    stored = list(store.cells())
    by_hash = {cell["cell"]: cell for cell in stored}
    return [_refusal(cells[0], store) for cells in groups(stored) if unsearched(seen(cells, by_hash))]


def footnote(lines: Sequence[str]) -> str:
    """What is not listed, as markdown; empty where all is."""
    return "".join(["\n## Not listed\n\n", *(f"- {safe(one)}\n" for one in lines)]) if lines else ""


def _refusal(cell: Mapping[str, Any], store: Store) -> str:
    asked = [word for name in ("model", "defense", "dataset", "split") for word in (f"--{name}", str(cell[name]))]
    asked += [] if cell["limit"] is None or math.isnan(cell["limit"]) else ["--limit", f"{cell['limit']:.0f}"]
    asked += ["--seed", str(cell["seed"])] if cell["seed"] else []
    command = shlex.join(["vbench", "run", *asked, "--attack", "square", "--store", str(store.folder)])
    return (
        f"{cell['model']} behind {cell['defense']} is not listed: the defence lets no gradient pass, and no black-box attack was "
        f"run; run {command}"
    )
