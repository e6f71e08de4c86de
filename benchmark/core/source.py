"""What a component's source says of it, without running it."""

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import params
from .errors import InputError
from .params import REQUIRED, Field

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Node = ast.ClassDef | ast.FunctionDef
_UNREADABLE = object()


@cache
def tree(path: Path) -> ast.Module:
    """A file's source, parsed.

    Raises:
        SyntaxError: It is not Python.
        UnicodeDecodeError: Likewise.
    """
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def fields(node: Node, path: Path) -> tuple[Field, ...]:
    """The parameters: `param(...)` fields of a class and of its bases in neighbouring files, arguments of a function.

    Args:
        node: The class or function.
        path: The file that holds it.

    Raises:
        InputError: A field is declared by something that has to be run.
    """
    if isinstance(node, ast.FunctionDef):
        return tuple(_arguments(node))
    found: dict[str, Field] = {}
    for base in node.bases:
        origin = _class(ast.unparse(base), path)
        found |= {field.name: field for field in fields(*origin)} if origin else {}
    # As in a dataclass, a field that is declared anew keeps its base's place.
    found |= {field.name: field for field in map(_field, filter(_is_param, node.body))}
    return tuple(found.values())


def constant(node: Node, name: str, default: Any) -> Any:
    """A class's `name: ClassVar[...] = literal`, such as its version, else the default."""
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and ast.unparse(item.target) == name and item.value:
            return ast.literal_eval(item.value)
    return default


def _class(name: str, path: Path) -> tuple[ast.ClassDef, Path] | None:
    """A class that a file defines or imports from one beside or above it, and where; None for one from elsewhere."""
    for item in tree(path).body:
        if isinstance(item, ast.ClassDef) and item.name == name:
            return item, path
        if isinstance(item, ast.ImportFrom) and item.module and name in {one.name for one in item.names}:
            place = _place(item, path)
            return _class(name, place) if place and place.is_file() else None
    return None


def _place(item: ast.ImportFrom, path: Path) -> Path | None:
    """The file that an import of this package names, from inside it or from another's file."""
    module = item.module or ""
    if item.level:
        return path.parents[item.level - 1] / f"{module.replace('.', '/')}.py"
    own = __name__.removesuffix("benchmark.core.source")
    return Path(__file__).parents[2] / f"{module.removeprefix(own).replace('.', '/')}.py" if module.startswith(own) else None


def _is_param(item: ast.stmt) -> bool:
    call = item.value if isinstance(item, ast.AnnAssign) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "param"


def _field(item: ast.stmt) -> Field:
    assert isinstance(item, ast.AnnAssign) and isinstance(item.value, ast.Call)
    call = item.value
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


@cache
def entry_points(group: str, path: tuple[str, ...]) -> "tuple[EntryPoint, ...]":
    """The entry points of a group on the module path `path`; looked up once, for it takes longer than to plan many cells."""
    from importlib.metadata import entry_points as found  # an eighth of the time that `vbench --help` takes, which needs none

    return tuple(found(group=group))
