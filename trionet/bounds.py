"""The number of containers in a message, counted before it is decoded.

An empty list takes one byte of MessagePack and two of JSON, and some 70 bytes of memory; a message within the size
limit could fill the memory and block the node for seconds. Decoding can't be interrupted, and so the containers are
counted first, in the bytes.

MessagePack's maps may also have lists as keys, which become tuples, whose hashes hold no secret (see
`trionet.hashing`). No node sends such keys. A message with a map that is large enough to do harm is refused.

Invariants: the time is linear in the size of the message, and the memory constant; a message too short to exceed the
bound is not scanned. Invalid MessagePack or JSON may pass: the decoder refuses it.

Source: the MessagePack specification, "Formats" (https://github.com/msgpack/msgpack/blob/master/spec.md); RFC 8259.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "LARGE_MAP_BYTES",
    "MAX_CONTAINERS",
    "MAX_DEPTH",
    "holds_large_map_of_lists",
    "json_holds_more",
    "messagepack_holds_more",
    "over_limit",
]

MAX_CONTAINERS: Final = 1_000_000
"""The default of how many containers a message may hold."""

MAX_DEPTH: Final = 64
"""How deep containers may nest in a value that travels."""

_LARGE_MAP: Final = 64
LARGE_MAP_BYTES: Final = 2 * _LARGE_MAP
"""A shorter message can't hold a large map of lists."""


def json_holds_more(data: bytes, most: int) -> bool:
    """Return whether the JSON text `data` holds more than `most` arrays and objects."""
    if data.count(b"[") + data.count(b"{") <= most:
        return False
    # Some of these may be in strings. Each match ends at one outside of strings.
    count = end = 0
    while count <= most and (match := _NEXT_OPENING(data, end)) is not None:
        count += 1
        end = match.end()
    return count > most


# Possessive, because a group that can backtrack takes memory for each repetition.
_NEXT_OPENING: Final = re.compile(rb'[^"\[{]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[{]*+)*+[\[{]', re.DOTALL).match


def messagepack_holds_more(data: bytes, most: int) -> bool:
    """Return whether the MessagePack message `data` holds more than `most` arrays and maps.

    A text or bytes with a needlessly long header counts as one, too: no node writes it, and skipping it takes as long.
    """
    return any(count > most for count, _ in enumerate(_containers(data), 1))


def holds_large_map_of_lists(data: bytes) -> bool:
    """Return whether the MessagePack message `data` holds a map with many entries and a list as a key."""
    if b"\xde" not in data and b"\xdf" not in data:
        return False
    if _LARGE_MAP_HEADER.search(data) is None:  # most of these bytes are parts of numbers and texts
        return False
    large = lists = 0
    for place in _containers(data):
        byte = data[place]
        if byte in _LIST_HEADERS:
            lists += 1
        elif byte in _MAP_HEADERS and _LARGE_MAP_HEADER.match(data, place):
            large += 1
        if large and lists >= _LARGE_MAP:
            return _has_list_as_key(data)
    return False


def _containers(data: bytes) -> Iterator[int]:
    """Yield the place of each array and map, and of each text or bytes with a needlessly long header."""
    place, size, scalars = 0, len(data), _scalars().match
    while True:
        match = scalars(data, place)
        place = size if match is None else match.end()
        if place >= size:
            return
        byte = data[place]
        if byte in _HEADER_BYTES:
            yield place
            place += _HEADER_BYTES[byte]
        elif byte in _LENGTH_BYTES:
            length, end = _length(data, place)
            if length < _SHORT:
                yield place
            place = end
        else:  # the message is cut off
            return


def _length(data: bytes, place: int) -> tuple[int, int]:
    """Return the length of the text, bytes or extension at `place`, and the place after it."""
    byte = data[place]
    begin = place + 1 + _LENGTH_BYTES[byte]
    length = int.from_bytes(data[place + 1 : begin], "big")
    return length, begin + length + (byte in _EXTENSIONS)  # which have a type, too


