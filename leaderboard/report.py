"""The report on the papers' claims: markdown with pictures, and the numbers behind it."""

from collections.abc import Callable
from pathlib import Path

from ..benchmark.core.errors import InputError
from ..benchmark.core.files import write_atomically
from .comparisons import Spot
from .gate.identity import one_checkpoint
from .measured import Table, printed_spots, table_of
from .papers import claims, published, tables
from .report_pages import chapter, comparisons, front, numbers
from .report_pictures import table_picture
from .results import Results
from .verdicts import decide, printed

Outcome = Callable[[str, Results], Table]
"""A table's name and the cells of a store to that table."""


def report(store_folder: Path, outcome: Outcome | None = None) -> dict[str, str | bytes]:
    """The report on a store, by file name: `README.md`, a PNG per measured table, `numbers.csv` and `comparisons.csv`.

    The same cells give the same bytes.

    Args:
        store_folder: A store in which tables of the papers were measured.
        outcome: What gives the tables; those of `vbench paper` by default.

    Raises:
        InputError: The folder is no store, holds no cells, or those of two checkpoints of one model.
    """
    results = Results.read([store_folder])
    one_checkpoint([cell["spec"] for cell in results.cells if cell["status"] == "ok"], str(store_folder))
    measured = {name: (outcome or studied)(name, results) for name in _wanted()}
    known = {name: _published(name) for name in measured}
    verdicts = [decide(claim, measured[claim.table].spots, measured[claim.table].reason) for claim in claims()]
    of_paper = {claim.id: printed(claim, known[claim.table]) for claim in claims()}
    pictures = {name: picture for name, table in measured.items() if (picture := table_picture(table, known[name]))}
    text = front(verdicts, of_paper, _behind(results, measured))
    text += "".join(chapter(table, known[name], name in pictures) for name, table in measured.items())
    files: dict[str, str | bytes] = {
        "README.md": text,
        "numbers.csv": numbers(measured),
        "comparisons.csv": comparisons(verdicts),
    }
    return files | {f"{name}.png": picture for name, picture in pictures.items()}


def write_report(store_folder: Path, out: Path, outcome: Outcome | None = None) -> list[Path]:
    """Writes the report on a store into a folder.

    Returns:
        The files, `README.md` first.

    Raises:
        InputError: The folder is no store, holds no cells, or `out` cannot be written.
    """
    files = report(store_folder, outcome)
    try:
        for name, content in files.items():
            write_atomically(out / name, content)
    except OSError as error:
        raise InputError("out", f"{out} cannot be written: {error.strerror or error}") from None
    return [out / name for name in files]


def studied(name: str, results: Results) -> Table:
    """A table as `vbench paper` has it; empty with a reason where it cannot be measured."""
    from ..benchmark.evaluation.studies.grids import find_grid, index, names
    from ..benchmark.evaluation.studies.tables import outcome_of

    if name not in names():
        entry = next((one for one in index() if one["name"] == name), {})
        of_study = f"vbench paper {entry['study']} shows it, and keeps no cells" if "study" in entry else ""
        return Table(name, entry.get("shows", ""), reason=entry.get("why") or of_study or "vbench has no such table")
    grid = find_grid(name)
    return table_of(name, outcome_of(grid, results.cells), results, grid.title, grid.differs)


def _wanted() -> list[str]:
    """Tables in the order of the claims, then those that no claim is tested on."""
    return list(dict.fromkeys([*(claim.table for claim in claims()), *tables()]))


def _published(name: str) -> list[Spot]:
    return printed_spots(published(name)) if name in tables() else []


def _behind(results: Results, measured: dict[str, Table]) -> Results:
    """The cells that stand behind the tables."""
    used = {cell for table in measured.values() for spot in table.measured for cell in spot.cells}
    return Results([cell for cell in results.cells if cell["cell"] in used], results.folders)
