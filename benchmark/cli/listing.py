"""`vbench list` and `vbench show`: what there is, read from the source without importing torch."""

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.errors import InputError
from ..core.params import REQUIRED
from ..core.registry import FOLDERS, Entry, did_you_mean, entries, find, resolve
from ..models import armoury, cards
from .card_view import print_card, wide_console


def list_components(
    kind: Annotated[str | None, typer.Argument(help=f"One of {', '.join(FOLDERS)}; all by default.")] = None,
) -> None:
    """List the models, data sets, attacks, defences and corruptions that are known.

    Example: vbench list attack
    """
    if kind is not None and kind not in FOLDERS:
        raise InputError("kind", f"{kind!r} is unknown", did_you_mean(kind, FOLDERS))
    table = Table("kind", "name", "what it is", box=None, pad_edge=False)
    for one in [kind] if kind else FOLDERS:
        families = one == "corruption"
        for name, entry in sorted(entries(one).items(), key=lambda item: (item[1].family if families else "", item[0])):
            table.add_row(f"{one}, {entry.family}" if families else one, name, escape(entry.summary))
    Console().print(table)


def show(
    name: Annotated[str, typer.Argument(help="A name from vbench list, or path/to/file.py:Name.")],
    kind: Annotated[str | None, typer.Option(help=f"Where the name is of several kinds: {', '.join(FOLDERS)}.")] = None,
) -> None:
    """Show one component: what it is, its source, its parameters with defaults and units; of a model also its card.

    Example: vbench show pgd
    """
    console = Console()
    for number, entry in enumerate(_entries_named(name, kind)):
        console.print("\n" * bool(number) + f"[bold]{escape(entry.name)}[/] ({entry.kind}, version {entry.version})")
        console.print(reflowed(entry.doc), markup=False, highlight=False)
        console.print(f"\nFile: {entry.path}", markup=False, highlight=False, soft_wrap=True)
        if entry.fields:
            console.print(_parameters(entry))
        if entry.kind == "corruption":
            console.print(_severities(entry))
        if entry.kind == "model" and entry.name in cards.models():
            print_card(wide_console(), entry.name)
        if entry.kind == "defense" and armoury.is_trained(entry):
            wide_console().print(_shipped(entry.name))


def reflowed(doc: str) -> str:
    """A docstring without its source's line breaks, so that a console can wrap it; indented paragraphs stay as they are."""
    parts = doc.split("\n\n")
    return "\n\n".join(part if "\n " in f"\n{part}" else " ".join(part.split("\n")) for part in parts)


def _entries_named(name: str, kind: str | None) -> list[Entry]:
    if kind is not None and kind not in FOLDERS:
        raise InputError("kind", f"{kind!r} is unknown", did_you_mean(kind, FOLDERS))
    if ".py:" in name:
        return [find(kind or "model", name)]
    known = {one: entries(one) for one in ([kind] if kind else FOLDERS)}
    found = [of_kind[name] for of_kind in known.values() if name in of_kind]
    if not found:
        raise InputError(
            "name", f"{name!r} is unknown", did_you_mean(name, {each for of_kind in known.values() for each in of_kind})
        )
    return found


def _parameters(entry: Entry) -> Table:
    table = Table("parameter", "default", "type", "unit", "what it does", box=None, pad_edge=False)
    for field in entry.fields:
        default = "required" if field.default is REQUIRED else field.format(field.default)
        kind = " | ".join(field.choices) or field.type.replace("None", "none")
        table.add_row(field.name, default, escape(kind), field.unit, escape(field.help))
    return table


def _shipped(defense: str) -> Table | str:
    """The models that a trained defence is shipped for, with the figures of its cards."""
    cards_of_it = [card for _, card in armoury.shipped(defense)]
    if not cards_of_it:
        return f"\nShipped for no model: vbench train --model tsm --defense {defense}"
    table = Table("shipped for", "trained as", "test %", "under its trial %", "trial", box=None, pad_edge=False)
    for card in cards_of_it:
        figures = [_percent(card.get("test_accuracy")), _percent(card.get("test_robust"))]
        table.add_row(
            armoury.whose(card), escape(resolve("defense", card["defense"]).short), *figures, escape(str(card.get("trial", "-")))
        )
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _severities(entry: Entry) -> Table:
    """The severity tables of a corruption and its temporal modes; these are code, so that its file is imported."""
    made = entry.load()
    flags = made.broken if isinstance(made.broken, dict) else {}
    table = Table("severity table", "s1", "s2", "s3", "s4", "s5", "flag", box=None, pad_edge=False)
    table.caption, table.caption_justify = f"temporal: {', '.join(made.modes)}; stage: {', '.join(made.stages)}", "left"
    for name, settings in made.tables.items():
        table.add_row(name, *(escape(_setting(one)) for one in settings), flags.get(name, ""))
    return table


def _setting(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return f"({', '.join(_setting(one) for one in value)})" if len(value) < 9 else f"{len(value)} numbers"
    return f"{value:g}" if isinstance(value, float) else str(value)
