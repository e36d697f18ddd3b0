"""A cluster of protocol cores on a heap of events: no sockets, no event loop, thousands of members.

Invariants: the same seed gives the same run, in every process; time never decreases; events at the same time are
handled in the order in which they were scheduled.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from .latencies import exponential

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.protocols.mux import Packet, ProtocolMux

    from .latencies import Latency

__all__ = ["HeapCluster", "HeapMember"]


@dataclass(slots=True, eq=False)
class HeapMember:
    """A simulated node.

    Attributes:
        name: its address.
        mux: its protocols.
        is_up: whether it runs; a crashed member neither receives nor sends.
        paused_until: the end of its pause; packets that arrive before wait in its inbox.
        skew_s: how far its clock is ahead of the simulation's.
        received: the number of received packets.
    """

    name: str
    mux: ProtocolMux
    skew_s: float
    is_up: bool = True
    paused_until: float = -math.inf
    wake_at: float = math.inf
    inbox: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    received: int = 0


class HeapCluster:
    """Drives protocols in virtual time.

    Attributes:
        now: virtual time in seconds.
        members: all members ever added, by name.
        loss: the chance that a datagram is lost, at least 0 and less than 1.
        latency: returns one-way latencies in seconds; default: exponential with a mean of 10 ms.
        is_cut: whether no packet passes from one member to another; None for no cut.
        on_event: called with each event of each member: its time, the member's name, and the event.
        sent, sent_bytes: the number of sent packets, and their bytes if measured.
    """

    def __init__(
        self,
        seed: int,
        *,
        latency: Latency | None = None,
        loss: float = 0.0,
        is_measuring_bytes: bool = False,
    ) -> None:
        self.now: float = 0.0
        self.members: dict[str, HeapMember] = {}
        self.loss = loss
        self.latency: Latency = exponential(0.01) if latency is None else latency
        self.is_cut: Callable[[str, str], bool] | None = None
        self.on_event: Callable[[float, str, Any], None] | None = None
        self.sent: int = 0
        self.sent_bytes: int = 0
        self._is_measuring_bytes = is_measuring_bytes
        self._seed = seed
        self._random = Random(f"{seed} network")
        # Time, a count that breaks ties, a function of two arguments, and these.
        self._heap: list[tuple[float, int, Callable[[Any, Any], None], Any, Any]] = []
        self._count = 0
        self._fire_it = self._fire  # bound once, not for each event
        self._arrive_it = self._arrive

    @property
    def received(self) -> int:
        """The number of packets that all members have received."""
        return sum(member.received for member in self.members.values())

    def random_for(self, name: str) -> Random:
        """Return the random number generator of a member."""
        return Random(f"{self._seed} {name}")

    def at(self, time: float, action: Callable[..., None], *args: Any) -> None:
        """Schedule ``action(*args)`` at `time`."""
        self._push(max(time, self.now), _call, action, args)

    def add(self, name: str, mux: ProtocolMux, *, skew_s: float = 0.0) -> HeapMember:
        """Add a member, or replace the one of this name; packets in transit to that one arrive at the new one."""
        previous = self.members.get(name)
        if previous is not None:
            previous.is_up = False
        member = self.members[name] = HeapMember(name, mux, skew_s)
        self._carry_out(member, [])
        return member

    def act(self, name: str, action: Callable[[ProtocolMux, float], list[Packet]]) -> None:
        """Run `action` with the protocols and the time of a member; send the packets that it returns."""
        member = self.members[name]
        self._carry_out(member, action(member.mux, self.now + member.skew_s))

    def crash(self, name: str) -> None:
        """Crash a member."""
        self.members[name].is_up = False

    def pause(self, name: str, duration_s: float) -> None:
        """Pause a member."""
        member = self.members[name]
        member.paused_until = self.now + duration_s
        self.at(member.paused_until, self._resume, member)

    def run(self, until: float, *, while_: Callable[[], bool] | None = None) -> None:
        """Run until the time `until`, or until `while_` returns False."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until:
            self.now, _, action, one, other = pop(heap)
            action(one, other)
            if while_ is not None and not while_():
                return
        self.now = until

    def _push(self, time: float, action: Callable[[Any, Any], None], one: Any, other: Any) -> None:
        self._count += 1
        heapq.heappush(self._heap, (time, self._count, action, one, other))

    def _resume(self, member: HeapMember) -> None:
        if member.is_up and self.now >= member.paused_until:
            # As an event loop does after a stall: first the timers, then the packets in the socket.
            self._fire(member, member.wake_at)
            waiting, member.inbox = member.inbox, []
            for source, messages in waiting:
                self._carry_out(member, member.mux.receive(source, messages, self.now + member.skew_s))

    def _fire(self, member: HeapMember, planned: float) -> None:
        if planned != member.wake_at or not member.is_up or self.now < member.paused_until:
            return
        member.wake_at = math.inf
        self._carry_out(member, member.mux.on_timer(self.now + member.skew_s))

    def _carry_out(self, member: HeapMember, packets: list[Packet]) -> None:
        for packet in packets:
            self._send(member, packet)
        mux = member.mux
        if mux.events:
            for event in mux.pop_events():
                if self.on_event is not None:
                    self.on_event(self.now, member.name, event)
        due = mux.next_deadline() - member.skew_s
        if due != member.wake_at:  # a timer planned before is ignored by `_fire`
            member.wake_at = due
            if due < math.inf:
                self._count += 1  # as in `_push`, without the call
                heapq.heappush(
                    self._heap, (due if due > self.now else self.now, self._count, self._fire_it, member, due)
                )

    def _send(self, member: HeapMember, packet: Packet) -> None:
        self.sent += 1
        if self._is_measuring_bytes:
            self.sent_bytes += member.mux.packet_size(packet)
        delay = self.latency(self._random)
        if packet.is_reliable:
            delay += self._connecting_s()
        elif self.loss and self._random.random() < self.loss:
            return
        self._count += 1  # as in `_push`, without the call
        heapq.heappush(self._heap, (self.now + delay, self._count, self._arrive_it, member, packet))

    def _connecting_s(self) -> float:
        """Return the additional latency of a new connection: a round trip, and retransmissions of lost packets."""
        delay = self.latency(self._random) + self.latency(self._random)
        again = 0.2
        while self.loss and self._random.random() < self.loss:
            delay += again
            again *= 2
        return delay

    def _arrive(self, source: HeapMember, packet: Packet) -> None:
        target = self.members.get(packet.to)
        is_cut = self.is_cut is not None and self.is_cut(source.name, packet.to)
        if target is None or not target.is_up or is_cut:
            if packet.is_reliable:
                self.at(self.now + self.latency(self._random), self._fail, source, packet.to)
            return
        target.received += 1
        if self.now < target.paused_until:
            target.inbox.append((source.name, packet.messages))
        else:
            now = self.now + target.skew_s
            self._carry_out(target, target.mux.receive(source.name, packet.messages, now))

    def _fail(self, source: HeapMember, to: str) -> None:
        if source.is_up:
            self._carry_out(source, source.mux.unreachable(to, self.now + source.skew_s))


def _call(action: Callable[..., None], args: tuple[Any, ...]) -> None:
    action(*args)
