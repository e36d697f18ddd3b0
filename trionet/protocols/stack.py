"""The protocols of one node, on one plane of packets.

A packet is what one node says to another at one time: the messages of all its protocols for that node, and what may
ride along. Invariants: a datagram is never over `packet_bytes`; what a protocol sends at once is in one packet, or as
few as can be, in the order in which it was sent; what can't be read is dropped whole and counted, and nothing that
comes in raises.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .effects import Core, Message, Notify, Send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .effects import Effect

__all__ = ["DATAGRAM_BYTES", "RELIABLE_BYTES", "Packet", "PacketCounts", "Stack"]

DATAGRAM_BYTES: Final = 1400
"""What a datagram may be: an Ethernet frame less headers, those of a tunnel included."""

RELIABLE_BYTES: Final = 63 * 1024
"""What the messages of a packet that goes by a connection may have together: with its head it is under 64 KiB."""

_VERSION: Final = 1
_encoder = msgspec.msgpack.Encoder()
_SHORT_ITEMS: Final = 16
_MOST_ITEMS: Final = 1 << 16


class Packet(msgspec.Struct, frozen=True, gc=False):
    """Messages on their way.

    Attributes:
        to: where they go.
        messages: in order.
        encoded: the same as bytes; empty where the stack was told not to encode.
        is_reliable: whether they go by a connection.
    """

    to: str
    messages: tuple[Any, ...]
    encoded: bytes
    is_reliable: bool


class PacketCounts(msgspec.Struct):
    """What came in and was not taken.

    Attributes:
        malformed: packets that are no packets, or are of another version.
        oversized: packets over the limit.
        unknown: messages of kinds that nobody here understands.
    """

    malformed: int = 0
    oversized: int = 0
    unknown: int = 0


class Stack:
    """Runs the cores of one node.

    Attributes:
        me: this node's name.
        dropped: counts of what was not taken.
        events: what happened since they were last taken; see `take_events`.
        next_deadline: tells when `on_timer` is to be called next; ``math.inf`` for not at all.
    """

    __slots__ = (
        "_cores",
        "_decode",
        "_encoded",
        "_encoded_bytes",
        "_head",
        "_is_encoding",
        "_packet_bytes",
        "_place_of",
        "_room_bytes",
        "dropped",
        "events",
        "me",
        "next_deadline",
    )

    def __init__(
        self, me: str, cores: Sequence[Core], *, packet_bytes: int = DATAGRAM_BYTES, is_encoding: bool = True
    ) -> None:
        """Put `cores` on one plane.

        Args:
            me: this node's name.
            cores: in the order in which they may fill what room a datagram has.
            packet_bytes: the most that a datagram may have.
            is_encoding: False for a simulation that hands on messages as they are.
        """
        self.me: str = me
        self.dropped: PacketCounts = PacketCounts()
        self.events: list[Any] = []
        self._cores = tuple(cores)
        # With one core, asking it is all there is to do; this is called after every packet.
        self.next_deadline: Callable[[], float] = (
            cores[0].next_deadline if len(cores) == 1 else functools.partial(_earliest, self._cores)
        )
        self._encoded: Message | None = None
        self._encoded_bytes = b""
        self._packet_bytes = packet_bytes
        self._is_encoding = is_encoding
        kinds = tuple(core.messages for core in cores)
        self._place_of = _places(kinds)
        self._decode = _decoder(kinds).decode
        self._head = _ARRAY_OF_3 + _encoder.encode(_VERSION) + _encoder.encode(me)
        self._room_bytes = packet_bytes - len(self._head) - _ARRAY_HEAD_BYTES

    def on_timer(self, now: float) -> list[Packet]:
        """Do what is due."""
        effects: list[Effect] = []
        for core in self._cores:
            if core.next_deadline() <= now:
                effects += core.on_timer(now)
        return self.packets(effects, now)

    def receive_bytes(self, data: bytes, now: float, *, is_reliable: bool = False) -> list[Packet]:
        """Take a packet as it came from the network."""
        if not is_reliable and len(data) > self._packet_bytes:
            self.dropped.oversized += 1
            return []
        try:
            version, source, messages = self._decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            self.dropped.malformed += 1
            return []
        if version != _VERSION or source == self.me or not source:
            self.dropped.malformed += 1
            return []
        return self.receive(source, messages, now)

    def receive(self, source: str, messages: Iterable[Any], now: float) -> list[Packet]:
        """Take the messages of one packet."""
        effects: list[Effect] = []
        for message in messages:
            place = self._place_of.get(type(message))
            if place is None:
                self.dropped.unknown += 1
            else:
                effects += self._cores[place].receive(source, message, now)
        return self.packets(effects, now) if effects else []

    def unreachable(self, to: str, now: float) -> list[Packet]:
        """Take that a reliable packet could not be delivered."""
        effects: list[Effect] = []
        for core in self._cores:
            effects += core.unreachable(to, now)
        return self.packets(effects, now)

    def take_events(self) -> list[Any]:
        """Return what has happened since the last time."""
        events, self.events = self.events, []
        return events

    def packets(self, effects: Iterable[Effect], now: float) -> list[Packet]:
        """Return what `effects` send, packed; keep what they tell for `take_events`."""
        found: list[Packet] = []
        if type(effects) is list and len(effects) == 1:  # at rest it is always one
            effect = effects[0]
            if type(effect) is Send and not effect.is_reliable:
                self._add_datagrams(found, effect.to, (effect.message,), now)
                return found
        by_target: dict[str, list[Message]] = {}
        reliably: dict[str, list[Message]] = {}
        for effect in effects:
            if type(effect) is Send:
                messages = reliably if effect.is_reliable else by_target
                to = effect.to
                if to in messages:
                    messages[to].append(effect.message)
                else:
                    messages[to] = [effect.message]
            else:
                assert type(effect) is Notify
                self.events.append(effect.event)
        for to, messages_to in by_target.items():
            self._add_datagrams(found, to, messages_to, now)
        for to, messages_to in reliably.items():
            self._add_reliable(found, to, messages_to)
        return found

    def _add_datagrams(self, found: list[Packet], to: str, messages: Iterable[Message], now: float) -> None:
        """Add datagrams with `messages` to `found`, the last one filled up with what may ride along."""
        held: tuple[Message, ...] = ()
        body = b""
        room = self._room_bytes
        for message in messages:
            if message is not self._encoded:  # the same one often goes to several nodes, one after the other
                self._encoded, self._encoded_bytes = message, _encoder.encode(message)
            part = self._encoded_bytes
            if len(part) > room:
                if held:
                    found.append(self._packet(to, held, body, is_reliable=False))
                    held, body, room = (), b"", self._room_bytes
                if len(part) > room:  # too long for any datagram
                    found.append(self._packet(to, (message,), part, is_reliable=True))
                    continue
            held += (message,)
            body += part
            room -= len(part)
        if held:
            for core in self._cores:
                for message in core.piggyback(to, room, now):
                    part = _encoder.encode(message)
                    held += (message,)
                    body += part
                    room -= len(part)
            assert room >= 0
            found.append(self._packet(to, held, body, is_reliable=False))

    def _add_reliable(self, found: list[Packet], to: str, messages: list[Message]) -> None:
        """Add packets with `messages` to `found`, in order; one over the limit holds a single message."""
        held: list[Message] = []
        parts: list[bytes] = []
        room = RELIABLE_BYTES
        for message in messages:
            part = _encoder.encode(message)
            if len(part) > room and held:
                found.append(self._packet(to, tuple(held), b"".join(parts), is_reliable=True))
                held, parts, room = [], [], RELIABLE_BYTES
            held.append(message)
            parts.append(part)
            room -= len(part)
        found.append(self._packet(to, tuple(held), b"".join(parts), is_reliable=True))

    def _packet(self, to: str, messages: tuple[Message, ...], body: bytes, *, is_reliable: bool) -> Packet:
        encoded = self._head + _array_head(len(messages)) + body if self._is_encoding else b""
        return Packet(to, messages, encoded, is_reliable)

    def packet_size(self, packet: Packet) -> int:
        """Return how many bytes `packet` has, encoded or not."""
        parts = sum(len(_encoder.encode(message)) for message in packet.messages)
        return len(self._head) + len(_array_head(len(packet.messages))) + parts


_ARRAY_OF_3: Final = b"\x93"
_ARRAY_HEAD_BYTES: Final = 3


def _earliest(cores: tuple[Core, ...]) -> float:
    found = math.inf
    for core in cores:
        due = core.next_deadline()
        if due < found:  # noqa: PLR1730 - twice as fast as min(), and called after every packet
            found = due
    return found


def _array_head(count: int) -> bytes:
    if count < _SHORT_ITEMS:
        return bytes([0x90 | count])
    assert count < _MOST_ITEMS
    return b"\xdc" + count.to_bytes(2, "big")


# Stacks of the same kinds of cores share these: with many of them, one each would not stay in the processor's cache.
@functools.cache
def _places(kinds: tuple[tuple[type, ...], ...]) -> dict[type, int]:
    return {kind: place for place, of_core in enumerate(kinds) for kind in of_core}


@functools.cache
def _decoder(kinds: tuple[tuple[type, ...], ...]) -> msgspec.msgpack.Decoder[tuple[int, str, list[Any]]]:
    union = functools.reduce(operator.or_, (kind for of_core in kinds for kind in of_core))
    return msgspec.msgpack.Decoder(tuple[int, str, list[union]])  # type: ignore[valid-type]
