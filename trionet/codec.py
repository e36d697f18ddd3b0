"""Values to bytes and back, so that what arrives equals what was sent, types included.

A value is *lowered* to what the wire format can say, and *raised* again at the other end. JSON says null, booleans,
numbers, strings, lists, and objects with string keys by itself; everything else becomes an object with one key that
begins with ``$``:

======================================  ===========================================
value                                   JSON
======================================  ===========================================
bytes                                   ``{"$bytes": "aGk="}`` (base64)
nan, inf, -inf                          ``{"$float": "nan"}``
an int that needs more than 64 bits     ``{"$int": "0x…"}`` (a JSON number is read, too)
tuple                                   ``{"$tuple": [1, 2]}``
set, frozenset                          ``{"$set": [1, 2]}``, ``{"$frozenset": [1, 2]}``
dict with other than plain string keys  ``{"$map": [[1, "a"], ["b", 2]]}``
datetime                                ``{"$datetime": "2026-11-20T12:00:00+00:00"}`` (ISO 8601)
UUID                                    ``{"$uuid": "…"}``
registered Struct or dataclass          ``{"$type": ["name", {"field": 1}]}``
node address                            ``{"$address": ["127.0.0.1", 8080]}``
a trionet error                         ``{"$error": {"code": 0, "name": "…", "text": "…"}}``
the replies of a group                  ``{"$replies": {"values": {…}, "errors": {…}}}``
======================================  ===========================================

MessagePack says bytes, nan and integer keys by itself; the rest is the same. Subclasses of these types (an IntEnum,
a namedtuple) do not travel, because they would come back as something else.

Invariants: ``decode(encode(v)) == v`` with equal types all the way down, for every v that `encode` takes; and whatever
bytes come in, `decode` returns a value or raises `DecodeError`.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import inspect
import math
import uuid
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

import msgspec

from .errors import DecodeError, EncodeError, MalformedRequest, TrionetError, error_from_wire, error_to_wire
from .identity import NodeAddress
from .replies import Aggregate, Receipt, Replies
from .user_code import described, pass_endings

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["JSON", "MAX_DEPTH", "MESSAGEPACK", "Codec", "refuse_extension", "register_type"]

MAX_DEPTH: Final = 64
"""How deep containers may nest in a value that travels."""

T = TypeVar("T")

_REPLIES: Final = (Replies, Aggregate, Receipt)
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_types_by_name: dict[str, type] = {}
_names_by_type: dict[type, str] = {}


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
        MalformedRequest: `cls` is neither, its constructor does not take its fields alone, or the name is taken.
    """
    if cls is None:
        return lambda cls: register_type(cls, name=name)
    if dataclasses.is_dataclass(cls):
        try:
            inspect.signature(cls).bind(**dict.fromkeys(_field_names(cls)))
        except TypeError as exc:
            raise MalformedRequest(f"the constructor of {cls.__qualname__} does not take just its fields") from exc
    elif not issubclass(cls, msgspec.Struct):
        raise MalformedRequest(f"{cls.__qualname__} is neither a msgspec.Struct nor a dataclass")
    name = name or f"{cls.__module__}:{cls.__qualname__}"
    if (other := _types_by_name.get(name, cls)) is not cls and (other.__module__, other.__qualname__) != (
        cls.__module__,
        cls.__qualname__,
    ):
        raise MalformedRequest(f"{name!r} is the name of another type, {other!r}")
    _types_by_name[name] = cls
    _names_by_type[cls] = name
    return cls


def _field_names(cls: type) -> tuple[str, ...]:
    if issubclass(cls, msgspec.Struct):
        return cls.__struct_fields__
    return tuple(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]  # it was registered


