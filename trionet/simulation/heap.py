"""A cluster of protocol cores on a heap of events: no sockets, no event loop, thousands of members.

Invariants: the same seed gives the same run, whatever the process; time never goes back; ties are taken in the order
in which they were made.
"""

from __future__ import annotations

import heapq
import math
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.protocols.mux import Packet, ProtocolMux

__all__ = ["Cluster", "Member", "exponential"]


def exponential(mean_s: float) -> Callable[[Random], float]:
    """Return one-way latencies in seconds with an exponential distribution."""
    log = math.log
    return lambda random: -log(1.0 - random.random()) * mean_s


class Member:
    """A simulated node.

    Attributes:
        name: what the others call it.
        stack: its protocols.
        is_up: whether it runs; one that has crashed takes and sends nothing.
        paused_until: it takes and does nothing before this time; what comes in meanwhile waits.
        skew_s: what its clock is ahead of the simulation's.
        received, received_bytes: packets that it has taken, and their sizes where the cluster measures them.
    """

    __slots__ = ("inbox", "is_up", "name", "paused_until", "received", "received_bytes", "skew_s", "stack", "wake_at")

    def __init__(self, name: str, stack: ProtocolMux, skew_s: float) -> None:
        self.name: str = name
        self.stack: ProtocolMux = stack
        self.is_up: bool = True
        self.paused_until: float = -math.inf
        self.skew_s: float = skew_s
        self.wake_at: float = math.inf
        self.inbox: list[tuple[str, tuple[Any, ...]]] = []
        self.received: int = 0
        self.received_bytes: int = 0


class Cluster:
    """Drives stacks in virtual time.

    Attributes:
        now: virtual time in seconds.
        members: all that were ever added, by name.
        loss: the chance that a datagram is lost, at least 0 and less than 1.
        latency: gives one-way latencies in seconds; exponential with a mean of 10 ms unless told.
        is_cut: tells whether nothing gets from one to another; None for nowhere.
        on_event: told of each event of each member: when, at whom, what.
        sent, sent_bytes: packets sent in all, and their sizes where measured.
    """

    def __init__(
        self,
        seed: int,
        *,
        latency: Callable[[Random], float] | None = None,
        loss: float = 0.0,
        is_measuring_bytes: bool = False,
    ) -> None:
        self.now: float = 0.0
        self.members: dict[str, Member] = {}
        self.loss = loss
        self.latency: Callable[[Random], float] = exponential(0.01) if latency is None else latency
        self.is_cut: Callable[[str, str], bool] | None = None
        self.on_event: Callable[[float, str, Any], None] | None = None
        self.sent: int = 0
        self.sent_bytes: int = 0
        self._is_measuring_bytes = is_measuring_bytes
        self._seed = seed
        self._random = Random(f"{seed} network")
        # When, a count that breaks ties, and what to do: a function of two arguments, and these.
        self._heap: list[tuple[float, int, Callable[[Any, Any], None], Any, Any]] = []
        self._count = 0
        self._fire_it = self._fire  # bound once, not for each event
        self._arrive_it = self._arrive

    @property
    def received(self) -> int:
        """Packets that the members have taken, in all."""
        return sum(member.received for member in self.members.values())

    def random_for(self, name: str) -> Random:
        """Return the random numbers that belong to a member."""
        return Random(f"{self._seed} {name}")

    def at(self, time: float, action: Callable[..., None], *args: Any) -> None:
        """Have ``action(*args)`` called at `time`."""
        self._push(max(time, self.now), _call, action, args)

    def add(self, name: str, stack: ProtocolMux, *, skew_s: float = 0.0) -> Member:
        """Add a member, or replace the one of this name: what was on the way to it comes to the new one."""
        previous = self.members.get(name)
        if previous is not None:
            previous.is_up = False
        member = self.members[name] = Member(name, stack, skew_s)
        self._carry_out(member, [])
        return member

    def act(self, name: str, action: Callable[[ProtocolMux, float], list[Packet]]) -> None:
        """Have a member do something now: `action` gets its stack and its time, and returns what is to be sent."""
        member = self.members[name]
        self._carry_out(member, action(member.stack, self.now + member.skew_s))

    def crash(self, name: str) -> None:
        """Stop a member for good, with no goodbye."""
        self.members[name].is_up = False

    def pause(self, name: str, duration_s: float) -> None:
        """Let a member stand still for a time."""
        member = self.members[name]
        member.paused_until = self.now + duration_s
        self.at(member.paused_until, self._resume, member)

    def run(self, until: float, *, while_: Callable[[], bool] | None = None) -> None:
        """Go on until the time `until`, or until `while_` is no longer true."""
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

    def _resume(self, member: Member) -> None:
        if member.is_up and self.now >= member.paused_until:
            # As an event loop does after a stall: what is due by the clock, and what lies in the socket.
            self._fire(member, member.wake_at)
            waiting, member.inbox = member.inbox, []
            for source, messages in waiting:
                self._take(member, source, messages)

    def _fire(self, member: Member, planned: float) -> None:
        if not member.is_up or planned != member.wake_at or self.now < member.paused_until:
            return
        member.wake_at = math.inf
        self._carry_out(member, member.stack.on_timer(self.now + member.skew_s))

    def _carry_out(self, member: Member, packets: list[Packet]) -> None:
        for packet in packets:
            self._send(member, packet)
        stack = member.stack
        if stack.events:
            for event in stack.take_events():
                if self.on_event is not None:
                    self.on_event(self.now, member.name, event)
        due = stack.next_deadline() - member.skew_s
        if due != member.wake_at:  # what was planned before then finds that it isn't what is waited for
            member.wake_at = due
            if due < math.inf:
                self._push(max(due, self.now), self._fire_it, member, due)

    def _send(self, member: Member, packet: Packet) -> None:
        self.sent += 1
        if self._is_measuring_bytes:
            self.sent_bytes += member.stack.packet_size(packet)
        delay = self.latency(self._random)
        if packet.is_reliable:
            delay += self._connecting_s()
        elif self.loss and self._random.random() < self.loss:
            return
        self._count += 1  # as `_push` does, which would be a call more for each packet
        heapq.heappush(self._heap, (self.now + delay, self._count, self._arrive_it, member, packet))

    def _connecting_s(self) -> float:
        """Return what a connection takes on top: a round trip; and what is lost is sent again."""
        delay = self.latency(self._random) + self.latency(self._random)
        again = 0.2
        while self.loss and self._random.random() < self.loss:
            delay += again
            again *= 2
        return delay

    def _arrive(self, source: Member, packet: Packet) -> None:
        target = self.members.get(packet.to)
        is_cut = self.is_cut is not None and self.is_cut(source.name, packet.to)
        if target is None or not target.is_up or is_cut:
            if packet.is_reliable:
                self.at(self.now + self.latency(self._random), self._fail, source, packet.to)
            return
        target.received += 1
        if self._is_measuring_bytes:
            target.received_bytes += source.stack.packet_size(packet)
        if self.now < target.paused_until:
            target.inbox.append((source.name, packet.messages))
        else:
            now = self.now + target.skew_s
            self._carry_out(target, target.stack.receive(source.name, packet.messages, now))

    def _take(self, member: Member, source: str, messages: tuple[Any, ...]) -> None:
        self._carry_out(member, member.stack.receive(source, messages, self.now + member.skew_s))

    def _fail(self, source: Member, to: str) -> None:
        if source.is_up:
            self._carry_out(source, source.stack.unreachable(to, self.now + source.skew_s))


def _call(action: Callable[..., None], args: tuple[Any, ...]) -> None:
    action(*args)
