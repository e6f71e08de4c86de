"""One registry for models, data sets, attacks, defences and corruptions.

A component is one file in its kind's folder with one class under `@register(kind, name)`. The folder is indexed by reading the
source, so that names, parameters and defaults are known without importing torch; a file is imported when it is used.
"""

import ast
import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from . import source
from .errors import InputError
from .params import REQUIRED, Field
from .specs import Spec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
ROOT_MODULE = __name__.removesuffix(".benchmark.core.registry")
FOLDERS = {
    "model": "benchmark/models",
    "dataset": "benchmark/data",
    "attack": "attacks",
    "defense": "defenses",
    "corruption": "corruptions",
}


def register(kind: str, name: str) -> Callable[[type[T]], type[T]]:
    """Marks a frozen dataclass as the component `name` of `kind`; both must be literals, for they are read from the source."""
    if kind not in FOLDERS:
        raise ValueError(f"{kind!r} is not one of {', '.join(FOLDERS)}")

    def mark(component: type[T]) -> type[T]:
        component.registered = (kind, name)  # type: ignore[attr-defined]
        return component

    return mark


@dataclass(frozen=True)
class Entry:
    """What the source says of one component."""

    kind: str
    name: str
    doc: str
    fields: tuple[Field, ...]
    version: str
    path: Path
    attribute: str
    module: str
    mixture: bool = False
    """Whether it draws from others, so that `all` leaves it out."""

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.doc.partition("\n")[0]

    @property
    def family(self) -> str:
        """What corruptions are grouped by: the name of the file that it lies in, up to the first underscore."""
        return self.path.stem.partition("_")[0]

    def parse(self, spec: Spec) -> dict[str, Any]:
        """The values of all fields: the spec's, checked, and the defaults of the rest.

        Raises:
            InputError: An unknown, missing or bad parameter.
        """
        owner = f"{self.kind} {self.name}"
        known = {field.name: field for field in self.fields}
        given = dict(spec.values)
        required = [field.name for field in self.fields if field.default is REQUIRED]
        if spec.positional:
            if not required:
                raise InputError(owner, f"{spec.positional!r} is not key=value")
            if required[0] in given:
                raise InputError(owner, f"{required[0]} is given twice")
            given[required[0]] = spec.positional
        for key in given:
            if key not in known:
                raise InputError(owner, f"there is no parameter {key!r}", did_you_mean(key, known))
        for key in required:
            if key not in given:
                raise InputError(owner, f"{key} is missing", f"write {self.name}:<{key}>")
        return {name: field.parse(given[name], owner) if name in given else field.default for name, field in known.items()}

    def canonical(self, values: dict[str, Any], identity: bool = False, brief: bool = False) -> str:
        """The one text of a component, every default filled in; `identity` leaves out paths and the like, `brief` defaults."""
        shown = [field for field in self.fields if field.identity or not identity]
        shown = [field for field in shown if not brief or values[field.name] != field.default]
        text = ",".join(f"{field.name}={field.format(values[field.name])}" for field in shown)
        return f"{self.name}:{text}" if text else self.name

    def load(self) -> Any:
        """The class, imported."""
        return getattr(_import(self), self.attribute)

    def create(self, values: dict[str, Any]) -> Any:
        """Imports the file and builds the component.

        Raises:
            InputError: Another person's file fails; our own failures are bugs and keep their traceback.
        """
        try:
            return self.load()(**values)
        except (Exception, SystemExit) as error:
            if isinstance(error, InputError) or self.module.startswith(f"{ROOT_MODULE}."):
                raise
            line = (str(error).strip().splitlines() or [""])[0]
            raise InputError(f"{self.kind} {self.name}", f"it failed with {type(error).__name__}: {line}") from error


@dataclass(frozen=True)
class Component:
    """A resolved spec: which entry, with which values; or an object that is there already (`live`)."""

    entry: Entry
    values: dict[str, Any]
    live: Any = None

    def __str__(self) -> str:
        return self._whole

    @cached_property
    def _whole(self) -> str:
        return self.entry.canonical(self.values)

    @cached_property
    def text(self) -> str:
        """The canonical text that stands for the component in tables and in a cell's hash: every default, but no paths."""
        return self.entry.canonical(self.values, identity=True)

    @property
    def short(self) -> str:
        """The shortest spec of it: no defaults and no paths."""
        return self.entry.canonical(self.values, identity=True, brief=True)

    def create(self) -> Any:
        """The live object."""
        return self.entry.create(self.values) if self.live is None else self.live


def ready(kind: str, name: str, live: Any) -> Component:
    """An object that is there already as a component; `name` must tell it from every other of its kind."""
    return Component(Entry(kind, name, "", (), "1", Path(), "", ""), {}, live)


def resolve(kind: str, text: str, **values: str) -> Component:
    """Text to component, without importing it; `values` win over those in the text.

    Raises:
        InputError: Grammar, name or a parameter is wrong.
    """
    spec = Spec.parse(text, kind)
    entry = find(kind, spec.name)
    return Component(entry, entry.parse(replace(spec, values=(*spec.values, *values.items()))))


