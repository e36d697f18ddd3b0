"""The types of the user's that travel, by the name that stands for each on the wire."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from .errors import MalformedRequest

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["field_names", "name_of_type", "register_type", "type_named", "why_unregistrable"]

T = TypeVar("T")

_types_by_name: dict[str, type] = {}
_names_by_type: dict[type, str] = {}

type_named: Callable[[str], type | None] = _types_by_name.get
name_of_type: Callable[[type], str | None] = _names_by_type.get


@overload
def register_type(cls: type[T], /, *, name: str | None = None) -> type[T]: ...
@overload
def register_type(*, name: str) -> Callable[[type[T]], type[T]]: ...
def register_type(cls: type[T] | None = None, /, *, name: str | None = None) -> Any:
    """Let instances of a type travel: a function, and a decorator with or without arguments.

    Both ends must register the type under the same name.

    Args:
        cls: a ``msgspec.Struct`` or a dataclass; each field's value must be one that can travel, and is passed to
            the constructor by name.
        name: what stands for the type on the wire; default its import path, ``"module:qualname"``.

    Raises:
        MalformedRequest: `cls` is neither, its constructor does not take its fields alone, or the name is no text or
            another type's.
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
    return cls


def why_unregistrable(cls: Any) -> str | None:
    """Return why `register_type` does not take `cls`, or None."""
    if not inspect.isclass(cls):
        return f"a {type(cls).__qualname__} is no class"
    if dataclasses.is_dataclass(cls):
        try:
            inspect.signature(cls).bind(**dict.fromkeys(field_names(cls)))
        except (TypeError, ValueError):
            return f"the constructor of {cls.__qualname__} does not take just its fields"
    elif not issubclass(cls, msgspec.Struct):
        return f"{cls.__qualname__} is neither a msgspec.Struct nor a dataclass"
    return None


def field_names(cls: type) -> tuple[str, ...]:
    """Return the names of the fields of a Struct or a dataclass."""
    if issubclass(cls, msgspec.Struct):
        return cls.__struct_fields__
    return tuple(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]  # it was registered
