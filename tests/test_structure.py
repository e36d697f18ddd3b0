"""The shape of the package: no circle of imports, no long file, no long function."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import pytest

from tests.source_trees import PACKAGE, parse_package

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40

PATHS = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))
}


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    return parse_package()


def imported(path: Path, tree: ast.Module) -> set[str]:
    """Return the modules of the package that a file imports, for type checkers alone and within functions too."""
    package = path.relative_to(PACKAGE.parent).parent.parts
    found = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join([*parents, *([node.module] if node.module else [])])
            found.update(
                f"{source}.{alias.name}" if f"{source}.{alias.name}" in PATHS else source for alias in node.names
            )
    return found & PATHS.keys()  # a package's __init__.py, whose name there is another, passes on names alone


def circles(imports: dict[str, set[str]]) -> list[str]:
    """Return circles, as ``a -> b -> a``, such that none is left without the first import of each."""
    imports, found = {name: set(others) for name, others in imports.items()}, list[str]()
    while True:
        try:
            TopologicalSorter(imports).prepare()
        except CycleError as exc:
            circle: list[str] = exc.args[1][::-1]
            found.append(" -> ".join(circle))
            imports[circle[0]].discard(circle[1])
        else:
            return found


def test_no_modules_import_each_other_in_a_circle(trees: dict[Path, ast.Module]) -> None:
    found = circles({name: imported(path, trees[path]) for name, path in PATHS.items()})
    assert not found, "\n".join(found)


def test_a_circle_is_named() -> None:
    assert circles({"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": set()}) in (
        [["a -> b -> c -> a"], ["b -> c -> a -> b"], ["c -> a -> b -> c"]]
    )
    assert circles({"a": {"b"}, "b": set()}) == []


def test_no_file_is_long() -> None:
    lengths = {
        str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines()) for path in PATHS.values()
    }
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_no_function_is_long(trees: dict[Path, ast.Module]) -> None:
    lengths = {
        f"{path.relative_to(PACKAGE)}:{node.name}": _lines(node)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES} == {}


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines a function has without its docstring."""
    first, last = function.body[0], function.end_lineno
    assert last is not None
    docstring = 0
    if ast.get_docstring(function) is not None and first.end_lineno is not None:
        docstring = first.end_lineno - first.lineno + 1
    return last - function.lineno + 1 - docstring
