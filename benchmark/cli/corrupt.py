"""`vbench corrupt`."""

from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import InputError
from ..core.files import write_atomically
from ..core.registry import resolve
from .progress import steps


def corrupt(
    input: Annotated[Path, typer.Argument(help="A video file.", metavar="IN.mp4")],
    output: Annotated[Path, typer.Argument(help="The file to write.", metavar="OUT.mp4")],
    corruption: Annotated[str, typer.Option(help="Corruption spec, such as fog or snow:temporal=drift.")],
    severity: Annotated[int, typer.Option(help="1 (mild) to 5.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the corruption's randomness.")] = 0,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.", envvar="VBENCH_NO_PROGRESS")] = False,
) -> None:
    """Write a video file under a corruption, as H.264 without sound.

    Every frame is corrupted at the file's own size; severities mean what they say at about 224 to 320 pixels.

    Example: vbench corrupt IN.mp4 OUT.mp4 --corruption fog --severity 3
    """
    component = resolve("corruption", corruption)
    if severity not in range(1, 6):
        raise InputError("severity", f"{severity} is unknown", "it must be a whole number from 1 to 5")
    if output.suffix.lower() != ".mp4":
        raise InputError("output", f"{output} does not end in .mp4", "that is what is written")
    if output.exists() and (output.is_dir() or input.exists() and output.samefile(input)):
        raise InputError("output", f"{output} is {'a folder' if output.is_dir() else 'the input'}", "name another file")
    if not input.is_file():
        raise InputError("input", f"there is no file {input}", "name a video file")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("output", f"{output} cannot be written: {error.strerror or error}") from None

    # torch is imported only now: names and values are checked by then.
    from ..data.corrupt_file import corrupt_file
    from ..data.corrupted import Corrupted

    how = Corrupted(component.create(), severity, component.text, seed)
    with steps(f"{component.entry.name} {severity}", show=not no_progress) as tick:
        content = corrupt_file(input, how, tick)
    try:
        write_atomically(output, content)
    except OSError as error:
        raise InputError("output", f"{output} cannot be written: {error.strerror or error}") from None
    print(output)
