"""Command-line options made from the fields of a dataclass, so that flags, environment and TOML keys have one definition."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Optional

import typer


def with_options(definition: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a verb `verb(given, ...)` one option per field of `definition`; what the user gave arrives as the dict `given`."""

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        fields = dataclasses.fields(definition)
        signature = inspect.signature(verb).parameters
        own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, one in signature.items() if name != "given"]

        def command(**values: Any) -> None:
            given = {field.name: values.pop(field.name) for field in fields}
            verb(given, **values)

        parameters = [_parameter(field) for field in fields] + own
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        command.__doc__, command.__name__ = verb.__doc__, verb.__name__
        return command

    return decorate


def _parameter(field: dataclasses.Field[Any]) -> inspect.Parameter:
    flag = "--" + field.name.replace("_", "-")
    help = field.metadata["help"] + (f" Default: {field.default}." if field.default is not None else "")
    option = typer.Option(None, flag, help=help, envvar=f"VBENCH_{field.name.upper()}", show_envvar=False, show_default=False)
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=Optional[field.type])  # noqa: UP045
