"""`vbench zoo`."""

import json as json_module
import sys
from typing import Annotated, Any

import typer

from .card_view import wide_console


def zoo(
    json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON instead of a table.")] = False,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="For maintainers: run clean and attacked test clips anew and write the cards' figures."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.", envvar="VBENCH_QUIET")] = False,
) -> None:
    """Show the tiny checkpoints that the package ships, of models and of trained defences, and check each file's sha256.

    Models are timed on this machine.

    Exit codes: 0 fine, 1 a file is not the one that its card describes, or one of the two is missing.

    Example: vbench zoo
    """
    from ..evaluation.shipped import defense_rows, measure_card, zoo_rows
    from ..models.zoo import shipped
    from .progress import steps

    if measure:
        with steps("measuring", not quiet) as tick:
            for number, checkpoint in enumerate(shipped()):
                tick(number, len(shipped()))
                measure_card(*checkpoint)
    with steps("checking", not quiet) as tick:
        models, defenses = zoo_rows(tick), defense_rows()
    rows = [{"kind": "model"} | row for row in models] + [{"kind": "defense"} | row for row in defenses]
    if json:
        print(json_module.dumps(rows, indent=1))
    else:
        _print(models)
        _print_defenses(defenses)
    broken = [row for row in rows if row["problem"]]
    for row in broken:
        print(f"vbench: {row['name']}: {row['problem']}", file=sys.stderr)
    if broken:
        raise typer.Exit(1)


def _print(rows: list[dict[str, Any]]) -> None:
    import torch
    from rich.markup import escape
    from rich.table import Table

    device = "GPU" if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    caption = f"per cent with 95 % intervals, from the cards; ms per clip: forward, batches of 8, this machine ({device})"
    table = Table(caption=caption, caption_justify="left")
    table.add_column("model/data set", overflow="fold")
    for name in ("test %", "test-large %", "PGD 4/255 %", "parameters", "kB", "ms/clip", "sha256"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        accuracies = [_percent(row, name) for name in ("test_accuracy", "test_large_accuracy", "pgd_4_255")]
        sizes = [_number(row["parameters"], 1, ",.0f"), _number(row["bytes"], 1e-3), _number(row["seconds_per_clip"], 1e3, ".2f")]
        table.add_row(escape(row["name"]), *accuracies, *sizes, "ok" if row["sha256"] else "[red]wrong[/]")
    wide_console().print(table)


def _print_defenses(rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    if not rows:
        return
    table = Table(caption="per cent with 95 % intervals, from the cards", caption_justify="left")
    table.add_column("model/data set/defence", overflow="fold")
    table.add_column("test %", justify="right", no_wrap=True)
    table.add_column("under its trial %", justify="right", no_wrap=True)
    table.add_column("trial", overflow="fold")
    for name in ("parameters", "kB", "sha256"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        figures = [_percent(row, "test_accuracy"), _percent(row, "test_robust"), escape(row["trial"] or "-")]
        sizes = [_number(row["parameters"], 1, ",.0f"), _number(row["bytes"], 1e-3)]
        table.add_row(escape(row["name"]), *figures, *sizes, "ok" if row["sha256"] else "[red]wrong[/]")
    wide_console().print(table)


def _percent(row: dict[str, Any], name: str) -> str:
    if row[name] is None:
        return "-"
    return f"{100 * row[name]:.1f} ({100 * row[name + '_low']:.1f} - {100 * row[name + '_high']:.1f})"


def _number(value: float | None, factor: float, shape: str = ",.0f") -> str:
    return "-" if value is None else format(value * factor, shape)
