"""Lowering: from values to the plain data of a wire format; see the table in `trionet.codec`.

Invariant: a value that is lowered and raised again equals the original, types included; else `CannotTravel` is raised.
"""

from __future__ import annotations

import base64
import copy
import datetime
import decimal
import enum
import inspect
import math
import numbers
import os
import types
import uuid
from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from .blobs import BLOB_BYTES, LongBytes
from .bounds import MAX_DEPTH
from .errors import TrionetError, error_fields
from .identity import NodeAddress
from .plain_data import INT_MAX, INT_MIN
from .registered import field_names, has_own_constructor, is_dataclass, name_of_type, why_unregistrable
from .replies import Aggregate, Receipt, Replies
from .user_code import attempt, described, pass_endings

__all__ = ["CannotTravel", "Lowering", "find_surrogate"]


_REPLIES: Final = (Replies, Aggregate, Receipt)
_MUTABLE: Final = (list, dict, set)


class CannotTravel(Exception):
    """A value cannot travel. Carries the reason up, and collects the path on the way."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.steps: list[str] = []


def _key_step(key: Any) -> str:
    return attempt(lambda: f"[{key!r:.40}]", default=f"[a key of type {type(key).__name__}]")  # see `shown`


class Lowering:
    """The conversion of values to the plain data of one wire format.

    Args:
        wire: its name.
        sets_apart: whether long ``bytes`` become `LongBytes`; see `trionet.blobs`.
    """

    def __init__(self, wire: Literal["json", "messagepack"], *, sets_apart: bool = False) -> None:
        self._json = wire == "json"
        self._sets_apart = sets_apart

    def lower(self, value: Any, depth: int = 0) -> Any:
        """Return the plain data of `value`, which is in `depth` containers.

        Raises:
            CannotTravel: it has none.
        """
        kind = type(value)
        if kind is str or value is None or kind is bool:
            return value
        if kind is int:
            return value if INT_MIN <= value <= INT_MAX else {"$int": hex(value)}
        if kind is float:
            return {"$float": repr(value)} if self._json and not math.isfinite(value) else value
        if kind is bytes:
            if self._json:
                return {"$bytes": base64.b64encode(value).decode()}
            return LongBytes(value) if self._sets_apart and len(value) > BLOB_BYTES else value
        if depth >= MAX_DEPTH:
            raise CannotTravel(f"nested more than {MAX_DEPTH} deep")
        if kind is list:
            return self._items(value, depth)
        if kind is dict:
            return self._dict(value, depth)
        return self._other(kind, value, depth)

    def _items(self, items: Any, depth: int) -> list[Any]:
        lowered, index = [], 0
        try:
            for index, item in enumerate(items):  # noqa: B007  the index is for the handler below
                lowered.append(self.lower(item, depth + 1))
        except CannotTravel as reason:
            reason.steps.append(f"[{index}]")
            raise
        return lowered

    def _dict(self, value: dict[Any, Any], depth: int) -> dict[Any, Any]:
        key: Any = None
        try:
            if all(self._plain_key(key) for key in value):
                lowered = {}
                for key, item in value.items():
                    lowered[key] = self.lower(item, depth + 1)
                return lowered
            pairs = []
            for key, item in value.items():
                pairs.append([self.lower(key, depth + 1), self.lower(item, depth + 1)])
            return {"$map": pairs}
        except CannotTravel as reason:
            reason.steps.append(_key_step(key))
            raise

    def _plain_key(self, key: Any) -> bool:
        if type(key) is str:
            return not key.startswith("$")
        return not self._json and type(key) is int and INT_MIN <= key <= INT_MAX

    def _other(self, kind: type, value: Any, depth: int) -> dict[str, Any]:
        if kind is tuple or kind is set or kind is frozenset:
            return {f"${kind.__name__}": self._items(value, depth)}
        if kind is datetime.datetime:
            return {"$datetime": _datetime(value)}
        if kind is uuid.UUID:
            return {"$uuid": value.hex}
        if kind is NodeAddress:
            return {"$address": [value.ip, value.port]}
        if (name := name_of_type(kind)) is not None:  # before errors: it may be one
            return {"$type": [name, self._registered(value, kind, depth)]}
        if isinstance(value, TrionetError):
            return {"$error": self._dict(error_fields(value), depth)}
        if kind in _REPLIES:
            for sid, error in value.errors.items():
                if not isinstance(error, TrionetError):
                    raise CannotTravel(f"the error of {sid!r:.20} is no TrionetError")
            return {"$replies": self._fields(value, value._fields, depth)}
        raise CannotTravel(_why_not(value))

    def _registered(self, value: Any, kind: type, depth: int) -> dict[str, Any]:
        if has_own_constructor(kind):
            _check_remade(value, kind)
        return self._fields(value, field_names(kind), depth)

    def _fields(self, value: Any, names: tuple[str, ...], depth: int) -> dict[str, Any]:
        lowered, name = {}, ""
        try:
            for name in names:
                lowered[name] = self.lower(_attribute(value, name), depth + 1)
        except CannotTravel as reason:
            reason.steps.append(f".{name}")
            raise
        return lowered


def _attribute(value: Any, name: str) -> Any:
    try:
        return getattr(value, name)
    except BaseException as exc:  # it was deleted, or is computed by code of the user's
        pass_endings(exc)
        raise CannotTravel(f"it can't be read: {type(exc).__name__}: {described(exc)}") from exc


def _check_remade(value: Any, kind: type) -> None:
    """Raise `CannotTravel` if a constructor of the user's makes another value of the fields of `value`.

    If it raises, the receiver reports that.
    """
    fields = {name: _attribute(value, name) for name in field_names(kind)}
    # Copies, which it may change.
    given = {name: copy.copy(field) if type(field) in _MUTABLE else field for name, field in fields.items()}
    remade = attempt(lambda: kind(**given), default=None)
    for name, field in fields.items():
        if remade is not None and not _is_same(_attribute(remade, name), field):
            reason = CannotTravel(f"the constructor of {kind.__qualname__}, given this, makes something else of it")
            reason.steps.append(f".{name}")
            raise reason


def _is_same(other: Any, field: Any) -> bool:
    return other is field or (type(other) is type(field) and attempt(lambda: bool(other == field), default=False))


def _datetime(value: datetime.datetime) -> str | list[Any]:
    """Return the plain data of `value`: its text, and its fold if that isn't 0.

    It arrives with a fixed offset from UTC. In an hour that a time zone skips or repeats, datetimes of different time
    zones are never equal (PEP 495, "Inter-zone comparison"), and so it can't arrive unchanged.
    """
    try:
        text = value.isoformat()
        if value.tzinfo is not None and value.tzinfo is not datetime.UTC:
            arrives = datetime.datetime.fromisoformat(text).replace(fold=value.fold)
            if arrives != value or arrives.utcoffset() != value.utcoffset():
                raise CannotTravel(
                    "the time zone repeats or skips this hour, or is less than a second from UTC: "
                    "pass it in UTC, .astimezone(datetime.timezone.utc)"
                )
    except CannotTravel:
        raise
    except BaseException as exc:  # a time zone of the user's
        pass_endings(exc)
        raise CannotTravel(f"its time zone has no offset: {type(exc).__name__}: {described(exc)}") from exc
    return [text, value.fold] if value.fold else text


def _why_not(value: Any) -> str:
    """Return why a value of this type doesn't travel, and a substitute to pass."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    for base in (int, float, str, bytes, tuple, list, dict, set, frozenset):
        if isinstance(value, base):
            return (
                f"{kind.__qualname__} does not travel, it would come back as {base.__name__}: pass {base.__name__}(…)"
            )
    if is_dataclass(kind) or issubclass(kind, msgspec.Struct):
        reason = why_unregistrable(kind)
        return f"{name} does not travel; " + (reason or "trionet.register_type may help")
    if inspect.isawaitable(value):
        return f"{name} does not travel: await it, and pass what it gives"
    if callable(value):
        return "code does not travel: name it by its import path, 'package.module:name'"
    for base, advice in _INSTEAD.items():
        if isinstance(value, base):
            return f"{name} does not travel: pass {advice}"
    return f"{name} does not travel: pass what it holds, or make it a dataclass and register that"


