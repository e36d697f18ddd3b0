"""Import paths, ``"package.module:name"``: the way in which classes and functions travel.

Invariant: a path carries no code. Another process imports the same name, or the path is refused.
"""

from __future__ import annotations

import importlib
from typing import Any

from .errors import ConfigError
from .user_code import described, pass_endings

__all__ = ["GUARD_MAIN", "import_reference", "is_reference", "reference_to"]

GUARD_MAIN = (
    "a program that starts when its module is imported starts again where a node imports that module by its name: put "
    "its start under: if __name__ == '__main__'"
)

_OTHER_MAIN = ": that is another program in each process. Put it into a module of its own, as in 'shop:Counter'"


def is_reference(value: Any) -> bool:
    """Whether `value` has the form of an import path."""
    if not issubclass(type(value), str):  # isinstance would use its __class__, which may raise
        return False
    module, colon, name = value.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))


def import_reference(reference: str) -> Any:
    """Return the object at the import path `reference`.

    Raises:
        ConfigError: there is none, or its module can't be imported; from the cause.
    """
    if not is_reference(reference):
        raise ConfigError(f"expected 'package.module:name', got {reference!r:.100}")
    module, _, name = reference.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except BaseException as exc:  # the module is the user's
        pass_endings(exc)
        text = described(exc)
        hint = f"; {GUARD_MAIN}" if isinstance(exc, RuntimeError) and "from inside a run()" in text else ""
        if isinstance(exc, ModuleNotFoundError) and exc.name == module.partition(".")[0]:
            hint = ": each node that imports it needs it installed, or its folder in PYTHONPATH"
        raise ConfigError(f"can't import {module!r}: {type(exc).__name__}: {text}{hint}") from exc
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as exc:
            hint = _OTHER_MAIN if module == "__main__" else ""
            raise ConfigError(f"{module!r} has no {name!r}{hint}") from exc
        except BaseException as exc:  # a module may have a __getattr__, and a class a metaclass
            pass_endings(exc)
            raise ConfigError(f"can't get {name!r} of {module!r}: {type(exc).__name__}: {described(exc)}") from exc
    return found


def reference_to(thing: Any) -> str | None:
    """Return the import path of a class or function, or None when another process could not import it."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not module or not name or module == "__main__":
        return None
    reference = f"{module}:{name}"
    try:
        return reference if import_reference(reference) is thing else None
    except ConfigError:
        return None
