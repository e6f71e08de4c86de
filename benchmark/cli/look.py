"""`vbench look`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import InputError
from ..core.files import write_atomically
from ..core.registry import Component, resolve
from ..models.published import prefetch, resolve_model

if TYPE_CHECKING:
    from ..evaluation.bench import Bench
    from ..evaluation.cell import Cell

OUT = {False: "look.png", True: "gallery"}


def look(
    attack: Annotated[str | None, typer.Option(help="Attack spec, such as pgd:eps=8/255.")] = None,
    all_attacks: Annotated[bool, typer.Option("--all-attacks", help="Every attack, in brief, on one page.")] = False,
    corruption: Annotated[str | None, typer.Option(help="Corruption spec, such as fog: its five severities.")] = None,
    model: Annotated[str, typer.Option(help="Model spec.")] = "tsm",
    dataset: Annotated[str, typer.Option(help="Data set spec.")] = "shapes",
    split: Annotated[str | None, typer.Option(help="Split; by default the one that the data set is tested on.")] = None,
    clip: Annotated[str, typer.Option(help="The clip: its id, or its number in the fixed class-balanced order.")] = "0",
    defense: Annotated[str, typer.Option(help="Defence spec; chain with +.")] = "none",
    threat: Annotated[
        str | None,
        typer.Option(help="oblivious, grey-box, adaptive[:eot=K], transfer:<model>; adaptive, or white-box without defence."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the attack's randomness.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="PNG of the contact sheet (look.png), or folder of the page (gallery).", show_default=False),
    ] = None,
    gif: Annotated[Path | None, typer.Option(help="Also a film: clean, adversarial, magnified change.")] = None,
    mp4: Annotated[Path | None, typer.Option(help="The same as MP4.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
) -> None:
    """See what an attack or a corruption makes of a clip: a contact sheet.

    Of an attack: frames, adversarial frames and magnified changes, made as in vbench run; below each frame its norms, and what
    the model says when it and those before it are adversarial. With --all-attacks: one HTML page of all, in brief.

    Of a corruption: the first frames at its five severities, PSNR, what the model says.

    Example: vbench look --attack pgd:eps=8/255 --gif pgd.gif

    Example: vbench look --corruption fog:temporal=drift
    """
    places = _places(attack, all_attacks, corruption, threat, out, gif, mp4)
    what = None if all_attacks else resolve("attack", attack) if attack else resolve("corruption", corruption or "")
    subject, data = resolve_model(model), resolve("dataset", dataset)

    # torch is imported only now: names and values are checked by then.
    from ..data.selection import default_split
    from ..evaluation.api import choose_device
    from ..evaluation.bench import Bench
    from ..evaluation.cell import Cell
    from ..evaluation.grid import resolve_chain
    from ..evaluation.look import cell_for

    bench, chain = Bench(choose_device(device), 32), resolve_chain(defense)
    split = split or default_split(data.create())

    def cell_of(one: Component) -> "Cell":
        if one.entry.kind == "corruption":
            return Cell(data, split, None, subject, defense=chain, corruption=one, severity=1, seed=seed)
        return cell_for(data, split, subject, one, chain, threat, seed)

    cell = cell_of(what or resolve("attack", "pgd"))  # whatever the attack, the rest is checked before any work
    for component in filter(None, (subject, cell.source)):
        prefetch(component, data.entry.name)
    if corruption:
        _write(places, [_severities(cell, bench, clip)])
    else:
        _write(places, _one(cell, bench, clip, list(places)) if attack else [_page(cell_of, cell, bench, clip)])


def _write(places: dict[str, Path], made: Sequence[str | bytes]) -> None:
    for (argument, place), content in zip(places.items(), made, strict=True):
        try:
            write_atomically(place, content)
        except OSError as error:
            raise InputError(argument, f"{place} cannot be written: {error.strerror or error}") from None
        print(place)


def _places(
    attack: str | None,
    all_attacks: bool,
    corruption: str | None,
    threat: str | None,
    out: Path | None,
    gif: Path | None,
    mp4: Path | None,
) -> dict[str, Path]:
    """The files to write, by option; looked at before hours of computing."""
    if (attack is not None) + all_attacks + (corruption is not None) != 1:
        raise InputError("attack", "name one with --attack, or see all with --all-attacks, or name a --corruption", "not several")
    for name, value in (("gif", gif), ("mp4", mp4), ("threat", threat)):
        if value and corruption:
            raise InputError(name, "a corruption has none", "use it with --attack")
    if all_attacks and (gif or mp4):
        raise InputError("gif" if gif else "mp4", "films are made of one attack", "leave --all-attacks out")
    places = {"out": out or Path(OUT[all_attacks]), "gif": gif, "mp4": mp4}
    found = {argument: path for argument, path in places.items() if path is not None}
    for argument, path in found.items():
        ending = "png" if argument == "out" else argument
        if all_attacks:
            path = found[argument] = path / "index.html"
        elif path.suffix.lower() != f".{ending}":
            raise InputError(argument, f"{path} does not end in .{ending}", "that is what is written")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(0, "it is a folder")
        except OSError as error:
            raise InputError(argument, f"{path} cannot be written: {error.strerror or error}") from None
    return found


def _one(cell: "Cell", bench: "Bench", clip: str, kinds: list[str]) -> list[bytes]:
    from ..evaluation.look import take, work
    from ..evaluation.pictures import film, sheet

    bench.check(cell)
    with _bar(bench) as start:
        start(str(cell), work(cell, bench))
        seen = take(cell, bench, clip)
    make: dict[str, Callable[..., bytes]] = {"out": sheet.draw, "gif": film.gif, "mp4": film.mp4}
    return [make[kind](seen) for kind in kinds]


def _severities(cell: "Cell", bench: "Bench", clip: str) -> bytes:
    from ..evaluation.pictures import severities
    from ..evaluation.severity_look import take_severities

    return severities.draw(take_severities(cell, bench, clip))


def _page(cell_of: "Callable[[Component], Cell]", cell: "Cell", bench: "Bench", clip: str) -> str:
    from ..evaluation.look import find_clip
    from ..evaluation.pictures.gallery import gallery
    from ..evaluation.pictures.page import render

    bench.check(cell)
    record = find_clip(bench.records(cell), clip)
    with _bar(bench) as start:
        shown = list(gallery(cell_of, bench, clip, start))
    under = f" behind {cell.defense_text}" if cell.defense else ""
    about = (
        f"{cell.model.text}{under}, threat {cell.threat}; {cell.dataset.text} {cell.split}, clip {record.id}, seed {cell.seed}"
    )
    return render(shown, about)


@contextmanager
def _bar(bench: "Bench") -> "Iterator[Callable[[str, int], None]]":
    """A progress bar; what it gives is called with the name and the work of whatever comes next."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    from ..core.progress import progress

    with progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()) as bar:
        task = bar.add_task("preparing", total=None)
        bench.tick = lambda work: bar.advance(task, work)
        yield lambda name, work: bar.update(task, description=name, completed=0, total=max(1, work))
