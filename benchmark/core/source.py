"""What a component's source says of it, without running it."""

import ast
from typing import Any

from . import params
from .errors import InputError
from .params import REQUIRED, Field

Node = ast.ClassDef | ast.FunctionDef
_UNREADABLE = object()


def fields(node: Node) -> tuple[Field, ...]:
    """The parameters: `param(...)` fields of a class, arguments of a function.

    Raises:
        InputError: A field is declared by something that has to be run.
    """
    if isinstance(node, ast.FunctionDef):
        return tuple(_arguments(node))
    return tuple(_field(item) for item in node.body if isinstance(item, ast.AnnAssign) and _is_param(item))


def version(node: Node) -> str:
    """The class's `version: ClassVar[int] = ...`, else 1."""
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and ast.unparse(item.target) == "version" and item.value:
            return str(ast.literal_eval(item.value))
    return "1"


def _is_param(item: ast.AnnAssign) -> bool:
    return isinstance(item.value, ast.Call) and isinstance(item.value.func, ast.Name) and item.value.func.id == "param"


def _field(item: ast.AnnAssign) -> Field:
    call = item.value
    assert isinstance(call, ast.Call)
    name = ast.unparse(item.target)
    settings = {word.arg: _constant(word.value) for word in call.keywords if word.arg}
    default = _constant(call.args[0]) if call.args else REQUIRED
    if _UNREADABLE in (default, *settings.values()):
        raise InputError(f"parameter {name}", f"{ast.unparse(call)} is no literal", "it is read without running the file")
    return Field(name, ast.unparse(item.annotation), default, **settings)


def _arguments(node: ast.FunctionDef) -> list[Field]:
    names = node.args.args
    defaults = [REQUIRED] * (len(names) - len(node.args.defaults)) + [_constant(value) for value in node.args.defaults]
    return [
        Field(name.arg, ast.unparse(name.annotation) if name.annotation else _type_of(default), default)
        for name, default in zip(names, defaults, strict=True)
        if default is not _UNREADABLE  # the function's own default stands, and the file's hash covers it
    ]


def _type_of(default: Any) -> str:
    return type(default).__name__ if isinstance(default, (bool, int, float)) else "str"


def _constant(node: ast.expr) -> Any:
    """Literals, names of this module's units and divisions of numbers: `4 / 255`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _constant(node.left) / _constant(node.right)
    if isinstance(node, ast.Name) and hasattr(params, node.id):
        return getattr(params, node.id)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return _UNREADABLE
