"""One direction of a connection on a memory fabric: a reliable stream of bytes, in order.

Invariants: bytes never overtake earlier ones. A dropped message is retransmitted with exponential back-off, and later
messages wait behind it; after `GIVE_UP_S` the connection is dead. The bytes in flight are bounded like those in a
socket's buffers, if the link respects `has_room`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from .rules import DROP

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.identity import NodeAddress

    from .carrier import Carrier
    from .host import Host
    from .rules import StreamMessage

__all__ = ["GIVE_UP_S", "Lane"]

GIVE_UP_S: Final = 120.0
_AGAIN_S: Final = 0.2
_CONNECT_AGAIN_S: Final = 1.0
"""The minimum and the initial retransmission time-out. Source: RFC 6298."""

_BUFFER_BYTES: Final = 256 * 1024
_PACKET_BYTES: Final = 1_400
"""Longer writes are split in two, at a random offset, as networks split them."""


class Lane:
    """Sends the bytes of one side of one connection.

    Attributes:
        has_room: whether the buffers have room.
        on_dead: called with a reason when retransmission has failed for good.
        on_room: called when there is room again.
    """

    def __init__(self, carrier: Carrier[Any], source: Host, target: NodeAddress, link: int) -> None:
        self.has_room: bool = True
        self.on_dead: Callable[[str], None] | None = None
        self.on_room: Callable[[], None] | None = None
        self._carrier = carrier
        self._source = source
        self._target = target
        self._random = source.random_to[target]
        self._link = link
        self._latest = 0.0
        self._kept: deque[tuple[str, bytes]] = deque()  # bytes that a held host has postponed
        self._keeps = 0  # pending calls of `_send_kept`
        self._waiting: deque[StreamMessage] = deque()
        self._in_flight_bytes = 0
        self._again_s = 0.0
        self._is_dead = False

    def acknowledge(self, size: int) -> None:
        """Handle the receipt of `size` bytes."""
        self._in_flight_bytes -= size
        if not self.has_room and self._in_flight_bytes < _BUFFER_BYTES:
            self.has_room = True
            if self.on_room is not None:
                self._source.admit(self.on_room)

    def send(self, kind: str, data: bytes) -> None:
        """Send bytes in order."""
        if self._is_dead:
            return
        size = len(data)
        self._in_flight_bytes += size
        if self._in_flight_bytes >= _BUFFER_BYTES:
            self.has_room = False
        if size <= _PACKET_BYTES and not (self._keeps or self._source.is_mute):
            self._send_now(kind, data)
        elif size <= _PACKET_BYTES:
            self._send(kind, data)
        else:
            cut = 1 + int(self._random.random() * (size - 1))
            self._send(kind, data[:cut])
            self._send(kind, data[cut:])

    def _send(self, kind: str, data: bytes) -> None:
        if self._source.is_mute:
            self._kept.append((kind, data))
            self._keeps += 1
            self._source.keep(self._send_kept)
        elif self._keeps and kind != "reset":  # after the postponed bytes
            self._kept.append((kind, data))
        else:
            self._send_now(kind, data)

    def _send_kept(self) -> None:
        """Send the next postponed bytes; after the last call, all bytes behind them."""
        self._keeps -= 1
        self._send_now(*self._kept.popleft())
        while self._kept and not self._keeps:
            self._send_now(*self._kept.popleft())

    def _send_now(self, kind: str, data: bytes) -> None:
        carrier, source = self._carrier, self._source
        now = carrier.pump.time()
        message = carrier.new_message(source.address, self._target, kind, data, now, self._link, self)
        if self._waiting or not self._try(message, now):
            self._waiting.append(message)
            if len(self._waiting) == 1:
                self._again_s = _CONNECT_AGAIN_S if kind == "connect" else _AGAIN_S
                carrier.pump.at(now + self._again_s, self._try_again)

    def _try(self, message: StreamMessage, now: float) -> bool:
        carrier = self._carrier
        verdict = carrier.judge(message, self._random)
        if verdict == DROP:
            carrier.note_drop(message, now)
            return False
        self._latest = when = max(self._latest, now + verdict)
        if message.kind == "reset" and when <= now and not carrier.pump.is_due(now):
            carrier.arrive(message)  # at once, as an operating system does
        else:
            carrier.pump.at(when, carrier.arrive, message)
        return True

    def _try_again(self) -> None:
        now = self._carrier.pump.time()
        while self._waiting and self._try(self._waiting[0], now):
            self._waiting.popleft()
            self._again_s = _AGAIN_S / 2  # a success resets the back-off
        if not self._waiting:
            return
        if now - self._waiting[0].sent_at > GIVE_UP_S:
            self._is_dead = True
            self._waiting.clear()
            if self.on_dead is not None:
                self.on_dead("the bytes sent were never acknowledged")
            return
        self._again_s *= 2
        self._carrier.pump.at(now + self._again_s, self._try_again)