def entries(kind: str) -> dict[str, Entry]:
    """All components of a kind by name: those of the folder and those of installed entry points `robustvideo.<kind>s`."""
    found = dict(_folder(kind))
    for point in source.entry_points(f"robustvideo.{kind}s", tuple(sys.path)):
        entry = _from_entry_point(kind, point)
        if entry.name in found:
            raise InputError(f"{kind} {entry.name}", f"registered by {found[entry.name].path} and by {entry.path}")
        found[entry.name] = entry
    return found


def find(kind: str, name: str) -> Entry:
    """The entry of a name or of `path/to/file.py:Name`.

    Raises:
        InputError: No such component; close names are suggested.
    """
    if ".py:" in name:
        path, _, attribute = name.rpartition(":")
        return _read_attribute(kind, name, Path(path).expanduser(), attribute, module="")
    known = entries(kind)
    if name not in known:
        raise InputError(kind, f"{name!r} is unknown", did_you_mean(name, known))
    return known[name]


def matching(kind: str, text: str) -> list[Component]:
    """`resolve` for specs whose name is `all`, or a pattern of names or of family/name such as `noise/*` or `*_blur`.

    Patterns leave out components that need a parameter or draw from others.

    Raises:
        InputError: Grammar, name or a parameter is wrong, or nothing matches.
    """
    name, colon, values = text.strip().partition(":")
    known = entries(kind)
    named = {f"{entry.family}/{name}": name for name, entry in known.items()} | {name: name for name in known}
    if name in named:
        return [resolve(kind, named[name] + colon + values)]
    if name != "all" and not set("*?[") & set(name):
        return [resolve(kind, text)]
    single = {one for one, entry in known.items() if not entry.mixture and all(f.default is not REQUIRED for f in entry.fields)}
    free = {full for full, one in named.items() if one in single}
    found = sorted({named[full] for full in free if name == "all" or fnmatchcase(full, name)})
    if not found:
        families = sorted({f"{entry.family}/*" for entry in known.values()})
        raise InputError(kind, f"nothing matches {name!r}", f"known: {', '.join(families)}")
    return [resolve(kind, one + colon + values) for one in found]


def did_you_mean(word: str, known: Any) -> str:
    """A hint with close names, or with all of them where none is close."""
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(sorted(known))}" if known else "there is none"


@cache
def _folder(kind: str) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for path in sorted((ROOT / FOLDERS[kind]).glob("*.py")):
        module = f"{ROOT_MODULE}.{FOLDERS[kind].replace('/', '.')}.{path.stem}"
        for entry in _read_registered(path, module):
            if entry.kind != kind:
                raise InputError(f"{entry.kind} {entry.name}", f"{path} lies in the folder of {kind}s")
            if entry.name in found:
                raise InputError(f"{kind} {entry.name}", f"registered by {found[entry.name].path} and by {path}")
            found[entry.name] = entry
    return found


def _from_entry_point(kind: str, point: "EntryPoint") -> Entry:
    found = importlib.util.find_spec(point.module)
    if found is None or found.origin is None:
        raise InputError(f"{kind} {point.name}", f"the entry point names {point.module}, which is not installed")
    return _read_attribute(kind, point.name, Path(found.origin), point.attr, point.module)


def _read_registered(path: Path, module: str) -> list[Entry]:
    if "@register(" not in path.read_text(encoding="utf-8"):
        return []
    nodes = (node for node in source.tree(path).body if isinstance(node, ast.ClassDef))
    found = []
    for node in nodes:
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "register":
                kind, name = (ast.literal_eval(argument) for argument in mark.args)
                found.append(_describe(node, kind, name, path, module))
    return found


def _read_attribute(kind: str, name: str, path: Path, attribute: str, module: str) -> Entry:
    if not path.is_file():
        raise InputError(kind, f"there is no file {path}", "write path/to/file.py:Name")
    try:
        body = source.tree(path).body
    except (SyntaxError, UnicodeDecodeError) as error:
        raise InputError(kind, f"{path} is not Python: {error}") from None
    nodes = {node.name: node for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    if attribute not in nodes:
        raise InputError(kind, f"{path} has no {attribute!r}", did_you_mean(attribute, nodes))
    return _describe(nodes[attribute], kind, name, path, module)


def _describe(node: source.Node, kind: str, name: str, path: Path, module: str) -> Entry:
    # A user's own file has no version that we could trust: its content is its version.
    version = str(source.constant(node, "version", 1)) if module else hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    doc, mixture = ast.get_docstring(node) or "", source.constant(node, "mixture", False)
    return Entry(kind, name, doc, source.fields(node, path), version, path, node.name, module, mixture)


@cache
def _import(entry: Entry) -> Any:
    if entry.module:
        return importlib.import_module(entry.module)
    name = f"vbench_plugin_{hashlib.sha256(str(entry.path.resolve()).encode()).hexdigest()[:12]}"
    found = importlib.util.spec_from_file_location(name, entry.path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    found.loader.exec_module(module)
    return module
