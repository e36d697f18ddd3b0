"""Values to bytes and back: the received value equals the sent one, types included.

A value is *lowered* to plain data of the wire format, and *raised* again at the other end. JSON has null, booleans,
numbers, strings, lists, and objects with string keys; everything else becomes an object with one key that begins with
``$``:

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
datetime with ``fold=1``                ``{"$datetime": ["2026-11-20T12:00:00+00:00", 1]}``
UUID                                    ``{"$uuid": "…"}``
registered Struct or dataclass          ``{"$type": ["name", {"field": 1}]}``
node address                            ``{"$address": ["127.0.0.1", 8080]}``
a trionet error                         ``{"$error": {"code": 0, "name": "…", "text": "…"}}``
the replies of a group                  ``{"$replies": {"values": {…}, "errors": {…}}}``
======================================  ===========================================

MessagePack also has bytes, nan and integer keys; the rest is the same. Subclasses of these types (an IntEnum, a
namedtuple) do not travel, because they would arrive as another type.

Invariants: ``decode(encode(v)) == v`` with equal types at all levels, for every v that `encode` accepts; and `decode`
returns a value or raises `DecodeError`, whatever the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from .blobs import encode_apart, from_blobs, refuse_blobs
from .bounds import (
    LARGE_MAP_BYTES,
    MAX_CONTAINERS,
    MAX_DEPTH,
    holds_large_map_of_lists,
    json_holds_more,
    messagepack_holds_more,
    over_limit,
)
from .errors import DecodeError, EncodeError
from .lowering import CannotTravel, Lowering, find_surrogate
from .raising import ATOMS, Unreadable, raised, refuse_extension
from .registered import register_type
from .user_code import described, pass_endings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["JSON", "MAX_DEPTH", "MESSAGEPACK", "Codec", "register_type"]


class Codec:
    """One wire format. There are two: `JSON` and `MESSAGEPACK`.

    Attributes:
        content_type: its media type.
        max_containers: how many containers a decoded message may hold.
    """

    def __init__(self, wire: Literal["json", "messagepack"], max_containers: int = MAX_CONTAINERS) -> None:
        self.content_type = f"application/{'json' if wire == 'json' else 'vnd.msgpack'}"
        self.max_containers = max_containers
        self._wire = wire
        # A container takes at least a byte: shorter messages need no check.
        self._short_bytes = max_containers if wire == "json" else min(max_containers, LARGE_MAP_BYTES)
        self._lowered = Lowering(wire).lower
        self._lowered_apart = Lowering(wire, sets_apart=True).lower
        # Types that are plain data, whatever the value.
        self._atoms = frozenset({str, bool, type(None)} if wire == "json" else {str, bool, type(None), float})
        self._encode: Callable[[Any], bytes]
        self._decode: Callable[[bytes | bytearray | memoryview], Any]
        if wire == "json":
            self._encode, self._decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
        else:
            self._encode = msgspec.msgpack.Encoder(enc_hook=refuse_blobs).encode
            self._decode = msgspec.msgpack.Decoder(ext_hook=refuse_extension).decode

    def most_bytes(self, limit_bytes: int) -> int:
        """Return about how long a ``bytes`` value may be in a message of `limit_bytes`; JSON has base64."""
        return limit_bytes * 3 // 4 if self._wire == "json" else limit_bytes

    def limited(self, max_containers: int) -> Codec:
        """Return the same wire format with another bound on containers."""
        return Codec(self._wire, max_containers)

    def encode(self, value: Any, blobs: list[bytes] | None = None) -> bytes:
        """Return `value` as bytes.

        Args:
            value: what travels.
            blobs: takes the long ``bytes`` in the value, to travel beside the result; see `trionet.blobs`. By default,
                and in JSON, the result holds all.

        Raises:
            EncodeError: something in it cannot travel; ``path`` is its place.
        """
        try:
            if type(value) is list and self._atoms.issuperset(map(type, value)):  # so are most
                return self._encode(value)
            if blobs is None:
                return self._encode(self.lower(value))
            return encode_apart(self._encode, self.lower_apart(value), blobs)
        except UnicodeEncodeError as exc:
            path = find_surrogate(value) or "$"
            raise EncodeError(f"at {path}: a lone surrogate is no Unicode text", path=path) from exc
        except (ValueError, OverflowError) as exc:
            if isinstance(exc, EncodeError):
                raise
            raise EncodeError(f"at $: {exc}", path="$") from exc  # a text of more than 4 GiB

    def lower(self, value: Any) -> Any:
        """Return the plain data of `value`; `restore` is the reverse.

        Raises:
            EncodeError: something in it cannot travel; ``path`` is its place.
        """
        return value if type(value) in self._atoms else self._lower(self._lowered, value)

    def lower_apart(self, value: Any) -> Any:
        """Return the plain data of `value`, for `trionet.blobs.encode_apart`; see `lower`."""
        return value if type(value) in self._atoms else self._lower(self._lowered_apart, value)

    def _lower(self, lowered: Callable[[Any], Any], value: Any) -> Any:
        try:
            return lowered(value)
        except CannotTravel as reason:
            path = "$" + "".join(reversed(reason.steps))
            path = path if len(path) <= 200 else f"{path[:100]}…{path[-90:]}"  # noqa: PLR2004  shown to a person
            raise EncodeError(f"at {path}: {reason.reason}", path=path) from None
        except BaseException as exc:  # another thread, or code of the user's that runs here, has changed it
            pass_endings(exc)
            raise EncodeError(f"at $: {type(exc).__name__}: {described(exc):.200}", path="$") from exc

    def decode(self, data: bytes | bytearray | memoryview, blobs: Iterator[bytes] | None = None) -> Any:
        """Return the value that `data` encodes; its blobs are the next of `blobs`.

        Raises:
            DecodeError: it encodes none, or one with too many containers.
        """
        if len(data) > self._short_bytes:
            self._check(bytes(data))
        return self.restore(self._plain(data, blobs))

    def _check(self, data: bytes) -> None:
        is_json = self._wire == "json"
        if not is_json and holds_large_map_of_lists(data):
            raise DecodeError("lists are the keys of a map")
        holds_more = json_holds_more if is_json else messagepack_holds_more
        if len(data) > self.max_containers and holds_more(data, self.max_containers):
            raise DecodeError(over_limit(self.max_containers))

    def _plain(self, data: bytes | bytearray | memoryview, blobs: Iterator[bytes] | None) -> Any:
        try:
            if blobs is None or self._wire == "json":
                return self._decode(data)
            return msgspec.msgpack.Decoder(ext_hook=from_blobs(blobs)).decode(data)
        except RecursionError as exc:
            raise DecodeError(f"nested more than {MAX_DEPTH} deep") from exc
        except (msgspec.MsgspecError, ValueError) as exc:
            raise DecodeError(f"not a value: {exc}") from exc

    def restore(self, plain: Any) -> Any:
        """Return the value of `plain`, the result of the wire format's own decoder.

        Raises:
            DecodeError: it has none.
        """
        kind = type(plain)
        if kind is list:
            if ATOMS.issuperset(map(type, plain)):
                return plain  # the most frequent case
        elif kind is not dict:
            if kind is Unreadable:
                raise DecodeError(plain.reason)
            return plain
        try:
            return raised(plain)
        except DecodeError:
            raise
        except RecursionError as exc:
            raise DecodeError(f"nested more than {MAX_DEPTH} deep") from exc
        except BaseException as exc:  # from constructors, hashes and comparisons of the user's
            pass_endings(exc)
            raise DecodeError(f"not a value: {described(exc):.200}") from exc


JSON: Final = Codec("json")
MESSAGEPACK: Final = Codec("messagepack")
