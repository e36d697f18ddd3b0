"""Raising: from the plain data of a wire format back to values; see the table in `trionet.codec`.

The plain data is changed in place rather than copied: a large value is in memory once.

Invariants: the result is a value, or `DecodeError` is raised; the time is linear in the size of the data.
"""

from __future__ import annotations

import base64
import datetime
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .bounds import MAX_DEPTH
from .error_wire import error_from_wire
from .errors import DecodeError
from .hashing import dict_of, frozenset_of, set_of
from .identity import NodeAddress
from .registered import type_named
from .replies import replies_from
from .user_code import described, pass_endings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .replies import Replies

__all__ = ["ATOMS", "TAGS", "Unreadable", "raised", "refuse_extension", "types_as_dicts"]

ATOMS = frozenset({str, bool, type(None), bytes, float, int})
"""Types whose plain data is the value."""

_TOO_DEEP = f"nested more than {MAX_DEPTH} deep"


class Unreadable:
    """The substitute of a value that could not be read.

    Attributes:
        reason: why not, for a person.
    """

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason: str = reason


def raised(plain: Any, depth: int = 0) -> Any:
    """Return the value of `plain`, which may be changed.

    Raises:
        Exception: it has none; of any type, because constructors of the user's run.
    """
    kind = type(plain)
    if kind is list:
        if depth > MAX_DEPTH:
            raise DecodeError(_TOO_DEEP)
        return plain if ATOMS.issuperset(map(type, plain)) else _raise_items(plain, depth)
    if kind is not dict:
        return plain
    if depth > MAX_DEPTH:
        raise DecodeError(_TOO_DEEP)
    if len(plain) == 1:
        key = next(iter(plain))
        if type(key) is str and key.startswith("$"):
            return _raise_tagged(key, plain[key], depth)
    for key, item in plain.items():
        if type(item) is list or type(item) is dict:
            plain[key] = raised(item, depth + 1)  # changing values during iteration is allowed
    return plain


def _raise_tagged(key: str, content: Any, depth: int) -> Any:
    parse = TAGS.get(key)
    if parse is None:
        raise DecodeError(f"unknown tag {key!r:.40}")
    try:
        return parse(content, depth)
    except (DecodeError, RecursionError):
        raise
    except BaseException as exc:  # the content is of any type, and types of the user's are made, hashed and compared
        pass_endings(exc)
        reason = f"a {type(content).__name__} is none" if isinstance(exc, AttributeError) else described(exc)
        raise DecodeError(f"not a value: {key}: {reason:.200}") from exc


def _raise_items(items: list[Any], depth: int) -> list[Any]:
    for index, item in enumerate(items):
        if type(item) is list or type(item) is dict:
            items[index] = raised(item, depth + 1)
    return items


def _raise_list(content: Any, depth: int) -> list[Any]:
    if type(content) is not list:
        raise DecodeError("expected a list")
    return content if ATOMS.issuperset(map(type, content)) else _raise_items(content, depth)


def _raise_map(content: Any, depth: int) -> dict[Any, Any]:
    if type(content) is not list:
        raise DecodeError("expected a list of pairs")
    keys, values = [], []
    for key, item in content:
        keys.append(raised(key, depth + 1))
        values.append(raised(item, depth + 1))
    content.clear()
    return dict_of(keys, values)


def _raise_registered(content: Any, depth: int) -> Any:
    name, fields = content
    cls = type_named(name)
    if cls is None:
        raise DecodeError(f"no type is registered here as {name!r:.80}")
    values = {field: raised(item, depth + 1) for field, item in fields.items()}
    try:
        return cls(**values)
    except BaseException as exc:  # of any type, from the user's constructor
        pass_endings(exc)
        raise DecodeError(f"not a {name}: {described(exc)}") from exc


def _raise_float(content: Any, _: int) -> float:
    if content not in ("nan", "inf", "-inf"):
        raise DecodeError("expected nan, inf or -inf")
    return float(content)  # another nan each time: one object would be one key of a dict


def _raise_datetime(content: Any, _: int) -> datetime.datetime:
    if type(content) is not list:
        return datetime.datetime.fromisoformat(content)
    text, fold = content
    return datetime.datetime.fromisoformat(text).replace(fold=fold)


def _raise_replies(content: Any, depth: int) -> Replies[Any]:
    return replies_from({name: raised(item, depth + 1) for name, item in content.items()})


TAGS: dict[str, Callable[[Any, int], Any]] = {
    "$bytes": lambda content, _: base64.b64decode(content, validate=True),
    "$float": _raise_float,
    "$int": lambda content, _: int(content, 16),
    "$tuple": lambda content, depth: tuple(_raise_list(content, depth)),
    "$set": lambda content, depth: set_of(_raise_list(content, depth)),
    "$frozenset": lambda content, depth: frozenset_of(_raise_list(content, depth)),
    "$map": _raise_map,
    "$datetime": _raise_datetime,
    "$uuid": lambda content, _: uuid.UUID(hex=content),
    "$type": _raise_registered,
    "$address": lambda content, _: NodeAddress(*content),
    "$error": lambda content, depth: error_from_wire(raised(content, depth)),
    "$replies": _raise_replies,
}


@contextmanager
def types_as_dicts() -> Generator[None]:
    """Raise values of registered types as dicts of their fields during the block: for a program that shows any value.

    It holds for all of this process.
    """
    before = TAGS["$type"]
    TAGS["$type"] = _raise_fields
    try:
        yield
    finally:
        TAGS["$type"] = before


def _raise_fields(content: Any, depth: int) -> dict[str, Any]:
    _, fields = content
    return {field: raised(item, depth + 1) for field, item in fields.items()}


def refuse_extension(code: int, _: memoryview) -> Any:
    """Raise `DecodeError`: MessagePack's extension types are no values of ours."""
    raise DecodeError(f"unknown extension type {code}")