class _CannotTravel(Exception):
    """Carries the reason up to `Codec.encode`, gathering the path on the way."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.steps: list[str] = []


def _key_step(key: Any) -> str:
    try:
        return f"[{key!r:.40}]"
    except BaseException as exc:  # an int of more digits than Python shows, or a repr of the user's that raises
        pass_endings(exc)
        return f"[a key of type {type(key).__name__}]"


class _Lowering:
    """One pass from values to what the wire format can say."""

    def __init__(self, wire: Literal["json", "messagepack"]) -> None:
        self._json = wire == "json"

    def lower(self, value: Any, depth: int = 0) -> Any:
        kind = type(value)
        if kind is str or value is None or kind is bool:
            return value
        if kind is int:
            return value if _INT_MIN <= value <= _INT_MAX else {"$int": hex(value)}
        if kind is float:
            return {"$float": repr(value)} if self._json and not math.isfinite(value) else value
        if kind is bytes:
            return {"$bytes": base64.b64encode(value).decode()} if self._json else value
        if depth >= MAX_DEPTH:
            raise _CannotTravel(f"nested more than {MAX_DEPTH} deep")
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
        except _CannotTravel as reason:
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
        except _CannotTravel as reason:
            reason.steps.append(_key_step(key))
            raise

    def _plain_key(self, key: Any) -> bool:
        if type(key) is str:
            return not key.startswith("$")
        return not self._json and type(key) is int and _INT_MIN <= key <= _INT_MAX

    def _other(self, kind: type, value: Any, depth: int) -> dict[str, Any]:
        if kind is tuple or kind is set or kind is frozenset:
            return {f"${kind.__name__}": self._items(value, depth)}
        if kind is datetime.datetime:
            return {"$datetime": value.isoformat()}
        if kind is uuid.UUID:
            return {"$uuid": value.hex}
        if kind is NodeAddress:
            return {"$address": [value.ip, value.port]}
        if isinstance(value, TrionetError):
            return {"$error": self._dict(error_to_wire(value), depth)}
        if kind in _REPLIES:
            return {"$replies": self._fields(value, value._attributes(), depth)}  # noqa: SLF001  same package
        if (name := _names_by_type.get(kind)) is not None:
            return {"$type": [name, self._fields(value, _field_names(kind), depth)]}
        if inspect.isawaitable(value):
            raise _CannotTravel(f"a {kind.__name__} does not travel, what it gives may: await it")
        if callable(value):
            raise _CannotTravel("code does not travel: name it by its import path, 'package.module:name'")
        raise _CannotTravel(_why_not(value))

    def _fields(self, value: Any, names: tuple[str, ...], depth: int) -> dict[str, Any]:
        lowered, name = {}, ""
        try:
            for name in names:
                lowered[name] = self.lower(getattr(value, name), depth + 1)
        except _CannotTravel as reason:
            reason.steps.append(f".{name}")
            raise
        return lowered


_ATOMS = frozenset({str, bool, type(None), bytes, float, int})


def _why_not(value: Any) -> str:
    """Return what to tell someone whose value is of a type that doesn't travel."""
    kind = type(value)
    for base in (int, float, str, bytes, tuple, list, dict, set, frozenset):
        if isinstance(value, base):
            return (
                f"{kind.__qualname__} does not travel, it would come back as {base.__name__}: pass {base.__name__}(…)"
            )
    return f"{kind.__module__}.{kind.__qualname__} does not travel; trionet.register_type may help"


def _raise(plain: Any, depth: int = 0) -> Any:
    kind = type(plain)
    if kind is not list and kind is not dict:
        return plain
    if depth > MAX_DEPTH:
        raise DecodeError(f"nested more than {MAX_DEPTH} deep")
    if kind is list:
        return plain if _ATOMS.issuperset(map(type, plain)) else [_raise(item, depth + 1) for item in plain]
    if len(plain) == 1:
        key = next(iter(plain))
        if type(key) is str and key.startswith("$"):
            parse = _TAGS.get(key)
            if parse is None:
                raise DecodeError(f"unknown tag {key!r:.40}")
            return parse(plain[key], depth)
    return {key: _raise(item, depth + 1) for key, item in plain.items()}


def _raise_list(content: Any, depth: int) -> list[Any]:
    if type(content) is not list:
        raise DecodeError("expected a list")
    return [_raise(item, depth + 1) for item in content]


def _raise_map(content: Any, depth: int) -> dict[Any, Any]:
    if type(content) is not list:
        raise DecodeError("expected a list of pairs")
    return {_raise(key, depth + 1): _raise(item, depth + 1) for key, item in content}


def _raise_registered(content: Any, depth: int) -> Any:
    name, fields = content
    cls = _types_by_name.get(name)
    if cls is None:
        raise DecodeError(f"no type is registered here as {name!r:.80}")
    values = {field: _raise(item, depth + 1) for field, item in fields.items()}
    try:
        return cls(**values)
    except BaseException as exc:  # it is the user's, and may raise what it likes
        pass_endings(exc)
        raise DecodeError(f"not a {name}: {described(exc)}") from exc


def _raise_float(content: Any, _: int) -> float:
    if content not in ("nan", "inf", "-inf"):
        raise DecodeError("expected nan, inf or -inf")
    return float(content)  # another nan each time: one object would be one key of a dict


def refuse_extension(code: int, _: memoryview) -> Any:
    """Raise `DecodeError`: MessagePack's extension types are no values of ours."""
    raise DecodeError(f"unknown extension type {code}")


def _raise_replies(content: Any, depth: int) -> Replies[Any]:
    fields = {name: _raise(item, depth + 1) for name, item in content.items()}
    if not (
        all(isinstance(fields[name], dict) for name in ("values", "errors"))
        and all(isinstance(error, TrionetError) for error in fields["errors"].values())
    ):
        raise DecodeError("expected two maps")
    kind = Aggregate if "value" in fields else Receipt if "id" in fields else Replies
    return kind(**fields)