_INSTEAD: Final[dict[Any, str]] = {
    bytearray: "bytes(…)",
    memoryview: "bytes(…)",
    enum.Enum: "its value",
    datetime.datetime: "a datetime.datetime",
    datetime.date: "its text, .isoformat()",
    datetime.time: "its text, .isoformat()",
    datetime.timedelta: "its seconds, .total_seconds()",
    decimal.Decimal: "its text, str(…)",
    numbers.Integral: "an int, int(…)",
    numbers.Rational: "its text, str(…)",
    complex: "its parts, [z.real, z.imag]",
    os.PathLike: "its text, os.fspath(…)",
    BaseException: "its text, str(…)",
    uuid.UUID: "a uuid.UUID",
    Replies: "its values",
    types.GeneratorType: "a list, list(…); or, to stream, make the method async: 'async def' with 'yield'",
    Iterable: "a list, list(…)",
}


def find_surrogate(value: Any, path: str = "$") -> str | None:
    """Return the path of the first text in `value` that UTF-8 cannot encode."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return path
        return None
    children: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        children = [(path + _key_step(key), child) for key, item in value.items() for child in (key, item)]
    elif isinstance(value, list | tuple | set | frozenset):
        children = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    elif name_of_type(type(value)) is not None:
        children = [(f"{path}.{name}", getattr(value, name)) for name in field_names(type(value))]
    elif isinstance(value, Replies):
        children = [(f"{path}.{name}", getattr(value, name)) for name in value._fields]
    elif isinstance(value, NodeAddress):
        children = [(f"{path}.ip", value.ip)]
    return next((found for place, child in children if (found := find_surrogate(child, place))), None)
