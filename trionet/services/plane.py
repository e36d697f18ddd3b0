"""Runs a node's protocols: carries their packets, wakes them in time, and hands on what they tell.

Packets go out as datagrams. What is too long for one, must not get lost, or can't go that way goes as a call to the
other node's ``membership/packet``, so that it takes whatever transport calls take.

Invariants: the cores run one at a time, and never wait; nothing that comes in raises; no more than a fixed number of
packets, and of their bytes, is on its way by call, and what comes on top of that is lost, as datagrams are.
"""

from __future__ import annotations

import functools
import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.errors import MalformedRequest, TrionetError
from trionet.identity import NodeAddress
from trionet.log_limits import limited_log
from trionet.message import PACKET
from trionet.nesting import PACKETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from trionet.protocols.effects import Effect
    from trionet.protocols.mux import Packet, ProtocolMux
    from trionet.transports.base import Clock
    from trionet.transports.datagrams import Datagrams

    from .comm import Comm

__all__ = ["Plane", "address_of"]

_log = limited_log(__name__)

_MOST_CALLS: Final = 512
_MOST_BYTES: Final = 64 * 1024 * 1024
_CALL_S: Final = 10.0


class Plane:
    """Drives one `ProtocolMux`.

    Attributes:
        stack: what it drives.
        now: tells the time by which the protocols go.
        lost: packets that were not sent, because too many were on their way by call.
    """

    def __init__(
        self,
        stack: ProtocolMux,
        comm: Comm,
        datagrams: Datagrams | None,
        on_event: Callable[[Any], None],
        clock: Clock | None = None,
        gathered: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Drive `stack`; what it tells at one time goes to `on_event` within one block of ``gathered()``."""
        self._gathered = gathered
        self.stack = stack
        self.now: Callable[[], float] = trio.current_time if clock is None else clock.now
        self._clock = clock
        self._due = self._armed = math.inf
        self.lost: int = 0
        self._comm = comm
        self._datagrams = datagrams
        self._on_event = on_event
        self._nursery: trio.Nursery | None = None
        self._sleep = trio.CancelScope()
        self._calls = self._bytes = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the protocols, and receive what comes for them, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self.attach(nursery)
                task_status.started()
                if self._datagrams is not None:
                    await self._receive(self._datagrams)
        finally:
            self.detach()

    def attach(self, nursery: trio.Nursery) -> None:
        """Run the protocols in `nursery`; whoever does this receives, and calls `take_packet`."""
        self._nursery = nursery
        if self._clock is None:
            nursery.start_soon(self._keep_time)
        else:
            self._due = self.stack.next_deadline()
            self._arm(self._clock)

    def detach(self) -> None:
        """Start nothing more."""
        self._nursery = None
        if self._clock is not None:
            self._armed = math.inf
            self._clock.wake_at(math.inf, self._wake)

    async def _keep_time(self) -> None:
        while True:
            with trio.CancelScope(deadline=self.stack.next_deadline()) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            if self.stack.next_deadline() <= now:
                self._carry_out(self.stack.on_timer(now))

    def _arm(self, clock: Clock) -> None:
        self._armed = self._due
        clock.wake_at(self._due, self._wake)

    def _wake(self) -> None:
        """The clock, where that is another than Trio's, has come to when the protocols wanted to be woken."""
        self._armed = math.inf
        if self._nursery is None:
            return
        now = self.now()
        if self._due <= now:
            self._carry_out(self.stack.on_timer(now))
        elif self._clock is not None:
            self._arm(self._clock)

    async def _receive(self, datagrams: Datagrams) -> None:
        while True:
            try:
                data = await datagrams.receive()
            except trio.ClosedResourceError:
                return
            self.take_packet(data, is_reliable=False)

    def take_packet(self, data: bytes, *, is_reliable: bool = True) -> None:
        """Take a packet that came by a call, or else as a datagram."""
        if self._nursery is not None:
            self._carry_out(self.stack.receive_bytes(data, self.now(), is_reliable=is_reliable))

    def act(self, effects: Iterable[Effect]) -> None:
        """Do what a core wants done."""
        self._carry_out(self.stack.packets(effects, self.now()))

    def unreachable(self, to: str) -> None:
        """What was to go to a node for sure did not arrive."""
        self._carry_out(self.stack.unreachable(to, self.now()))

    def _carry_out(self, packets: list[Packet]) -> None:
        for packet in packets:
            self.send(packet)
        if self.stack.events:
            with self._gathered():
                while self.stack.events:
                    for event in self.stack.take_events():
                        self._on_event(event)
        self._due = due = self.stack.next_deadline()
        if self._clock is None:
            if due < self._sleep.deadline:  # noqa: PLR1730  setting it costs even where it changes nothing
                self._sleep.deadline = due
        elif due < self._armed and self._nursery is not None:  # being due later costs nothing until it is woken
            self._arm(self._clock)

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
            if self._nursery is None or is_full:
                self.lost += 1
            else:
                self._calls += 1
                self._bytes += size
                self._nursery.start_soon(self._send_by_call, node, packet)

    async def _send_by_call(self, node: NodeAddress, packet: Packet) -> None:
        try:
            with trio.move_on_after(_CALL_S) as scope:
                await self.call(node, packet)
            if scope.cancelled_caught:
                raise trio.TooSlowError
        except (TrionetError, trio.TooSlowError) as exc:
            _log.debug("a packet for %s did not arrive: %s", node, exc)
            if packet.is_reliable:
                self.unreachable(packet.to)
        finally:
            self._calls -= 1
            self._bytes -= len(packet.encoded)

    async def call(self, node: NodeAddress, packet: Packet) -> None:
        """Send a packet by a call, and wait until it has been taken.

        Raises:
            TrionetError: it may not have been.
        """
        await self._comm.call(node, self._comm.prepare([packet.encoded], {}, PACKET, depth=PACKETS))


@functools.lru_cache(maxsize=16_384)
def address_of(name: str) -> NodeAddress | None:
    """Return the address of the node that the protocols call `name`; None if it is none.

    A node has one name only, or what somebody says about another one would be taken for a statement about it.
    """
    try:
        address = NodeAddress.of(name)
    except MalformedRequest:
        return None
    return address if address.port and str(address) == name else None
