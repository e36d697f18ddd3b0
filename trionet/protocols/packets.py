"""Packets on the wire.

Invariant: a packet is an array of a version, the sender's name and its messages; anything else is malformed.
"""

from __future__ import annotations

import functools
import operator
import re
from typing import Annotated, Any, Final

import msgspec

from .proofs import Challenge, Echo
from .statements import MOST_NAME_BYTES

__all__ = [
    "ARRAY_HEAD_BYTES",
    "VERSION",
    "Packet",
    "PacketCounts",
    "PacketTraffic",
    "array_head",
    "decoder",
    "head",
    "kind_of",
    "places",
    "sender_of",
]

VERSION: Final = 1
ARRAY_HEAD_BYTES: Final = 3
_SHORT_ITEMS: Final = 16
_MOST_ITEMS: Final = 1 << 16
_ARRAY_OF_3: Final = b"\x93"
_Name = Annotated[str, msgspec.Meta(max_length=MOST_NAME_BYTES)]  # names of any sender are remembered


class Packet(msgspec.Struct, frozen=True, gc=False):
    """A packet to be sent.

    Attributes:
        to: the receiver's name.
        messages: its messages, in order.
        encoded: its bytes; empty if the multiplexer doesn't encode.
        is_reliable: whether it goes by a connection.
        is_datagram: whether it must not go by a connection, even if it can't go as a datagram.
    """

    to: str
    messages: tuple[Any, ...]
    encoded: bytes
    is_reliable: bool
    is_datagram: bool = False


class PacketCounts(msgspec.Struct):
    """Counts of rejected input.

    Attributes:
        malformed: packets that can't be decoded, or are of another version.
        oversized: packets over the limit.
        unknown: messages of kinds that no core here handles.
        refused: messages and answers that were dropped because the sender is unproven, or can't be a member.
    """

    malformed: int = 0
    oversized: int = 0
    unknown: int = 0
    refused: int = 0


class PacketTraffic(msgspec.Struct):
    """The messages in packets so far, by kind.

    Attributes:
        sent: those in packets to be sent.
        received: those in packets that could be read.
    """

    sent: dict[type, int] = msgspec.field(default_factory=dict)
    received: dict[type, int] = msgspec.field(default_factory=dict)


def kind_of(message: type) -> str:
    """Return the name of a kind of messages, as ``sync_digest``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", message.__name__).lower()


def head(me: str) -> bytes:
    """Return the head of each packet from the node `me`."""
    return _ARRAY_OF_3 + msgspec.msgpack.encode(VERSION) + msgspec.msgpack.encode(me)


def array_head(count: int) -> bytes:
    """Return the head of an array of `count` messages."""
    if count < _SHORT_ITEMS:
        return bytes([0x90 | count])
    assert count < _MOST_ITEMS
    return b"\xdc" + count.to_bytes(2, "big")


# Shared by multiplexers of the same kinds of cores: with many nodes, one each would not stay in the processor's cache.
@functools.cache
def places(kinds: tuple[tuple[type, ...], ...]) -> dict[type, int]:
    """Return the index of the core that handles each kind."""
    return {kind: place for place, of_core in enumerate(kinds) for kind in of_core}


@functools.cache
def decoder(kinds: tuple[tuple[type, ...], ...]) -> msgspec.msgpack.Decoder[tuple[int, _Name, list[Any]]]:
    """Return the decoder of packets with these kinds of messages, and with those about proofs."""
    union = functools.reduce(operator.or_, (kind for of_core in (*kinds, (Challenge, Echo)) for kind in of_core))
    return msgspec.msgpack.Decoder(tuple[int, _Name, list[union]])  # type: ignore[valid-type]


_any_packet: Final = msgspec.msgpack.Decoder(tuple[int, _Name, msgspec.Raw])


def sender_of(data: bytes) -> str | None:
    """Return the name that a packet gives its sender; None if it has no valid head."""
    try:
        version, source, _ = _any_packet.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return source if version == VERSION and source else None
