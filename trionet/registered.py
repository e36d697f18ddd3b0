"""The registered types, whose instances travel, by their names on the wire."""

from __future__ import annotations

import datetime
import inspect
import uuid
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from .errors import MalformedRequest

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "field_names",
    "has_own_constructor",
    "is_dataclass",
    "name_of_type",
    "register_type",
    "type_named",
    "why_unregistrable",
]

T = TypeVar("T")

_types_by_name: dict[str, type] = {}
_names_by_type: dict[type, str] = {}
_with_own_constructor: set[type] = set()

type_named: Callable[[str], type | None] = _types_by_name.get
name_of_type: Callable[[type], str | None] = _names_by_type.get
has_own_constructor: Callable[[type], bool] = _with_own_constructor.__contains__
"""Whether the constructor of a registered type runs the user's code, which may change its arguments."""


@overload
def register_type(cls: type[T], /, *, name: str | None = None) -> type[T]: ...
@overload
def register_type(*, name: str) -> Callable[[type[T]], type[T]]: ...
def register_type(cls: type[T] | None = None, /, *, name: str | None = None) -> Any:
    """Register a type, so that its instances travel; a function, and a decorator with or without arguments.

    Both ends must register the type under the same name.

    Args:
        cls: a ``msgspec.Struct`` or a dataclass; the value of each field must be able to travel, and is passed to the
            constructor by name.
        name: the name of the type on the wire; default: its import path, ``"module:qualname"``.

    Raises:
        MalformedRequest: `cls` is neither, or also a list or the like; its parameters are not its fields; or the name
            is no text, or another type's.
    """
    if cls is None:
        return lambda cls: register_type(cls, name=name)
    if (reason := why_unregistrable(cls)) is not None:
        raise MalformedRequest(reason)
    if not isinstance(name, str | None):
        raise MalformedRequest(f"the name of a type is a text, not {name!r:.80}")
    name = name or f"{cls.__module__}:{cls.__qualname__}"
    if (other := _types_by_name.get(name, cls)) is not cls and (other.__module__, other.__qualname__) != (
        cls.__module__,
        cls.__qualname__,
    ):
        raise MalformedRequest(f"{name!r} is the name of another type, {other!r}")
    _types_by_name[name] = cls
    _names_by_type[cls] = name
    if _runs_own_code(cls):
        _with_own_constructor.add(cls)
    return cls


def _runs_own_code(cls: type) -> bool:
    if hasattr(cls, "__post_init__"):
        return True
    maker = next(base for base in cls.__mro__ if "__init__" in base.__dict__ or base is msgspec.Struct)
    parameters = maker.__dict__.get("__dataclass_params__")  # of the decorator that made its constructor
    return maker is not msgspec.Struct and not (parameters is not None and parameters.init)


_VALUES = (int, float, str, bytes, list, tuple, dict, set, frozenset, datetime.datetime, uuid.UUID)


def why_unregistrable(cls: Any) -> str | None:
    """Return why `cls` can't be registered; None if it can."""
    if not inspect.isclass(cls):
        return f"a {type(cls).__qualname__} is no class"
    if is_dataclass(cls):
        try:
            inspect.signature(cls).bind(**dict.fromkeys(field_names(cls)))
        except (TypeError, ValueError):
            return f"the constructor of {cls.__qualname__} does not take just its fields"
    elif not issubclass(cls, msgspec.Struct):
        return f"{cls.__qualname__} is neither a msgspec.Struct nor a dataclass"
    for base in _VALUES:
        if issubclass(cls, base):
            return f"a {cls.__qualname__} is a {base.__name__} as well, and what it holds as one would be lost"
    return None


def field_names(cls: type) -> tuple[str, ...]:
    """Return the names of the fields of a Struct or a dataclass."""
    if issubclass(cls, msgspec.Struct):
        return cls.__struct_fields__
    from dataclasses import fields  # it is imported already, where there is one

    return tuple(field.name for field in fields(cls))  # type: ignore[arg-type]  # it was registered


def is_dataclass(kind: type) -> bool:
    """Return whether a class is a dataclass, as `dataclasses.is_dataclass` does, which few nodes import."""
    return hasattr(kind, "__dataclass_fields__")
