"""The protocols of one node, on one plane of packets.

A packet is what one node says to another at one time: the messages of all its protocols for that node, and what may
ride along. Invariants: a datagram is never over `packet_bytes`; what a protocol sends at once is in one packet, or as
few as can be, in the order in which it was sent; what can't be read is dropped whole and counted, and nothing that
comes in raises. With `proofs`, answers to an address that hasn't shown that it is there are at most 3 times the
question, and go by a connection only where the question came by one.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .effects import Core, Notify, Proof, ProtocolMessage, Send
from .packets import ARRAY_HEAD_BYTES, VERSION, Packet, PacketCounts, array_head, decoder, head, places
from .proofs import Challenge, Echo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .effects import Effect
    from .proofs import Proofs

__all__ = ["DATAGRAM_BYTES", "RELIABLE_BYTES", "Packet", "PacketCounts", "ProtocolMux"]

DATAGRAM_BYTES: Final = 1400
"""What a datagram may be: an Ethernet frame less headers, those of a tunnel included."""

RELIABLE_BYTES: Final = 63 * 1024
"""What the messages of a packet that goes by a connection may have together: with its head it is under 64 KiB."""

_encoder = msgspec.msgpack.Encoder()
_CONNECTION_BYTES: Final = 200
"""What a connection costs before it carries anything."""

_TOKEN_BYTES: Final = 16
"""A `Challenge`, at most."""

_LEAST_BYTES: Final = 64
"""What a packet with a challenge alone has, about."""


class ProtocolMux:
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
        "_echoed",
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
    )

    def __init__(
        self,
        me: str,
        cores: Sequence[Core],
        *,
        packet_bytes: int = DATAGRAM_BYTES,
        is_encoding: bool = True,
        proofs: Proofs | None = None,
    ) -> None:
        """Put `cores` on one plane.

        Args:
            me: this node's name.
            cores: in the order in which they may fill what room a datagram has.
            packet_bytes: the most that a datagram may have.
            is_encoding: False for a simulation that hands on messages as they are.
            proofs: which addresses are proven; None where nobody can write another's name into a packet.
        """
        self.me: str = me
        self.dropped: PacketCounts = PacketCounts()
        self.events: list[Any] = []
        self._cores = tuple(cores)
        # With one core, asking it is all there is to do; this is called after every packet.
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
        self._echoed: list[str] = []
        self._head = head(me)
        self._room_bytes = packet_bytes - len(self._head) - ARRAY_HEAD_BYTES

    def on_timer(self, now: float) -> list[Packet]:
        """Do what is due."""
        effects: list[Effect] = []
        for core in self._cores:
            if core.next_deadline() <= now:
                effects += core.on_timer(now)
        return self.packets(self._affordable(effects, now), now)

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
        if version != VERSION or source == self.me or not source:
            self.dropped.malformed += 1
            return []
        proofs = self._proofs
        if proofs is None or proofs.is_proven(source, now) or self._is_echo(source, messages, now):
            return self.receive(source, messages, now)
        return self._receive_unproven(source, messages, now, len(data), is_reliable=is_reliable)

    def receive(self, source: str, messages: Iterable[Any], now: float) -> list[Packet]:
        """Take the messages of one packet from an address that is proven, or needs no proof."""
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
        if challenge is not None:
            effects += self._take_challenge(source, challenge, now)
        return self.packets(self._affordable(effects, now), now) if effects else []

    def _take_challenge(self, source: str, challenge: Challenge, now: float) -> list[Effect]:
        """Owe an echo; where something was refused for want of it, ask again, and with that comes the echo."""
        if self._proofs is None:
            return []
        self._proofs.take_challenge(source, challenge.token)
        if not challenge.is_refused:
            return []
        again = [effect for core in self._cores for effect in core.repeat(source, now)]
        if not any(type(one) is Send and one.to == source for one in again):
            del self._proofs.owed[source]
            again.append(Send(source, Echo(challenge.token)))
        return again

    def _is_echo(self, source: str, messages: Iterable[Any], now: float) -> bool:
        """Return whether one of `messages` proves that `source` is there."""
        proofs = self._proofs
        assert proofs is not None
        return any(type(one) is Echo and proofs.take_echo(source, one.token, now) for one in messages)

    def _receive_unproven(
        self, source: str, messages: Iterable[Any], now: float, size: int, *, is_reliable: bool
    ) -> list[Packet]:
        """Take the messages of one packet, and answer its sender with no more than may go there."""
        proofs = self._proofs
        assert proofs is not None
        credit = proofs.came(source, size)
        is_known = any(core.knows(source) for core in self._cores)
        most = Proof.STRANGER if is_known else Proof.NOBODY
        effects: list[Effect] = []
        challenge: Challenge | None = None
        refused = 0
        for message in messages:
            place = self._place_of.get(type(message))
            if type(message) is Challenge:
                challenge = message
            elif place is None:
                self.dropped.unknown += type(message) is not Echo
            elif message.needs_proof > most:
                refused += 1
            else:
                effects += self._cores[place].receive(source, message, now)
        if challenge is not None:
            effects += self._take_challenge(source, challenge, now)
        self.dropped.refused += refused
        answers = [one for one in effects if type(one) is Send and one.to == source]
        others = [one for one in effects if type(one) is not Send or one.to != source]
        found = self.packets(self._affordable(others, now), now)
        if answers or refused:
            may_connect = is_reliable and (is_known or credit > _CONNECTION_BYTES + _LEAST_BYTES)
            self._add_answers(found, source, answers, is_refused=refused > 0, may_connect=may_connect)
        return found

    def _add_answers(
        self, found: list[Packet], to: str, answers: Sequence[Send], *, is_refused: bool, may_connect: bool
    ) -> None:
        """Add one packet with what may go to `to`, which is unproven; and a challenge, so that the rest may."""
        proofs = self._proofs
        assert proofs is not None
        is_reliable = may_connect and (is_refused or any(one.is_reliable for one in answers))
        echo = self._echo(to)
        room = min(proofs.credit(to), self._packet_bytes) - len(self._head) - ARRAY_HEAD_BYTES - _TOKEN_BYTES
        room -= len(echo) + (_CONNECTION_BYTES if is_reliable else 0)
        if room < 0:
            self.dropped.refused += len(answers)
            return
        held: list[ProtocolMessage] = []
        body = b""
        for one in answers:
            message = one.message
            if message.least_bytes() <= room and len(part := _encoder.encode(message)) <= room:
                held.append(message)
                body += part
                room -= len(part)
            else:
                self.dropped.refused += 1
                is_refused = True
        challenge = Challenge(proofs.token(to), is_refused)
        tokens = (*((Echo(proofs.owed[to]),) if echo else ()), challenge)
        packet = self._packet(to, (*tokens, *held), echo + _encoder.encode(challenge) + body, is_reliable=is_reliable)
        proofs.spend(to, len(packet.encoded) + (_CONNECTION_BYTES if is_reliable else 0))
        found.append(msgspec.structs.replace(packet, is_datagram=not may_connect))
        proofs.owed.pop(to, None)

    def _echo(self, to: str) -> bytes:
        """Return the echo that `to` has a right to, encoded; nothing if there is none."""
        proofs = self._proofs
        token = None if proofs is None else proofs.owed.get(to)
        return b"" if token is None else _encoder.encode(Echo(token))

    def _affordable(self, effects: list[Effect], now: float) -> list[Effect]:
        """Return `effects` without the answers to addresses that have had what may go there."""
        proofs = self._proofs
        if proofs is None:
            return effects
        found: list[Effect] = []
        for effect in effects:
            if type(effect) is Send and effect.message.is_answer and not proofs.is_proven(effect.to, now):
                size = len(self._head) + ARRAY_HEAD_BYTES + _TOKEN_BYTES + len(_encoder.encode(effect.message))
                if effect.is_reliable or not proofs.spend(effect.to, size):
                    self.dropped.refused += 1
                    continue
            found.append(effect)
        return found

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
                self._pay()
                return found
        by_target: dict[str, list[ProtocolMessage]] = {}
        reliably: dict[str, list[ProtocolMessage]] = {}
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
            self._add_reliable(found, to, messages_to, now)
        self._pay()
        return found

    def _tokens(self, to: str, now: float) -> tuple[tuple[ProtocolMessage, ...], bytes, bool]:
        """Return what goes into each packet to `to`: an echo that is owed, a challenge; and whether it is proven."""
        proofs = self._proofs
        if proofs is None:
            return (), b"", True
        is_proven = proofs.is_proven(to, now)
        if is_proven and not proofs.owed:
            return (), b"", True
        tokens: tuple[ProtocolMessage, ...] = ()
        if to in proofs.owed:
            tokens += (Echo(proofs.owed[to]),)
            self._echoed.append(to)
        if not is_proven:
            tokens += (Challenge(proofs.token(to)),)
        return tokens, b"".join(map(_encoder.encode, tokens)), is_proven

    def _pay(self) -> None:
        """Owe no longer what has gone out."""
        if self._echoed:
            assert self._proofs is not None
            for to in self._echoed:
                self._proofs.owed.pop(to, None)
            self._echoed.clear()

    def _add_datagrams(self, found: list[Packet], to: str, messages: Iterable[ProtocolMessage], now: float) -> None:
        """Add datagrams with `messages` to `found`, the last one filled up with what may ride along."""
        tokens, token_bytes, is_proven = self._tokens(to, now)
        held: tuple[ProtocolMessage, ...] = ()
        body = b""
        whole_room = room = self._room_bytes - len(token_bytes)
        for message in messages:
            if message is not self._encoded:  # the same one often goes to several nodes, one after the other
                self._encoded, self._encoded_bytes = message, _encoder.encode(message)
            part = self._encoded_bytes
            if len(part) > room:
                if held:
                    found.append(self._packet(to, tokens + held, token_bytes + body, is_reliable=False))
                    held, body, room = (), b"", whole_room
                if len(part) > room:  # too long for any datagram
                    found.append(self._packet(to, (*tokens, message), token_bytes + part, is_reliable=True))
                    continue
            held += (message,)
            body += part
            room -= len(part)
        if held:
            for core in self._cores if is_proven or held[0].is_filled else ():
                for message in core.piggyback(to, room, now):
                    part = _encoder.encode(message)
                    held += (message,)
                    body += part
                    room -= len(part)
            assert room >= 0
            found.append(self._packet(to, tokens + held, token_bytes + body, is_reliable=False))

    def _add_reliable(self, found: list[Packet], to: str, messages: list[ProtocolMessage], now: float) -> None:
        """Add packets with `messages` to `found`, in order; one over the limit holds a single message."""
        tokens, token_bytes, _ = self._tokens(to, now)
        held: list[ProtocolMessage] = []
        parts: list[bytes] = []
        room = RELIABLE_BYTES
        for message in messages:
            part = _encoder.encode(message)
            if len(part) > room and held:
                found.append(self._packet(to, (*tokens, *held), token_bytes + b"".join(parts), is_reliable=True))
                held, parts, room = [], [], RELIABLE_BYTES
            held.append(message)
            parts.append(part)
            room -= len(part)
        found.append(self._packet(to, (*tokens, *held), token_bytes + b"".join(parts), is_reliable=True))

    def _packet(self, to: str, messages: tuple[ProtocolMessage, ...], body: bytes, *, is_reliable: bool) -> Packet:
        encoded = self._head + array_head(len(messages)) + body if self._is_encoding else b""
        return Packet(to, messages, encoded, is_reliable)

    def packet_size(self, packet: Packet) -> int:
        """Return how many bytes `packet` has, encoded or not."""
        parts = sum(len(_encoder.encode(message)) for message in packet.messages)
        return len(self._head) + len(array_head(len(packet.messages))) + parts


def _earliest(cores: tuple[Core, ...]) -> float:
    found = math.inf
    for core in cores:
        due = core.next_deadline()
        if due < found:  # noqa: PLR1730 - twice as fast as min(), and called after every packet
            found = due
    return found
