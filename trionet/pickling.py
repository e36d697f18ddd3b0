"""Code by value: functions, classes and objects as bytes, by cloudpickle.

Reading such bytes runs what their maker wants. So whoever reads them must know who made them.
"""

from __future__ import annotations

import collections.abc
import functools
import io
import sys
import typing
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .declared_kinds import declared_kind
from .errors import CodeRefused
from .registered import name_of_type, register_type
from .user_code import attempt, described, pass_endings, shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = ["pickled", "unpickled"]

_CACHE: Final = "__msgspec_cache__"
_ABCS: Final = {name: getattr(collections.abc, name) for name in collections.abc.__all__}
_WITH_SETTER: Final = 6
"""The length of a reduction that has its own function to set the state."""


def pickled(value: Any) -> bytes:
    """Return `value` as bytes.

    Raises:
        CodeRefused: it can't be pickled, or the package cloudpickle is missing.
    """
    try:
        file = io.BytesIO()
        _pickler()(file).dump(value)
    except CodeRefused:
        raise
    except BaseException as exc:  # from the reduction of any object in it
        pass_endings(exc)
        reason = f"{type(exc).__name__}: {described(exc).rstrip('.'):.200}"
        raise CodeRefused(
            f"{shown(value)} can't travel as code: {reason}. What it refers to travels with it: locks, files, sockets "
            f"and running tasks can't"
        ) from exc
    return file.getvalue()


def unpickled(data: bytes, what: str) -> Any:
    """Return the value of bytes whose maker is trusted.

    Raises:
        CodeRefused: they can't be read here, as where a module is missing; or the package cloudpickle is.
    """
    loads = _cloudpickle().loads
    try:
        return loads(data)
    except BaseException as exc:  # it runs code of the user's
        pass_endings(exc)
        raise CodeRefused(f"{what:.100} can't be read here: {type(exc).__name__}: {described(exc):.200}") from exc


def _pickler() -> Any:
    """Return the pickler: cloudpickle's, which sends registered types that go by value as such."""

    class Pickler(_cloudpickle().Pickler):  # type: ignore[misc, unused-ignore]  # known where it is needed only
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, FunctionType) and type(obj) is not FunctionType:
                return NotImplemented  # it only acts as a function, and knows how it is pickled
            if type(obj) is FunctionType:
                return _with_annotations(super().reducer_override(obj), obj, obj.__globals__)
            if not issubclass(type(obj), type):
                return super().reducer_override(obj)
            name = attempt(name_of_type, obj, default=None)
            if _CACHE in obj.__dict__:
                delattr(obj, _CACHE)  # msgspec makes it anew; it can't be pickled
            reduced = super().reducer_override(obj)
            if not isinstance(reduced, tuple) or len(reduced) != _WITH_SETTER:
                return reduced  # it has an import path
            module = sys.modules.get(obj.__module__)
            reduced = _with_annotations(reduced, obj, {} if module is None else vars(module))
            if issubclass(obj, msgspec.Struct):
                import pickle  # only here

                raise pickle.PicklingError(
                    f"the msgspec.Struct {obj.__qualname__} would lose its fields: make it a dataclass, or give it an "
                    f"import path, in a module of its own"
                )
            if (declared := declared_kind(obj)) is not None:
                return (*reduced[:-1], declared.arriving(reduced[-1]))
            if name is None:
                return reduced
            return (*reduced[:-1], functools.partial(_set_registered, name, reduced[-1]))

    return Pickler


def _with_annotations(reduced: Any, obj: Any, namespace: dict[str, Any]) -> Any:
    """Return the reduction of a function or a class, with its annotations in place of their texts, as far as known.

    What a text names does not travel with it, so the receiver would not know it.
    """
    if not isinstance(reduced, tuple) or len(reduced) != _WITH_SETTER:
        return reduced  # it has an import path
    state = next((part for part in reduced[2] if "__annotations__" in part), None)
    if state is not None and any(isinstance(each, str) for each in state["__annotations__"].values()):
        state["__annotations__"] = {
            name: attempt(_evaluated, each, namespace, default=each) if isinstance(each, str) else each
            for name, each in state["__annotations__"].items()
        }
    return reduced


def _evaluated(text: str, namespace: dict[str, Any]) -> Any:
    single = SimpleNamespace(__annotations__={"it": text})
    return typing.get_type_hints(single, _ABCS | namespace, include_extras=True)["it"]


def _set_registered(name: str, set_state: Callable[[type, Any], object], cls: type, state: Any) -> type:
    """Give a class that has arrived its state, and register it as its sender has."""
    set_state(cls, state)
    return register_type(cls, name=name)


def _cloudpickle() -> ModuleType:
    try:
        import cloudpickle  # type: ignore[import-untyped, unused-ignore]  # only where it is needed
    except ImportError as exc:
        raise CodeRefused(
            "to send code, or read it, needs the package cloudpickle, an extra of trionet: pip install 'trionet[code]'"
        ) from exc
    return cloudpickle  # type: ignore[no-any-return, unused-ignore]