_TAGS: dict[str, Callable[[Any, int], Any]] = {
    "$bytes": lambda content, _: base64.b64decode(content, validate=True),
    "$float": _raise_float,
    "$int": lambda content, _: int(content, 16),
    "$tuple": lambda content, depth: tuple(_raise_list(content, depth)),
    "$set": lambda content, depth: set(_raise_list(content, depth)),
    "$frozenset": lambda content, depth: frozenset(_raise_list(content, depth)),
    "$map": _raise_map,
    "$datetime": lambda content, _: datetime.datetime.fromisoformat(content),
    "$uuid": lambda content, _: uuid.UUID(hex=content),
    "$type": _raise_registered,
    "$address": lambda content, _: NodeAddress(*content),
    "$error": lambda content, depth: error_from_wire(_raise(content, depth)),
    "$replies": _raise_replies,
}


class Codec:
    """One wire format. There are two: `JSON` and `MESSAGEPACK`.

    Attributes:
        content_type: its media type.
    """

    def __init__(self, wire: Literal["json", "messagepack"]) -> None:
        self.content_type = f"application/{'json' if wire == 'json' else 'vnd.msgpack'}"
        self._lowered = _Lowering(wire).lower
        # What the wire format says by itself, whatever its value is.
        self._atoms = frozenset({str, bool, type(None)} if wire == "json" else {str, bool, type(None), bytes, float})
        self._encode: Callable[[Any], bytes]
        self._decode: Callable[[bytes | bytearray | memoryview], Any]
        if wire == "json":
            self._encode, self._decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
        else:
            self._encode = msgspec.msgpack.Encoder().encode
            self._decode = msgspec.msgpack.Decoder(ext_hook=refuse_extension).decode

    def encode(self, value: Any) -> bytes:
        """Return `value` as bytes.

        Raises:
            EncodeError: something in it cannot travel; its ``path`` says where.
        """
        try:
            if type(value) is list and self._atoms.issuperset(map(type, value)):  # so are most
                return self._encode(value)
            return self._encode(self.lower(value))
        except UnicodeEncodeError as exc:
            path = _find_surrogate(value) or "$"
            raise EncodeError(f"at {path}: a lone surrogate is no Unicode text", path=path) from exc

    def lower(self, value: Any) -> Any:
        """Return what stands for `value` in the wire format; `restore` is the way back.

        Raises:
            EncodeError: something in it cannot travel; its ``path`` says where.
        """
        if type(value) in self._atoms:
            return value
        try:
            return self._lowered(value)
        except _CannotTravel as reason:
            path = "$" + "".join(reversed(reason.steps))
            path = path if len(path) <= 200 else f"{path[:100]}…{path[-90:]}"  # noqa: PLR2004  shown to a person
            raise EncodeError(f"at {path}: {reason.reason}", path=path) from None
        except BaseException as exc:  # a field of the user's may be computed
            pass_endings(exc)
            raise EncodeError(f"at $: {type(exc).__name__}: {described(exc)}", path="$") from exc

    def decode(self, data: bytes | bytearray | memoryview) -> Any:
        """Return the value that `data` encodes.

        Raises:
            DecodeError: it encodes none.
        """
        return self.restore(self._plain(data))

    def _plain(self, data: bytes | bytearray | memoryview) -> Any:
        try:
            return self._decode(data)
        except RecursionError as exc:
            raise DecodeError(f"nested more than {MAX_DEPTH} deep") from exc
        except (msgspec.MsgspecError, ValueError) as exc:
            raise DecodeError(f"not a value: {exc}") from exc

    def restore(self, plain: Any) -> Any:
        """Return the value that `plain` stands for, where the wire format's own decoder has been at work already.

        Raises:
            DecodeError: it stands for none.
        """
        kind = type(plain)
        if (kind is not list and kind is not dict) or (kind is list and _ATOMS.issuperset(map(type, plain))):
            return plain  # so are most, and they are read in the fewest steps
        try:
            return _raise(plain)
        except TrionetError as exc:
            raise exc if isinstance(exc, DecodeError) else DecodeError(str(exc)) from exc
        except RecursionError as exc:
            raise DecodeError(f"nested more than {MAX_DEPTH} deep") from exc
        except BaseException as exc:  # what is hashed and compared may be the user's
            pass_endings(exc)
            raise DecodeError(f"not a value: {described(exc)}") from exc


def _find_surrogate(value: Any, path: str = "$") -> str | None:
    """Return the path of the first text in `value` that UTF-8 cannot say."""
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
    elif type(value) in _names_by_type:
        children = [(f"{path}.{name}", getattr(value, name)) for name in _field_names(type(value))]
    elif isinstance(value, Replies):
        children = [(f"{path}.{name}", getattr(value, name)) for name in value._attributes()]  # noqa: SLF001
    elif isinstance(value, NodeAddress):
        children = [(f"{path}.ip", value.ip)]
    return next((found for place, child in children if (found := _find_surrogate(child, place))), None)


JSON: Final = Codec("json")
MESSAGEPACK: Final = Codec("messagepack")
