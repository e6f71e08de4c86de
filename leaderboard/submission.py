"""The check of a store that somebody sends in: is every file a sound cell, and does every number follow from the clips."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..benchmark.core.errors import InputError
from .audit_evidence import Seen, surroundings
from .results import Results
from .submission_alarms import alarms
from .submission_schema import Problem, among, of_cell, shown
from .submission_tables import compared

AUDITED = ("C1", "C2")
"""Checks of the audit that a submission must pass: the threat model is declared, the budget is kept. `vbench audit` has the rest,
which is about how sound an evaluation is, and not whether its numbers are those that were measured."""


def problems(folder: Path) -> list[Problem]:
    """What is wrong with a submission: errors, then alarms. Nothing is measured anew, and nothing of it is run.

    Errors: a file of `cells/` that is no cell of this schema, or not under its own hash; values that cannot be; clips of one list
    that differ between cells; provenance that is not complete, or of changed sources; a budget that is broken; a `cells.csv`,
    `clips.csv` or `leaderboard.csv` that is not what the cells make. Tables are only compared where every cell is sound.

    Alarms: an order of accuracies that should not be, beyond chance; see `submission_alarms`.

    Args:
        folder: The store, with the tables beside `cells/` where they were sent, too.

    Raises:
        InputError: There is no store.
    """
    if not (folder / "cells").is_dir():
        raise InputError("submission", f"{folder} holds no cells", "give the folder that holds the folder cells")
    found: list[Problem] = []
    cells: list[dict[str, Any]] = []
    for path in _files(folder / "cells"):
        own, cell = _read(path, folder)
        found += own
        if cell is not None and not own:
            cells.append(cell)
    if not found and not cells:
        raise InputError("submission", f"{folder} holds no cells", "run vbench run --store <folder> first")
    sound = not found
    found += among(cells)
    results = Results(sorted(cells, key=lambda cell: cell["cell"]), (folder,))
    found += _audited(results)
    if sound:
        found += compared(folder, results)
    found += alarms(_placed(results), results.cells)
    return sorted(found, key=lambda one: (one.level != "error", one.cell, one.rule, one.words))


def _files(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is not itself a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            yield path


def _read(path: Path, folder: Path) -> tuple[list[Problem], dict[str, Any] | None]:
    """A file's problems, and the cell where it is one."""
    name = path.relative_to(folder).as_posix()

    def refused(words: str) -> tuple[list[Problem], None]:
        return [Problem("error", "schema", shown(path.stem), f"{shown(name)} {words}")], None

    if path.is_symlink():
        return refused("is a link")  # to a file of the machine that checks, perhaps
    try:
        cell = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except OSError as error:
        return refused(f"cannot be read: {error.strerror or error}")
    except (ValueError, RecursionError) as error:
        return refused(f"is not JSON: {shown(error)}")
    own = of_cell(cell)
    if not own and path != folder / "cells" / cell["cell"][:2] / f"{cell['cell']}.json":
        own = [Problem("error", "place", cell["cell"], f"lies in {shown(name)}, not under its hash")]
    # A broken cell may not know its name, so the file's stands for it.
    return [one._replace(cell=one.cell or shown(path.stem)) for one in own], cell if isinstance(cell, dict) else None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _placed(results: Results) -> Any:
    flags = dict(results.table[["cell", "flags"]].itertuples(index=False, name=None))
    return surroundings([Seen(cell, flags[cell["cell"]]) for cell in results.cells])


def _audited(results: Results) -> list[Problem]:
    from .audit_cells import findings

    fired = findings(results.cells, results.table)[0]
    return [Problem("error", row["flag"], row["cell"], shown(row["evidence"], 200)) for row in fired if row["check"] in AUDITED]
