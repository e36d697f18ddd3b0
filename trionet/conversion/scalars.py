"""Types without items, and types whose values msgspec makes or checks."""

from __future__ import annotations

import datetime
import decimal
import enum
import typing
import uuid
from typing import Any, Final

import msgspec

from trionet.user_code import described, pass_endings

from .base import Converter, Misfit, made, mismatch

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
_WITH_A_TEXT: Final = frozenset({datetime.date, datetime.time, datetime.timedelta, decimal.Decimal})
_TRAVELLING: Final = (bytes, bytearray, datetime.datetime, uuid.UUID)


class PlainConverter(Converter):
    """A type without items that travels as itself."""

    def __init__(self, kind: type) -> None:
        super().__init__("None" if kind is type(None) else kind.__name__, kind)
        self.exact: type | None = kind

    def fit(self, value: Any, is_json: bool) -> Any:
        """See `Converter.fit`."""
        if type(value) is self.exact:
            return value
        if is_json and type(value) is str and self.exact in _FROM_TEXT:
            return by_msgspec(value, self.exact, is_json=True)
        raise mismatch(self.expected, value)


class FloatConverter(Converter):
    """A float, or an int (PEP 484, "the numeric tower")."""

    exact: type | None = float

    def __init__(self) -> None:
        super().__init__("float", float)

    def fit(self, value: Any, is_json: bool) -> Any:
        """See `Converter.fit`."""
        if type(value) is float:
            return value
        if type(value) is not int:
            raise mismatch(self.expected, value)
        try:
            return float(value)
        except OverflowError:
            raise Misfit("Expected `float`, got an `int` that is too large") from None


class LeafConverter(Converter):
    """A type that doesn't travel as itself, and is made from its substitute; or one that msgspec only checks."""

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation
        self._kind = typing.get_origin(annotation) or annotation
        super().__init__(getattr(self._kind, "__name__", str(annotation)))
        self.lowers: bool = isinstance(self._kind, type) and (
            self._kind in _WITH_A_TEXT or issubclass(self._kind, enum.Enum)
        )

    def is_natural(self, value: Any) -> bool:
        """See `Converter.is_natural`."""
        return isinstance(self._kind, type) and isinstance(value, self._kind)

    def fit(self, value: Any, is_json: bool) -> Any:
        """See `Converter.fit`."""
        if type(value) is str and not is_json and self._kind in _BINARY:
            raise mismatch(self.expected, value)
        if type(value) in (int, float) and self._kind is datetime.timedelta:
            return made(datetime.timedelta, seconds=value)
        return by_msgspec(value, self._annotation, is_json=is_json)

    def lower(self, value: Any) -> Any:
        """See `Converter.lower`."""
        if type(value) is not self._kind or not self.lowers:
            return value
        return value.value if isinstance(value, enum.Enum) else msgspec.to_builtins(value, builtin_types=_TRAVELLING)


class EnumConverter(Converter):
    """An enum whose values are neither all texts nor all integers: msgspec does not support it."""

    lowers: bool = True

    def __init__(self, kind: type[enum.Enum]) -> None:
        super().__init__(kind.__name__)
        self._kind = kind

    def is_natural(self, value: Any) -> bool:
        """See `Converter.is_natural`."""
        return isinstance(value, self._kind)

    def fit(self, value: Any, is_json: bool) -> Any:
        """See `Converter.fit`."""
        member = made(self._kind, value)
        if member is not value and type(member.value) is not type(value):
            raise mismatch(self.expected, value)
        return member

    def lower(self, value: Any) -> Any:
        """See `Converter.lower`."""
        return value.value if type(value) is self._kind else value


class ConstrainedConverter(Converter):
    """A type with constraints, ``Annotated[int, msgspec.Meta(ge=0)]``."""

    def __init__(self, inner: Converter, annotation: Any) -> None:
        super().__init__(inner.expected)
        self.lowers: bool = inner.lowers
        self._inner = inner
        self._annotation = annotation

    def is_natural(self, value: Any) -> bool:
        """See `Converter.is_natural`."""
        return self._inner.is_natural(value)

    def fit(self, value: Any, is_json: bool) -> Any:
        """See `Converter.fit`."""
        fitting = self._inner.fit(value, is_json)
        by_msgspec(fitting, self._annotation, is_json=is_json)
        return fitting

    def lower(self, value: Any) -> Any:
        """See `Converter.lower`."""
        return self._inner.lower(value)


def by_msgspec(value: Any, annotation: Any, *, is_json: bool) -> Any:
    """Return `value`, converted by msgspec.

    Raises:
        Misfit: msgspec can't convert it.
    """
    try:
        return msgspec.convert(value, annotation, builtin_types=() if is_json else _TRAVELLING)
    except msgspec.ValidationError as exc:
        reason, _, place = str(exc).partition(" - at `$")
        raise Misfit(reason, place.removesuffix("`")) from exc
    except BaseException as exc:  # an enum's own `_missing_`
        pass_endings(exc)
        raise Misfit(described(exc) or type(exc).__name__) from exc
