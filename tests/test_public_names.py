"""What a module says it offers is what it defines."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import trionet

PACKAGE = Path(trionet.__file__).parent

MODULES = {
    ".".join(("trionet", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"
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


def _imported_names(tree: ast.Module) -> set[str]:
    imports = [statement for statement in tree.body if isinstance(statement, ast.ImportFrom)]
    return {alias.asname or alias.name for statement in imports for alias in statement.names}


def _listed_names(tree: ast.Module) -> list[str]:
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            listed: list[str] = ast.literal_eval(statement.value)
            return listed
    return []


@pytest.mark.parametrize("module", MODULES)
def test_a_module_lists_the_public_names_that_it_defines_and_no_others_but_what_it_passes_on(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    listed = _listed_names(tree)
    assert len(set(listed)) == len(listed)
    assert set(listed) - _imported_names(tree) == _defined_names(tree)


@pytest.mark.parametrize("name", trionet.__all__)
def test_every_name_of_the_package_can_be_imported_and_used(name: str) -> None:
    assert getattr(trionet, name) is not None


def test_the_package_lists_every_name_that_it_imports() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    assert _imported_names(tree) == set(trionet.__all__)
    assert len(set(trionet.__all__)) == len(trionet.__all__)


@pytest.mark.parametrize("module", MODULES)
def test_a_public_class_or_function_says_what_it_is_for(module: str) -> None:
    found = importlib.import_module(module)
    for name in getattr(found, "__all__", []):
        thing = getattr(found, name)
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__.startswith("trionet"):
            assert thing.__doc__, name


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
