"""Runs a node's protocols: sends and receives their packets, wakes them in time, and passes on their events.

Packets are sent as datagrams. A packet that is too long for one, must not be lost, or can't be sent that way is sent as
a call of the other node's ``membership/packet``, by the transport of all calls.

Invariants: the protocols run one at a time, and never wait; no packet that is received raises; the number of packets
being sent by call, and of their bytes, is bounded, and packets beyond that are lost, as datagrams are.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.errors import KeyMismatch, MalformedRequest, NodeUnreachable, TrionetError
from trionet.histograms import count_s, new_histogram
from trionet.identity import NodeAddress
from trionet.log_limits import about, limited_log
from trionet.message import PACKET
from trionet.nesting import PACKETS
from trionet.virtual_time import is_time_virtual

from .packet_answer import PacketAnswer, answer_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trionet.protocols.effects import Effect
    from trionet.protocols.mux import Packet, ProtocolMux
    from trionet.transports.clock import Clock
    from trionet.transports.datagrams import Datagrams

    from .comm import Comm

__all__ = ["PacketMismatch", "ProtocolDriver", "address_of"]

_log = limited_log(__name__)

_MOST_CALLS: Final = 512
_MOST_BYTES: Final = 64 * 1024 * 1024
_CALL_S: Final = 10.0
_MUCH_LATER_S: Final = 0.02
_LATE_S: Final = 1.0
"""A loop that runs a timer so late is reported."""


class PacketMismatch(msgspec.Struct, frozen=True):
    """A packet was not sent, because its receiver has another cluster key or cluster name.

    Attributes:
        to: the receiver's name.
        error: tells which.
    """

    to: str
    error: KeyMismatch


class ProtocolDriver:
    """Drives one `ProtocolMux`.

    Attributes:
        mux: the protocols.
        now: returns the protocols' time.
        lost: packets that were not sent, because too many were being sent by call.
        sent, received, sent_bytes, received_bytes: the datagrams so far.
        by_call: the packets sent by call so far.
        lag: how late its timers have run; see `trionet.histograms`.
    """

    def __init__(
        self,
        mux: ProtocolMux,
        comm: Comm,
        datagrams: Datagrams | None,
        clock: Clock,
        nursery: trio.Nursery,
        on_events: Callable[[list[Any]], None],
    ) -> None:
        """Drive `mux` from now on, with tasks in `nursery`; pass its events to `on_events`."""
        self.mux = mux
        self.now: Callable[[], float] = clock.now
        self.lost: int = 0
        self.sent: int = 0
        self.received: int = 0
        self.sent_bytes: int = 0
        self.received_bytes: int = 0
        self.by_call: int = 0
        self.lag: list[int] = new_histogram()
        self._comm = comm
        self._datagrams = datagrams
        self._clock = clock
        self._nursery = nursery
        self._on_events = on_events
        self._is_closed = False
        self._calls = self._bytes = 0
        self._due = self.mux.next_deadline()
        self._arm()

    def close(self) -> None:
        """Receive nothing more, and start no more tasks; datagrams can still be sent."""
        self._is_closed = True
        self._armed = math.inf
        self._clock.wake_at(math.inf, self._wake)

    def _arm(self) -> None:
        self._armed = self._due
        self._clock.wake_at(self._due, self._wake)

    def _wake(self) -> None:
        self._armed = math.inf
        if self._is_closed:
            return
        now = self.now()
        if self._due <= now:
            count_s(self.lag, now - self._due)
            if now - self._due >= _LATE_S:
                self._report_lag(now - self._due)
            if not self._carry_out(self.mux.on_timer(now)):
                self._on_events([])  # for what waits for a batch's end
        else:
            self._arm()

    def receive(self, data: bytes, *, is_reliable: bool = True) -> list[Any]:
        """Handle a packet that came by a call, or else as a datagram; return the events that it caused."""
        if self._is_closed:
            return []
        if not is_reliable:
            self.received += 1
            self.received_bytes += len(data)
        return self._carry_out(self.mux.receive_bytes(data, self.now(), is_reliable=is_reliable))

    def _report_lag(self, lag_s: float) -> None:
        if not is_time_virtual():  # there it is a fault on purpose
            _log.warning(
                "node %s: the event loop was late by %.1f s, because code blocked it, or this process or machine was "
                "stopped or busy; other nodes may have suspected this one meanwhile",
                self._comm.own,
                lag_s,
                extra=about(self._comm.own, node=self._comm.own, lag_s=round(lag_s, 3)),
            )

    def act(self, effects: Iterable[Effect]) -> None:
        """Carry out the effects of a protocol."""
        self._carry_out(self.mux.packets(effects, self.now()))

    def unreachable(self, to: str) -> None:
        """Handle the loss of a packet that was to be sent reliably."""
        self._carry_out(self.mux.unreachable(to, self.now()))

    def _carry_out(self, packets: list[Packet]) -> list[Any]:
        """Send `packets`, and handle the events that came with them; return these."""
        for packet in packets:
            self.send(packet)
        handled: list[Any] = []
        while self.mux.events:
            events = self.mux.pop_events()
            handled += events
            self._on_events(events)
        self._due = self.mux.next_deadline()
        # A slightly later deadline costs nothing until the next wake-up, which costs more than to set a much later one.
        if not self._armed <= self._due <= self._armed + _MUCH_LATER_S and not self._is_closed:
            self._arm()
        return handled

    def send(self, packet: Packet) -> None:
        """Send a packet by datagram, or else by a call."""
        node = address_of(packet.to)
        if node is None:
            return
        if packet.is_reliable or self._datagrams is None or not self._datagrams.send_nowait(node, packet.encoded):
            if packet.is_datagram:
                return
            size = len(packet.encoded)
            is_full = self._calls >= _MOST_CALLS or (self._bytes and self._bytes + size > _MOST_BYTES)
            if self._is_closed or is_full:
                self.lost += 1
            else:
                self.by_call += 1
                self._calls += 1
                self._bytes += size
                self._nursery.start_soon(self._send_by_call, node, packet)
        else:
            self.sent += 1
            self.sent_bytes += len(packet.encoded)

    async def _send_by_call(self, node: NodeAddress, packet: Packet) -> None:
        begun_at = self.now()
        try:
            with trio.fail_after(_CALL_S):
                await self.call(node, packet)
        except (TrionetError, trio.TooSlowError) as exc:
            _log.debug("a packet for %s did not arrive: %s", node, exc)
            if isinstance(exc, NodeUnreachable | trio.TooSlowError):
                self.mux.not_connected(packet.to, begun_at)
            if isinstance(exc, KeyMismatch):
                self._on_events([PacketMismatch(packet.to, exc)])
            if packet.is_reliable:
                self.unreachable(packet.to)
        finally:
            self._calls -= 1
            self._bytes -= len(packet.encoded)

    async def call(self, node: NodeAddress, packet: Packet) -> PacketAnswer:
        """Send a packet by a call; return the answer, which is an event, too, unless it is empty.

        Raises:
            TrionetError: the packet may not have arrived.
        """
        value = await self._comm.call_unrecorded(
            node, self._comm.prepare([packet.encoded], {}, PACKET, depth=PACKETS, is_own=True)
        )
        answer = answer_from(node, value)
        if value is not None:
            self._on_events([answer])
        return answer


@functools.lru_cache(maxsize=16_384)
def address_of(name: str) -> NodeAddress | None:
    """Return the address of the node with this name in the protocols; None if there can be none.

    A node has one name only: a statement under another name would count as one about that node, too.
    """
    try:
        address = NodeAddress.of(name)
    except MalformedRequest:
        return None
    return address if address.port and str(address) == name else None
