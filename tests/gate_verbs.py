"""The verbs of the gate as a user calls them: arguments in, exit code and output out."""

from typing import NamedTuple

import typer
from robustvideo.benchmark.cli import check, run
from robustvideo.benchmark.core.errors import InputError
from typer.testing import CliRunner

_app = typer.Typer(pretty_exceptions_enable=False)
for verb in (check.check, check.baseline, check.diff, run.run):
    _app.command(verb.__name__)(verb)


class Ran(NamedTuple):
    """What a call did; `error` is the one line of an InputError, after which `main` exits with code 2."""

    code: int
    out: str
    error: str


def vbench(*arguments: object, **environment: str) -> Ran:
    """Calls a verb. Anything but an exit or an InputError is raised: users would see a traceback."""
    done = CliRunner().invoke(_app, [str(one) for one in arguments], env={"NO_COLOR": "1", "COLUMNS": "200"} | environment)
    if isinstance(done.exception, InputError):
        return Ran(2, done.stdout, str(done.exception))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ran(done.exit_code, done.stdout, done.stderr)