def _has_list_as_key(data: bytes) -> bool:  # noqa: C901  a case for each kind of token
    """Return whether any map in `data` has a list as a key, or `data` nests far deeper than any value may."""
    place, size = 0, len(data)
    left, is_map = 1, False  # items to come of the innermost container; those of a map are keys and values in turn
    outer: list[tuple[int, bool]] = []
    while place < size:
        while left == 0:
            if not outer:
                return False
            left, is_map = outer.pop()
        byte = data[place]
        if (header_bytes := _HEADER_BYTES.get(byte)) is not None:
            if (is_map and left % 2 == 0) or len(outer) > _DEEP:
                return True
            begin = place + header_bytes
            count = byte & 0x0F if header_bytes == 1 else int.from_bytes(data[place + 1 : begin], "big")
            place = begin
            if count:
                outer.append((left - 1, is_map))
                is_map = byte in _MAP_HEADERS
                left = 2 * count if is_map else count
            else:
                left -= 1
        elif byte in _LENGTH_BYTES:
            (_, place), left = _length(data, place), left - 1
        else:
            before = place
            for count, run in _runs():
                while left >= count and (match := run.match(data, place)) is not None:
                    place, left = match.end(), left - count
            if place == before:  # the message is cut off
                return False
    return False


_SHORT: Final = 32
_DEEP: Final = 1000
_FIXED_MAPS, _FIXED_LISTS = range(0x80, 0x90), range(0x90, 0xA0)
_MAP_HEADERS: Final = frozenset({*_FIXED_MAPS, 0xDE, 0xDF})
_LIST_HEADERS: Final = frozenset({*_FIXED_LISTS, 0xDC, 0xDD})
_HEADER_BYTES: Final = {**dict.fromkeys((*_FIXED_MAPS, *_FIXED_LISTS), 1), 0xDC: 3, 0xDD: 5, 0xDE: 3, 0xDF: 5}
_LENGTH_BYTES: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_EXTENSIONS: Final = range(0xC7, 0xCA)

_LARGE_MAP_HEADER: Final = re.compile(
    rb"\xde(?:[\x01-\xff]|\x00[\x40-\xff])|\xdf(?:[\x01-\xff]|\x00[\x01-\xff]|\x00\x00[\x01-\xff]|\x00\x00\x00[\x40-\xff])",
    re.DOTALL,
)
_SHORT_EXTENSIONS: Final = b"|".join(
    [rb"\xc7\x00.|\xc8\x00\x00.|\xc9\x00{4}."]  # such as those that stand for blobs
    + [rb"%c.{%d}" % (0xD4 + power, 1 + 2**power) for power in range(5)]
)
_SHORT_TEXTS: Final = b"|".join(rb"%c.{%d}" % (0xA0 + length, length) for length in range(_SHORT))
_SHORT_BYTES: Final = b"|".join(rb"\x%02x.{%d}" % (length, length) for length in range(_SHORT))
_SCALAR: Final = (
    rb"(?:[\x00-\x7f\xc0\xc2\xc3\xe0-\xff]|[\xcc\xd0].|[\xcd\xd1]..|[\xce\xd2\xca].{4}|[\xcf\xd3\xcb].{8}"
    rb"|%b|%b|\xc4(?:%b))" % (_SHORT_TEXTS, _SHORT_EXTENSIONS, _SHORT_BYTES)
)
"""A value other than a container whose first byte determines its length; or short bytes, which have no such form."""


# Few nodes ever need these, and to compile them takes 6 ms.
@functools.cache
def _scalars() -> re.Pattern[bytes]:
    return re.compile(_SCALAR + rb"*+", re.DOTALL)


@functools.cache
def _runs() -> tuple[tuple[int, re.Pattern[bytes]], ...]:
    """Return the patterns of so many scalars in a row, the longest run first."""
    return tuple((count, re.compile(_SCALAR + rb"{%d}+" % count, re.DOTALL)) for count in (4096, 256, 16, 1))


def over_limit(max_containers: int) -> str:
    """Return the text of an error for a message with too many containers."""
    return (
        f"more than {max_containers:,} lists, dicts and so on in one message, nested or side by side: "
        f"the limit of this node (max_message_containers)"
    )
