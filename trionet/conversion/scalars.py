"""Types that hold no other values, and those that msgspec makes or only tells apart."""

from __future__ import annotations

import datetime
import typing
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.user_code import described, pass_endings

from .base import Converter, Misfit, made, mismatch

if TYPE_CHECKING:
    import enum

__all__ = [
    "PLAIN",
    "ConstrainedConverter",
    "EnumConverter",
    "FloatConverter",
    "LeafConverter",
    "PlainConverter",
    "by_msgspec",
]

PLAIN: Final = frozenset({type(None), bool, int, str, bytes, datetime.datetime, uuid.UUID})
_FROM_TEXT: Final = frozenset({bytes, datetime.datetime, uuid.UUID})
_BINARY: Final = frozenset({bytearray, memoryview})
_TRAVELLING: Final = (bytes, bytearray, datetime.datetime, uuid.UUID)


class PlainConverter:
    """A type that travels as itself, and holds no other values."""

    def __init__(self, kind: type) -> None:
        self.expected: str = "None" if kind is type(None) else kind.__name__
        self.exact: type | None = kind

    def is_natural(self, value: Any) -> bool:
        """Return whether `value` is one by itself; see `Converter.is_natural`."""
        return type(value) is self.exact

    def fit(self, value: Any, is_json: bool) -> Any:
        """Return `value` as one; see `Converter.fit`."""
        if type(value) is self.exact:
            return value
        if is_json and type(value) is str and self.exact in _FROM_TEXT:
            return by_msgspec(value, self.exact, is_json=True)
        raise mismatch(self.expected, value)


class FloatConverter:
    """A float; an int does, too (PEP 484, "the numeric tower")."""

    expected: str = "float"
    exact: type | None = float

    def is_natural(self, value: Any) -> bool:
        """Return whether `value` is one by itself; see `Converter.is_natural`."""
        return type(value) is float

    def fit(self, value: Any, is_json: bool) -> Any:
        """Return `value` as one; see `Converter.fit`."""
        if type(value) is float:
            return value
        if type(value) is not int:
            raise mismatch(self.expected, value)
        try:
            return float(value)
        except OverflowError:
            raise Misfit("Expected `float`, got an `int` that is too large") from None


class LeafConverter:
    """What can't travel as itself and is made from what stands for it; and types that msgspec only tells apart."""

    exact: type | None = None

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation
        self._kind = typing.get_origin(annotation) or annotation
        self.expected: str = getattr(self._kind, "__name__", str(annotation))

    def is_natural(self, value: Any) -> bool:
        """Return whether `value` is one by itself; see `Converter.is_natural`."""
        return isinstance(self._kind, type) and isinstance(value, self._kind)

    def fit(self, value: Any, is_json: bool) -> Any:
        """Return `value` as one; see `Converter.fit`."""
        if type(value) is str and not is_json and self._kind in _BINARY:
            raise mismatch(self.expected, value)
        if type(value) in (int, float) and self._kind is datetime.timedelta:
            return made(datetime.timedelta, seconds=value)
        return by_msgspec(value, self._annotation, is_json=is_json)


class EnumConverter:
    """An enum whose values are neither all texts nor all integers, which msgspec does not know."""

    exact: type | None = None

    def __init__(self, kind: type[enum.Enum]) -> None:
        self._kind = kind
        self.expected: str = kind.__name__

    def is_natural(self, value: Any) -> bool:
        """Return whether `value` is one by itself; see `Converter.is_natural`."""
        return isinstance(value, self._kind)

    def fit(self, value: Any, is_json: bool) -> Any:
        """Return `value` as one; see `Converter.fit`."""
        member = made(self._kind, value)
        if member is not value and type(member.value) is not type(value):
            raise mismatch(self.expected, value)
        return member


class ConstrainedConverter:
    """A type with constraints, ``Annotated[int, msgspec.Meta(ge=0)]``."""

    exact: type | None = None

    def __init__(self, inner: Converter, annotation: Any) -> None:
        self._inner = inner
        self._annotation = annotation
        self.expected: str = inner.expected

    def is_natural(self, value: Any) -> bool:
        """Return whether `value` is one by itself; see `Converter.is_natural`."""
        return self._inner.is_natural(value)

    def fit(self, value: Any, is_json: bool) -> Any:
        """Return `value` as one; see `Converter.fit`."""
        fitting = self._inner.fit(value, is_json)
        by_msgspec(fitting, self._annotation, is_json=is_json)
        return fitting


def by_msgspec(value: Any, annotation: Any, *, is_json: bool) -> Any:
    """Return what msgspec makes of `value`.

    Raises:
        Misfit: it makes nothing of it.
    """
    try:
        return msgspec.convert(value, annotation, builtin_types=() if is_json else _TRAVELLING)
    except msgspec.ValidationError as exc:
        reason, _, place = str(exc).partition(" - at `$")
        raise Misfit(reason, place.removesuffix("`")) from exc
    except BaseException as exc:  # an enum's own `_missing_`
        pass_endings(exc)
        raise Misfit(described(exc) or type(exc).__name__) from exc
