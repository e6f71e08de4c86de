"""`vbench certify`."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.errors import InputError
from ..core.files import write_atomically
from ..core.registry import resolve
from ..core.specs import Spec, split_chain
from ..models.published import prefetch, resolve_model
from .progress import steps

if TYPE_CHECKING:
    import pandas as pd

    from ..core.interfaces import InputSpec
    from ..evaluation.cell import Cell
    from ..evaluation.certify import Certificate, Procedure

NOISE = ("smoothing", "denoise")
"""Defences that add Gaussian noise to the clip before anything else."""

EPS = 4 / 255
"""The L-inf budget that a radius is compared with."""


def certify(
    model: Annotated[str, typer.Option(help="Model spec; it should have been trained on such noise.")] = "tsm",
    dataset: Annotated[str, typer.Option(help="Data set spec.")] = "shapes",
    split: Annotated[str | None, typer.Option(help="Split; by default the one that the data set is tested on.")] = None,
    defense: Annotated[
        str, typer.Option(help="What makes the noise: smoothing, or denoise for denoised smoothing; more links may follow.")
    ] = "smoothing",
    sigma: Annotated[
        str | None, typer.Option(help="Standard deviation of the noise, in [0, 1] pixel units. Default: the defence's, 0.25.")
    ] = None,
    n0: Annotated[int, typer.Option(help="Noisy copies of a clip that choose the class to certify.")] = 100,
    n: Annotated[int, typer.Option(help="Fresh copies that bound its probability; the paper takes 100000.")] = 1000,
    alpha: Annotated[float, typer.Option(help="Probability that the statement about a clip is wrong.")] = 0.001,
    limit: Annotated[int | None, typer.Option(help="Only the first N clips of a fixed class-balanced order.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every clip's noise.")] = 0,
    batch_size: Annotated[
        int | None, typer.Option(help="Copies per pass; results do not depend on it. Default: what fits into memory.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    out: Annotated[Path | None, typer.Option(help="File for one row per clip: .csv, or .json.")] = None,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.", envvar="VBENCH_NO_PROGRESS")] = False,
) -> None:
    """Certify a model under randomised smoothing (Cohen et al. 2019): within which L2 radius its answer cannot change.

    A radius is an L2 norm over the whole clip, in [0, 1] pixel units. It is no statement about L-inf 4/255: what such a change
    amounts to in L2 stands below the table. Every clip costs n0 + n forward passes; nothing is stored but --out, at the end.

    Behind the noise the answer is that of any classifier, so a trained denoiser in front of the model is certified with it
    (Salman et al. 2020): --defense denoise.

    Example: vbench certify --model tsm --sigma 0.25 --n 1000 --limit 40 --out certified.csv
    Example: vbench certify --model tsm --defense denoise --n 1000
    """
    subject, data = resolve_model(model), resolve("dataset", dataset)
    defense = _noisy(defense, sigma)
    _check(batch_size, out)

    # torch is imported only now: names and values are checked by then.
    from ..data.selection import default_split
    from ..evaluation.api import choose_device
    from ..evaluation.bench import Bench
    from ..evaluation.cell import Cell
    from ..evaluation.certify import Procedure, clips_table
    from ..evaluation.certify import certify as certify_clips
    from ..evaluation.grid import resolve_chain

    chain = resolve_chain(defense)
    how, bench = Procedure(n0, n, alpha), Bench(choose_device(device), batch_size)
    cell = Cell(data, split or default_split(data.create()), limit, subject, defense=chain, seed=seed)
    with redirect_stdout(sys.stderr):  # a model that prints must not get into the table
        bench.records(cell)  # first, so that a wrong root does not cost a download
        prefetch(subject, data.entry.name)
        with steps(f"certify {subject.entry.name}", show=not no_progress) as tick:
            found = certify_clips(cell, bench, how, tick)
    failures = bench.footage.failures(bench.scene(cell))
    if out:
        _write(out, clips_table(found, weights_sha256=bench.model(cell).weights_sha256, **_settings(cell, how)))
    _print(cell, how, found, bench.model(cell).input)
    if failures:
        print(f"{len(failures)} clips could not be decoded, the first: {failures[0].reason}", file=sys.stderr)


def _noisy(defense: str, sigma: str | None) -> str:
    """The chain to certify: its first link draws the noise, so that all behind it is one classifier."""
    first, *more = split_chain(defense)
    noise = resolve("defense", first)
    if noise.entry.name not in NOISE:
        raise InputError("defense", f"{noise.entry.name} draws no Gaussian noise", f"begin with {' or '.join(NOISE)}")
    if sigma is not None and "sigma" in dict(Spec.parse(first, "defense").values):
        raise InputError("sigma", f"it is given twice, as {sigma} and in {first}", "leave one of them out")
    if sigma is not None:
        first = resolve("defense", first, sigma=sigma).text
    return "+".join([first, *more])


def _check(batch_size: int | None, out: Path | None) -> None:
    """Looks at the file to write, too, before hours of computing."""
    if batch_size is not None and not 1 <= batch_size <= 65536:
        raise InputError("batch-size", f"{batch_size} is not from 1 to 65536", "give the number of copies per pass")
    if out is None:
        return
    if out.suffix.lower() not in (".csv", ".json"):
        raise InputError("out", f"{out} ends neither in .csv nor in .json", "that is what is written")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.is_dir():
            raise IsADirectoryError(0, "it is a folder")
    except OSError as error:
        raise InputError("out", f"{out} cannot be written: {error.strerror or error}") from None


def _settings(cell: "Cell", how: "Procedure") -> dict[str, Any]:
    """What every row of the file says of the cell."""
    about = {"dataset": cell.dataset.text, "split": cell.split, "model": cell.model.text, "seed": cell.seed}
    about |= {"defense": "+".join(map(str, cell.defense)), "sigma": cell.defense[0].values["sigma"]}
    return about | {"n0": how.n0, "n": how.n, "alpha": how.alpha}


def _write(out: Path, table: "pd.DataFrame") -> None:
    text = table.to_csv(index=False) if out.suffix.lower() == ".csv" else str(table.to_json(orient="records", indent=1)) + "\n"
    try:
        write_atomically(out, text)
    except OSError as error:
        raise InputError("out", f"{out} cannot be written: {error.strerror or error}") from None
    print(out, file=sys.stderr)


def _print(cell: "Cell", how: "Procedure", found: "Sequence[Certificate]", spec: "InputSpec") -> None:
    from ..evaluation.certify import RADII, certified, share

    sigma = cell.defense[0].values["sigma"]
    chain = escape("+".join(link.short for link in cell.defense))
    title = f"{cell.model.entry.name} behind {chain}, noise of sigma {sigma:g}; {escape(cell.dataset.text)}, {cell.split} split"
    table = Table(title=f"{title}, {len(found)} clips", title_justify="left")
    table.add_column("measure")
    for column in ("%", "95 % interval"):
        table.add_column(column, justify="right", no_wrap=True)
    measures = {
        "PREDICT: right": lambda one: one.voted == one.record.label,
        "PREDICT: abstains": lambda one: one.voted is None,
        "CERTIFY: abstains": lambda one: one.prediction is None,
    }
    reached = [radius for radius in RADII if radius <= how.ceiling(sigma)]
    measures |= {f"certified right, L2 radius {radius:.2f}": certified(radius) for radius in reached}
    for name, holds in measures.items():
        mean, low, high = share(found, holds)
        table.add_row(name, f"{100 * mean:.1f}", f"{100 * low:.1f} - {100 * high:.1f}")
    console = Console()
    console = console if console.is_terminal else Console(width=140)
    console.print(table)
    console.print(_note(how, found, spec, how.ceiling(sigma)), markup=False, highlight=False)


def _note(how: "Procedure", found: "Sequence[Certificate]", spec: "InputSpec", ceiling: float) -> str:
    """What the radii mean, and how small they are beside an L-inf change of the whole clip."""
    from ..evaluation.certify import linf_norm

    right = [one.radius for one in found if one.prediction == one.record.label]
    largest, norm = max(right, default=0.0), linf_norm(spec, EPS)
    size = f"3 x {spec.frames} x {spec.size} x {spec.size}"
    verdict = "it says nothing about L-inf 4/255 attacks" if largest < norm else "L-inf 4/255 lies within it"
    return (
        f"An abstention counts as wrong. {how.n0} + {how.n} draws per clip, alpha {how.alpha:g}: "
        f"no radius beyond {ceiling:.3f} can be certified, whatever the model.\n"
        f"L-inf 4/255 on every pixel of a clip ({size}) is an L2 norm of {norm:.2f}. The largest radius of a right answer, "
        f"{largest:.3f}, is {100 * largest / norm:.1f} % of that and covers such changes up to {4 * largest / norm:.2g}/255: "
        f"{verdict}."
    )
