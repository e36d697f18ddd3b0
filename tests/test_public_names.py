"""The public names of a module are the ones that it defines, and all have documentation."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys

import pytest

import trionet
from tests.source_trees import PACKAGE, parse_package


@pytest.fixture(scope="module")
def modules() -> dict[str, ast.Module]:
    """The trees of the modules, by their names."""
    return {
        ".".join(("trionet", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): tree
        for path, tree in parse_package().items()
    }


def _defined_names(tree: ast.Module) -> set[str]:
    """Return the public names that a module defines itself; type variables aside, which annotations alone use."""
    names: set[str] = set()
    for statement in tree.body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar" | "ParamSpec"))):
                pass
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return {name for name in names if not name.startswith("_")}


def _imports(tree: ast.Module) -> list[ast.ImportFrom]:
    """Return the imports of a module at run time; for the package also those that it makes late."""
    own = [*tree.body, *(node for block in tree.body if isinstance(block, ast.If) for node in block.body)]
    is_lazy = any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in own)
    statements = ast.walk(tree) if is_lazy else tree.body
    return [statement for statement in statements if isinstance(statement, ast.ImportFrom)]


def _imported_names(tree: ast.Module) -> set[str]:
    names = {alias.asname or alias.name for statement in _imports(tree) for alias in statement.names}
    return names - {"TYPE_CHECKING", "Any", "Final", "import_module"}


def _listed_names(tree: ast.Module) -> list[str]:
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            listed: list[str] = ast.literal_eval(statement.value)
            return listed
    return []


def test_a_module_lists_each_public_name_that_it_defines_once_and_else_only_imported_ones(
    modules: dict[str, ast.Module],
) -> None:
    wrong = {}
    for module, tree in modules.items():
        listed = _listed_names(tree)
        differing = (set(listed) - _imported_names(tree)) ^ _defined_names(tree)
        if differing or len(set(listed)) < len(listed):
            wrong[module] = sorted(differing) or "a name twice"
    assert wrong == {}


def test_the_package_lists_every_name_that_it_imports_and_each_can_be_used(
    modules: dict[str, ast.Module],
) -> None:
    assert _imported_names(modules["trionet"]) - {"__version__"} == set(trionet.__all__)
    assert [name for name in trionet.__all__ if getattr(trionet, name, None) is None] == []


@pytest.mark.slow
def test_each_name_of_the_package_is_what_checkers_take_it_for_whatever_was_imported_before(
    modules: dict[str, ast.Module],
) -> None:
    defined = {
        alias.name: statement.module
        for statement in _imports(modules["trionet"])
        if statement.level and statement.module != "version"
        for alias in statement.names
    }
    inner = sorted({f"trionet.{module}" for module in defined.values()})
    code = (
        f"import importlib, trionet\n"
        f"for module in {inner}: importlib.import_module(module)\n"
        f"for name, module in {defined}.items():\n"
        f"    assert getattr(trionet, name) is getattr(importlib.import_module('trionet.' + module), name), name\n"
        f"assert set(trionet.__all__) <= set(dir(trionet))\n"
        f"assert not hasattr(trionet, 'nothing')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


def test_a_public_class_or_function_has_a_docstring(modules: dict[str, ast.Module]) -> None:
    public = {
        f"{module}.{name}": getattr(found, name)
        for module in modules
        if not module.endswith("__main__")
        for found in [importlib.import_module(module)]
        for name in getattr(found, "__all__", [])
    }
    ours = {name: thing for name, thing in public.items() if inspect.isclass(thing) or inspect.isfunction(thing)}
    assert len(ours) > 500
    assert [name for name, thing in ours.items() if thing.__module__.startswith("trionet") and not thing.__doc__] == []


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
