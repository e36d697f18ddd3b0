"""Multiplexes the protocols of one node over packets.

A packet carries all messages from one node to another at one time: those of all protocols, and piggybacked ones.

Invariants: a datagram has at most `packet_bytes`. Messages that the protocols send at once share a packet, or as few as
can be, in their order. An invalid packet is dropped whole and counted; input never raises. With `proofs`, answers to an
unproven address have at most 3 times the size of the question, and go by a connection only if the question did.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .border import SenderRefused, SenderUnreachable
from .effects import Core, Proof, ProtocolMessage, Send, sorted_by_target
from .packets import (
    ARRAY_HEAD_BYTES,
    VERSION,
    Packet,
    PacketCounts,
    PacketTraffic,
    array_head,
    decoder,
    head,
    places,
)
from .proofs import Challenge, Echo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .border import Border
    from .effects import Effect
    from .proofs import Proofs

__all__ = ["DATAGRAM_BYTES", "RELIABLE_BYTES", "Packet", "PacketCounts", "ProtocolMux"]

DATAGRAM_BYTES: Final = 1400
"""The most bytes of a datagram: an Ethernet frame less headers, those of a tunnel included."""

RELIABLE_BYTES: Final = 63 * 1024
"""The most bytes of the messages in a packet that goes by a connection; with its head it is under 64 KiB."""

_encoder = msgspec.msgpack.Encoder()
_CONNECTION_BYTES: Final = 200
"""The cost of a connection before it carries anything."""

_TOKEN_BYTES: Final = 16
"""The size of a `Challenge`, at most."""

_LEAST_BYTES: Final = 64
"""The size of a packet with a challenge alone, about."""


class ProtocolMux:
    """Runs the cores of one node.

    Attributes:
        me: this node's name.
        dropped: counts of rejected input.
        traffic: counts of messages by kind, also those of the multiplexers before it.
        events: the events since the last `pop_events`.
        next_deadline: returns when to call `on_timer` next; ``math.inf`` for never.
    """

    __slots__ = (
        "_border",
        "_cores",
        "_decode",
        "_encoded",
        "_encoded_bytes",
        "_head",
        "_is_encoding",
        "_packet_bytes",
        "_place_of",
        "_proofs",
        "_room_bytes",
        "dropped",
        "events",
        "me",
        "next_deadline",
        "traffic",
    )

    def __init__(
        self,
        me: str,
        cores: Sequence[Core],
        *,
        packet_bytes: int = DATAGRAM_BYTES,
        is_encoding: bool = True,
        proofs: Proofs | None = None,
        border: Border | None = None,
        traffic: PacketTraffic | None = None,
    ) -> None:
        """Run `cores`.

        Args:
            me: this node's name.
            cores: in the order in which they may fill the room that is left in a datagram.
            packet_bytes: the most bytes of a datagram.
            is_encoding: False for a simulation, which passes messages on as they are.
            proofs: the addresses that are proven; None where no sender can claim another's name.
            border: the nodes that can't be members; None where every node can be one.
            traffic: continue to count here.
        """
        self.me: str = me
        self.dropped: PacketCounts = PacketCounts()
        self.traffic: PacketTraffic = traffic or PacketTraffic()
        self.events: list[Any] = []
        self._cores = tuple(cores)
        # With one core its own method is enough, and faster; this is called after every packet.
        self.next_deadline: Callable[[], float] = (
            cores[0].next_deadline if len(cores) == 1 else functools.partial(_earliest, self._cores)
        )
        self._encoded: ProtocolMessage | None = None
        self._encoded_bytes = b""
        self._packet_bytes = packet_bytes
        self._is_encoding = is_encoding
        kinds = tuple(core.messages for core in cores)
        self._place_of = places(kinds)
        self._decode = decoder(kinds).decode
        self._proofs = proofs
        self._border = border
        self._head = head(me)
        self._room_bytes = packet_bytes - len(self._head) - ARRAY_HEAD_BYTES

    def on_timer(self, now: float) -> list[Packet]:
        """Run the timers that are due."""
        effects: list[Effect] = []
        for core in self._cores:
            if core.next_deadline() <= now:
                effects += core.on_timer(now)
        return self.packets(effects, now) if effects else []

    def receive_bytes(self, data: bytes, now: float, *, is_reliable: bool = False) -> list[Packet]:
        """Handle a packet from the network."""
        if not is_reliable and len(data) > self._packet_bytes:
            self.dropped.oversized += 1
            return []
        try:
            version, source, messages = self._decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            self.dropped.malformed += 1
            return []
        if version != VERSION or source == self.me or not source:
            self.dropped.malformed += 1
            return []
        _count_kinds(self.traffic.received, messages)
        if self._border is not None and self._border.separates(source):
            messages = self._beyond_border(self._border, source, messages)
            if not messages:
                return []
        proofs = self._proofs
        if (
            proofs is None
            or proofs.is_proven(source, now)
            or any(type(one) is Echo and proofs.accept_echo(source, one.token, now) for one in messages)
        ):
            return self.receive(source, messages, now)
        return self._receive_unproven(proofs, source, messages, now, len(data), is_reliable=is_reliable)

    def _beyond_border(self, border: Border, source: str, messages: list[Any]) -> list[Any]:
        """Return the messages that are accepted from `source`, beyond the border; report it if there are others."""
        accepted = [one for one in messages if type(one) not in border.kinds]
        if len(accepted) < len(messages):
            self.dropped.refused += len(messages) - len(accepted)
            self.events.append(SenderRefused(source))
        return accepted

    def receive(self, source: str, messages: Iterable[Any], now: float) -> list[Packet]:
        """Handle the messages of a packet from an address that is proven, or needs no proof."""
        effects = self._effects(source, messages, now)
        return self.packets(effects, now) if effects else []

    def _effects(self, source: str, messages: Iterable[Any], now: float) -> list[Effect]:
        effects: list[Effect] = []
        challenge: Challenge | None = None
        for message in messages:
            place = self._place_of.get(type(message))
            if place is not None:
                effects += self._cores[place].receive(source, message, now)
            elif type(message) is Challenge:
                challenge = message
            elif type(message) is not Echo:
                self.dropped.unknown += 1
        if challenge is not None and self._proofs is not None:
            effects += self._answer_challenge(self._proofs, source, challenge, now)
        return effects

    def _answer_challenge(self, proofs: Proofs, source: str, challenge: Challenge, now: float) -> list[Effect]:
        """Record that an echo is owed. If `source` refused a message, repeat the requests now, with the echo."""
        proofs.note_challenge(source, challenge.token)
        if not challenge.is_refused:
            return []
        again = [effect for core in self._cores for effect in core.repeat(source, now)]
        if not any(type(one) is Send and one.to == source for one in again):
            del proofs.owed[source]
            again.append(Send(source, Echo(challenge.token)))
        return again

    def _receive_unproven(
        self, proofs: Proofs, source: str, messages: Sequence[Any], now: float, size: int, *, is_reliable: bool
    ) -> list[Packet]:
        """Handle the messages that need no proof; answer within the credit of `source`."""
        credit = proofs.add_credit(source, size)
        if is_reliable and proofs.reach.heard(source, now):
            self.events.append(SenderUnreachable(source))
        is_known = any(core.knows(source) for core in self._cores)
        most = Proof.UNLESS_KNOWN if is_known else Proof.NEVER
        accepted = [one for one in messages if type(one) not in self._place_of or one.needs_proof <= most]
        refused = len(messages) - len(accepted)
        self.dropped.refused += refused
        effects = self._effects(source, accepted, now)
        answers = [one for one in effects if type(one) is Send and one.to == source]
        found = self.packets([one for one in effects if type(one) is not Send or one.to != source], now)
        if answers or refused:
            may_connect = is_reliable and (is_known or credit > _CONNECTION_BYTES + _LEAST_BYTES)
            self._add_answers(proofs, found, source, answers, is_refused=refused > 0, may_connect=may_connect)
        return found

    def _add_answers(
        self,
        proofs: Proofs,
        found: list[Packet],
        to: str,
        answers: Sequence[Send],
        *,
        is_refused: bool,
        may_connect: bool,
    ) -> None:
        """Add one packet for `to`, which is unproven: the answers within its credit, and a challenge."""
        is_reliable = may_connect and (is_refused or any(one.is_reliable for one in answers))
        connection_bytes = _CONNECTION_BYTES if is_reliable else 0
        owed = (Echo(proofs.owed[to]),) if to in proofs.owed else ()
        echo = b"".join(map(_encoder.encode, owed))
        room = min(proofs.credit(to), self._packet_bytes) - len(self._head) - ARRAY_HEAD_BYTES - _TOKEN_BYTES
        room -= len(echo) + connection_bytes
        if room < 0:
            self.dropped.refused += len(answers)
            return
        held: list[ProtocolMessage] = []
        body = b""
        for one in answers:
            message = one.message
            if message.least_bytes() <= room and len(part := one.encoded or _encoder.encode(message)) <= room:
                held.append(message)
                body += part
                room -= len(part)
            else:
                self.dropped.refused += 1
                is_refused = True
        challenge = Challenge(proofs.token(to), is_refused)
        body = echo + _encoder.encode(challenge) + body
        packet = self._packet(to, (*owed, challenge, *held), body, is_reliable=is_reliable)
        proofs.spend(to, len(packet.encoded) + connection_bytes)
        found.append(msgspec.structs.replace(packet, is_datagram=not may_connect))
        proofs.owed.pop(to, None)

    def _affordable(self, proofs: Proofs, effects: Iterable[Effect], now: float) -> list[Effect]:
        """Return `effects` without the answers to unproven addresses whose credit is used up."""
        found: list[Effect] = []
        for effect in effects:
            if type(effect) is Send and effect.message.is_answer and not proofs.is_proven(effect.to, now):
                size = (
                    len(self._head)
                    + ARRAY_HEAD_BYTES
                    + _TOKEN_BYTES
                    + len(effect.encoded or _encoder.encode(effect.message))
                )
                if effect.is_reliable or not proofs.spend(effect.to, size):
                    self.dropped.refused += 1
                    continue
            found.append(effect)
        return found

    def unreachable(self, to: str, now: float) -> list[Packet]:
        """Handle the loss of a reliable packet to `to`."""
        return self.packets([effect for core in self._cores for effect in core.unreachable(to, now)], now)

    def not_connected(self, to: str, begun_at: float) -> None:
        """Handle a connection to `to`, begun at `begun_at`, that could not be made."""
        if self._proofs is not None:
            self._proofs.reach.failed(to, begun_at)

    def pop_events(self) -> list[Any]:
        """Return and clear the events."""
        events, self.events = self.events, []
        return events

    def packets(self, effects: Iterable[Effect], now: float) -> list[Packet]:
        """Return the packets that `effects` send; add the events to `events`."""
        proofs = self._proofs
        if proofs is not None:
            effects = self._affordable(proofs, effects, now)
        found: list[Packet] = []
        one = effects[0] if type(effects) is list and len(effects) == 1 else None  # at rest it is always one
        if type(one) is Send and not one.is_reliable:
            self._add_datagrams(found, one.to, (one.message,), now)
        else:
            by_target, reliably = sorted_by_target(effects, self.events)
            for to, messages in by_target.items():
                self._add_datagrams(found, to, messages, now)
            for to, sends in reliably.items():
                self._add_reliable(found, to, sends, now)
        if proofs is not None and proofs.owed:
            for packet in found:
                proofs.owed.pop(packet.to, None)
        return found

    def _tokens(self, proofs: Proofs, to: str, now: float) -> tuple[tuple[ProtocolMessage, ...], bytes, bool]:
        """Return an owed echo and a challenge for a packet to `to`, also encoded, and whether `to` is proven."""
        is_proven = proofs.is_proven(to, now)
        tokens: tuple[ProtocolMessage, ...] = (Echo(proofs.owed[to]),) if to in proofs.owed else ()
        if not is_proven:
            tokens += (Challenge(proofs.token(to)),)
        return tokens, b"".join(map(_encoder.encode, tokens)) if tokens else b"", is_proven

    def _add_datagrams(self, found: list[Packet], to: str, messages: Iterable[ProtocolMessage], now: float) -> None:
        """Add datagrams with `messages` to `found`; piggybacked messages fill the last one."""
        proofs = self._proofs
        tokens, token_bytes, is_proven = ((), b"", True) if proofs is None else self._tokens(proofs, to, now)
        held: tuple[ProtocolMessage, ...] = ()
        body = b""
        whole_room = room = self._room_bytes - len(token_bytes)
        for message in messages:
            if message is not self._encoded:  # the same message often goes to several nodes in a row
                self._encoded, self._encoded_bytes = message, _encoder.encode(message)
            part = self._encoded_bytes
            size = len(part)
            if size > room:
                if held:
                    found.append(self._packet(to, tokens + held, token_bytes + body))
                    held, body, room = (), b"", whole_room
                if size > room:  # too long for any datagram
                    found.append(self._packet(to, (*tokens, message), token_bytes + part, is_reliable=True))
                    continue
            held += (message,)
            body += part
            room -= size
        if held:
            if is_proven or held[0].is_filled:
                for core in self._cores:
                    for message in core.piggyback(to, room, now):
                        part = _encoder.encode(message)
                        held += (message,)
                        body += part
                        room -= len(part)
                assert room >= 0
            found.append(self._packet(to, tokens + held, token_bytes + body))

    def _add_reliable(self, found: list[Packet], to: str, sends: Iterable[Send], now: float) -> None:
        """Add packets with the messages of `sends` to `found`, in order; one over the limit holds a single message."""
        tokens, token_bytes, _ = ((), b"", True) if self._proofs is None else self._tokens(self._proofs, to, now)
        held: list[ProtocolMessage] = []
        parts: list[bytes] = []
        room = RELIABLE_BYTES
        for send in sends:
            part = send.encoded or _encoder.encode(send.message)
            if len(part) > room and held:
                found.append(self._packet(to, (*tokens, *held), token_bytes + b"".join(parts), is_reliable=True))
                held, parts, room = [], [], RELIABLE_BYTES
            held.append(send.message)
            parts.append(part)
            room -= len(part)
        found.append(self._packet(to, (*tokens, *held), token_bytes + b"".join(parts), is_reliable=True))

    def _packet(
        self, to: str, messages: tuple[ProtocolMessage, ...], body: bytes, *, is_reliable: bool = False
    ) -> Packet:
        sent = self.traffic.sent
        for message in messages:  # as `_count_kinds`, without the call
            kind = type(message)
            sent[kind] = sent.get(kind, 0) + 1
        encoded = b"".join((self._head, array_head(len(messages)), body)) if self._is_encoding else b""
        return Packet(to, messages, encoded, is_reliable)

    def packet_size(self, packet: Packet) -> int:
        """Return the size of `packet` in bytes, encoded or not."""
        parts = sum(len(_encoder.encode(message)) for message in packet.messages)
        return len(self._head) + len(array_head(len(packet.messages))) + parts


def _count_kinds(counts: dict[type, int], messages: Iterable[object]) -> None:
    for message in messages:
        kind = type(message)
        counts[kind] = counts.get(kind, 0) + 1


def _earliest(cores: tuple[Core, ...]) -> float:
    found = math.inf
    for core in cores:
        due = core.next_deadline()
        if due < found:  # noqa: PLR1730 - twice as fast as min(), and called after every packet
            found = due
    return found
