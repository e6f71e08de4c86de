"""`vbench weights`: published checkpoints, what there are and getting them."""

import json as json_module
import os
from typing import Annotated

import typer

from ..core.errors import InputError
from ..core.registry import did_you_mean, entries
from ..core.registry import find as find_entry

app = typer.Typer(help="Published checkpoints.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Published checkpoints: vbench weights list, vbench weights download."""


@app.command("list")
def list_weights(
    model: Annotated[str | None, typer.Option(help="Only those of this model.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only those that know the classes of this data set.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print all that is known of each as JSON.")] = False,
) -> None:
    """List the published checkpoints that --weights knows by name, with data set, frames, published accuracy and licence.

    Every name also takes a file that is on this machine already: --weights NAME@FILE.

    Example: vbench weights list --model tsm --dataset ssv2
    """
    from ..models.published import checkpoints
    from .card_view import checkpoint_table, row_of, wide_console

    if model is not None:
        find_entry("model", model)
    if dataset is not None and dataset not in entries("dataset"):
        raise InputError("dataset", f"{dataset!r} is unknown", did_you_mean(dataset, entries("dataset")))
    found = [one for one in checkpoints(model) if dataset in (None, one.dataset)]
    if json:
        print(json_module.dumps([row_of(one) for one in found], indent=1))
    elif found:
        wide_console().print(checkpoint_table(found))
    else:
        print("no published checkpoint is known")


@app.command("download")
def download(
    name: Annotated[str, typer.Argument(help="Name of a published checkpoint, from vbench weights list.")],
    model: Annotated[str, typer.Option(help="The model that it is for.")],
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.", envvar="VBENCH_NO_PROGRESS")] = False,
) -> None:
    """Download a published checkpoint into the cache (VBENCH_CACHE), check its sha256 and print where it lies.

    What an interrupted download has got is kept, and the same command goes on from there.

    Example: vbench weights download mit-ssv2-8f --model tsm
    """
    from ..models.published import find, locate

    if no_progress:
        os.environ["VBENCH_NO_PROGRESS"] = "1"
    find_entry("model", model)
    print(locate(find(model, name).name, model).path)
