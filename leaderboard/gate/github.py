"""A verdict as GitHub Actions shows it: annotations of the baseline file's lines, and a summary of the job."""

from pathlib import Path

from ...benchmark.core.errors import InputError
from . import markdown
from .judged import Exit, Judged, Report
from .words import counts, every, flips, plain, told, verdict_line

MOST = 10
"""Annotations that GitHub shows of one step and level."""

ROOM = 1024 * 1024
"""Bytes that GitHub takes as the summary of a step."""

ERRORS = ("REGRESSED", "MISSING", "ERROR", "INCOMPARABLE")


def annotations(report: Report, end: Exit | None = None) -> str:
    """Workflow commands for the worst cells, errors before warnings, and the verdict as a last line of plain text.

    Source: GitHub's documentation of workflow commands.
    """
    marked = [(_level(cell), cell) for cell in every(report)]
    errors = [_command("error", cell, report.baseline) for level, cell in marked if level == "error"]
    warnings = [_command("warning", cell, report.baseline) for level, cell in marked if level == "warning"]
    lines = [*errors, *warnings]
    more = [f"{len(lines) - MOST} more are in the summary of the job"] if len(lines) > MOST else []
    return "\n".join([*lines[:MOST], *more, verdict_line(report, end)]) + "\n"


def append_summary(report: Report, file: Path, end: Exit | None = None) -> None:
    """Adds the table to the file that GITHUB_STEP_SUMMARY names, as many rows as GitHub takes.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        taken = file.stat().st_size if file.exists() else 0
        with file.open("a", encoding="utf-8") as stream:
            stream.write(markdown.render(report, end, room=ROOM - taken))
    except OSError as error:
        raise InputError("GITHUB_STEP_SUMMARY", f"cannot write {file}: {error.strerror or error}") from None


def _level(cell: Judged) -> str:
    """`error` for what fails the check; `warning` for what is suspect or undecided, and for what somebody accepted."""
    if cell.verdict in ("PASS", "IMPROVED"):
        return ""
    return "error" if cell.verdict in ERRORS and counts(cell) else "warning"


def _command(level: str, cell: Judged, baseline: str) -> str:
    message = "\n".join([told(cell), *(f"{way}: {named}" for way, named in flips(cell))])
    place = {"file": baseline, "line": str(cell.line), "title": f"{cell.verdict} {plain(cell.name)}"}
    properties = ",".join(f"{name}={_property(value)}" for name, value in place.items())
    return f"::{level} {properties}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
