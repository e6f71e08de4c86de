"""The house keeps its floors: who may import whom, what is packaged, what stays light."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("attacks", "benchmark", "corruptions", "defenses", "leaderboard")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
CORE, TRAINING = "benchmark.core", "benchmark.training"
MAY_IMPORT = {
    "benchmark.core": {CORE},
    "benchmark.data": {CORE, "benchmark.data"},
    "benchmark.models": {CORE, "benchmark.models"},
    "benchmark.training": {CORE, "benchmark.data", "benchmark.models", TRAINING},
    "benchmark.evaluation": {CORE, "benchmark.data", "benchmark.models", "benchmark.evaluation"},
    "attacks": {CORE, "attacks"},
    "corruptions": {CORE, "corruptions"},
    "defenses": {CORE, TRAINING, "defenses"},
    "leaderboard": {CORE, "benchmark.evaluation", "leaderboard"},
}
STORE_ONLY = {f"benchmark.evaluation.{name}" for name in ("stats", "store", "tables", "studies.grids", "studies.tables")}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(path: Path) -> set[str]:
    """Modules of this project that a file imports, as dotted names from the root."""
    package = module_of(path).split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            name = ".".join(base)
            if (ROOT / (name.replace(".", "/") + ".py")).exists():
                found.add(name)
            else:
                found |= {f"{name}.{alias.name}" for alias in node.names}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            for name in names:
                assert name.split(".")[0] not in (*FOLDERS, "robustvideo"), f"{path}: import {name} relatively"
    return found


def room_of(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "benchmark" and len(parts) > 2 else parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_run_down(path):
    room = room_of(module_of(path))
    if room in ("benchmark", "benchmark.cli"):
        return
    for imported in imports(path):
        assert room_of(imported) in MAY_IMPORT[room], f"{path} imports {imported}"
        if room == "leaderboard" and room_of(imported) == "benchmark.evaluation":
            assert imported in STORE_ONLY, f"{path} imports {imported}: the leaderboard reads the store and runs nothing"


def test_there_is_no_import_cycle():
    graph = {module_of(path): imports(path) for path in FILES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in done:
            for imported in graph.get(module, ()):
                visit(imported, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_packages_are_the_folders_on_disk():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    on_disk = {f"robustvideo.{module_of(path).removesuffix('.__init__')}" for path in FILES if path.name == "__init__.py"}
    assert listed == on_disk
    assert not (ROOT / "__init__.py").exists()


def test_files_and_functions_stay_short():
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 300, f"{path} is long"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno:
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name} is long"


@pytest.mark.parametrize(
    "words",
    [["--help"], ["list"], ["list", "attack"], ["show", "pgd"], ["run", "--help"], ["look", "--help"], ["show", "shapes"]],
)
def test_light_verbs_do_not_import_torch(words):
    code = f"""
import sys
sys.argv = ["vbench", *{words!r}]
from robustvideo.benchmark.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"torch", "torchvision", "pandas", "av", "scipy"}} & set(sys.modules)
assert not heavy, heavy
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


def test_no_bare_folder_name_is_imported():
    """Running from the checkout makes `attacks` importable by accident, and everything would register twice."""
    code = (
        f"import sys, robustvideo.benchmark.cli.main, robustvideo.attacks.pgd; print(sorted(set(sys.modules) & set({FOLDERS})))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr
