"""The program `vbench`: collects the verbs and turns user errors into one line and exit code 2."""

import sys

import typer

from ..core.errors import InputError
from . import (
    audit,
    cache,
    certify,
    check,
    corrupt,
    data,
    doctor,
    leaderboard,
    listing,
    look,
    paper,
    plan,
    run,
    submission,
    train,
    weights,
    worker,
    zoo,
)

app = typer.Typer(
    help="vbench: robustness of video action-recognition models against attacks and corruptions, with and without defences.",
    epilog="Example: vbench run --model tsm --attack pgd --defense shuffle",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
VERBS = (
    run.run,
    plan.plan,
    worker.worker,
    listing.list_components,
    listing.show,
    look.look,
    corrupt.corrupt,
    train.train,
    zoo.zoo,
    paper.paper,
    leaderboard.leaderboard,
    submission.submission,
    check.baseline,
    check.check,
    check.diff,
    audit.audit,
    doctor.doctor,
    certify.certify,
)
for verb in VERBS:
    paragraphs = [" ".join(part.split()) for part in (verb.__doc__ or "").split("\n\n")]
    app.command(verb.__name__.partition("_")[0], help="\n\n".join(paragraphs))(verb)
app.add_typer(cache.app, name="cache")
app.add_typer(data.app, name="data")
app.add_typer(weights.app, name="weights")


def main() -> None:
    """Entry point of the scripts `vbench` and `robustvideo`. Exit codes: 0, 1 failures, 2 bad input, 130 interrupted."""
    try:
        app()
    except InputError as error:
        print(f"vbench: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
