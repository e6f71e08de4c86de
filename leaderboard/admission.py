"""What a leaderboard does not list, and what to run so that it is."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from .audit_evidence import SEARCH, unsearched
from .results import Results


def admitted(rows: Sequence[Mapping[str, Any]], results: Results) -> bool:
    """Whether the row that these cells make may be listed.

    A defence that lets no gradient pass and was met by no black-box search survives every attack that the stores have, whatever
    it is worth (Athalye et al. 2018), so it gets no row.
    """
    return not unsearched(results.seen(rows))


def refusal(cell: Mapping[str, Any], results: Results) -> str:
    """Why the row of a cell is not listed."""
    asked = [word for name in ("model", "defense", "dataset", "split") for word in (f"--{name}", str(cell[name]))]
    asked += [] if cell["limit"] is None else ["--limit", f"{cell['limit']:.0f}"]
    asked += ["--seed", str(cell["seed"])] if cell["seed"] else []
    asked += ["--attack", "square", *(word for folder in results.folders[:1] for word in ("--store", str(folder)))]
    return (
        f"{cell['model']} behind {cell['defense']} is not listed: the defence lets no gradient pass, and no black-box attack of "
        f"{SEARCH:,} queries a clip was run; run {shlex.join(['vbench', 'run', *asked])}"
    )
