"""Packets as they are on the wire: what one node says to another at one time.

Invariant: a packet is an array of a version, the sender's name and its messages; what can't be read is no packet.
"""

from __future__ import annotations

import functools
import operator
from typing import Annotated, Any, Final

import msgspec

from .proofs import Challenge, Echo
from .statements import MOST_NAME_BYTES

__all__ = ["ARRAY_HEAD_BYTES", "VERSION", "Packet", "PacketCounts", "array_head", "decoder", "head", "places"]

VERSION: Final = 1
ARRAY_HEAD_BYTES: Final = 3
_SHORT_ITEMS: Final = 16
_MOST_ITEMS: Final = 1 << 16
_ARRAY_OF_3: Final = b"\x93"
_Name = Annotated[str, msgspec.Meta(max_length=MOST_NAME_BYTES)]  # it is remembered, whoever says it


class Packet(msgspec.Struct, frozen=True, gc=False):
    """Messages on their way.

    Attributes:
        to: where they go.
        messages: in order.
        encoded: the same as bytes; empty where the stack was told not to encode.
        is_reliable: whether they go by a connection.
        is_datagram: whether they go as a datagram or not at all.
    """

    to: str
    messages: tuple[Any, ...]
    encoded: bytes
    is_reliable: bool
    is_datagram: bool = False


class PacketCounts(msgspec.Struct):
    """What came in and was not taken.

    Attributes:
        malformed: packets that are no packets, or are of another version.
        oversized: packets over the limit.
        unknown: messages of kinds that nobody here understands.
        refused: messages and answers that were left out because the sender hasn't shown that it is where it says.
    """

    malformed: int = 0
    oversized: int = 0
    unknown: int = 0
    refused: int = 0


def head(me: str) -> bytes:
    """Return the beginning of each packet of the node `me`."""
    return _ARRAY_OF_3 + msgspec.msgpack.encode(VERSION) + msgspec.msgpack.encode(me)


def array_head(count: int) -> bytes:
    """Return what stands before `count` messages."""
    if count < _SHORT_ITEMS:
        return bytes([0x90 | count])
    assert count < _MOST_ITEMS
    return b"\xdc" + count.to_bytes(2, "big")


# Stacks of the same kinds of cores share these: with many of them, one each would not stay in the processor's cache.
@functools.cache
def places(kinds: tuple[tuple[type, ...], ...]) -> dict[type, int]:
    """Return which core takes each kind."""
    return {kind: place for place, of_core in enumerate(kinds) for kind in of_core}


@functools.cache
def decoder(kinds: tuple[tuple[type, ...], ...]) -> msgspec.msgpack.Decoder[tuple[int, _Name, list[Any]]]:
    """Return what reads packets of these kinds of messages, and of those about proofs."""
    union = functools.reduce(operator.or_, (kind for of_core in (*kinds, (Challenge, Echo)) for kind in of_core))
    return msgspec.msgpack.Decoder(tuple[int, _Name, list[union]])  # type: ignore[valid-type]
