"""Probes: pings to one member after the other.

Invariant: in each interval one member is probed, whatever their number. A probe succeeds by an ack from its target
before the interval ends, or by any other message directly from it. Only a probe that fails leads to a suspicion.

Of eight probes, one goes round a ring, which holds each member once per round; the others go to the successor of this
node on a circle of hashed names, the next one that is not suspected. A ping to the successor says when the next one
comes, so that the successor notices if it doesn't (see `expecting`). So each member is watched by both neighbours, and
the first of them misses its ack or its ping within an interval, however large the group is. While there is a suspect,
every other probe goes round the ring: if many neighbours fail at once, only those at both ends are watched. Each node
probes about in the middle between two pings of its predecessor, so that the two watch at different times. If both have
failed, too, the ring finds it. With the ring alone the time to the first probe is exponential, and the worst of 1,000
is seven times the mean.

Source: SWIM (Das, Gupta, Motivala 2002), sections 3.1 and 4.3; nacks from Lifeguard (Dadgar, Phillips, Currey 2017),
section IV-A. The circle, the shift and the repeated ping within the timeout are ours.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from trionet.histograms import count_s

from .awareness import failed_probe_penalty
from .effects import Send
from .member_record import MemberRecord
from .statements import State
from .swim_messages import IndirectAck, Nack, Ping, PingReq
from .timers import Timer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .statements import Statement
    from .swim_context import Context

__all__ = ["Prober", "retry_interval_s"]

_DIRECT_TRIES: Final = 3
"""The pings of a probe, each after a third of the timeout; with the last one relays are asked."""

_NACK_SHARE: Final = 0.8
"""When a relay sends its nack, as a share of the probe timeout, so that it comes in time; as in memberlist."""

_RELAY_TRIES: Final = 2
_TIMEOUTS: Final = 1.65
_URGENT_TIMEOUTS: Final = 1.3
"""How many probe timeouts a probe lasts at least: two thirds before relays are asked, or a third in an urgent one, and
the time until their nacks."""

_RING_EVERY: Final = 8
"""One of so many probes goes round the ring, all others to the successor on the circle."""

_EARLIEST: Final = 0.25
"""How long after a ping of its pinger a node probes at the earliest, and how long before the next one at the latest, as
a share of the interval. With less than a third there is room for all nodes of a circle, whatever their number."""

_LONGEST_SHIFT: Final = 0.2
"""How far a node delays a probe for that, at most, as a share of the probe timeout; by chance, so that no nodes
get into step. That is less than a ping may be late, and no probe is hastened, so it takes no more probes."""

_FIRST_RETRY_S: Final = 2.0
_LAST_RETRY_S: Final = 20.0
_RETRY_FALL: Final = 30.0


def retry_interval_s(dead_for_s: float) -> float:
    """Return how often the group contacts a dead member: every 2 s at first, every 20 s after 9 minutes."""
    return min(_LAST_RETRY_S, _FIRST_RETRY_S + max(0.0, dead_for_s) / _RETRY_FALL)


class _Probe(msgspec.Struct, eq=False):
    member: MemberRecord
    seq: int
    incarnation: int
    timeout_s: float
    begun_at: float
    ends_at: float
    timer: Timer | None = None
    step: int = 0
    is_alive: bool = False
    asked: tuple[str, ...] = ()
    nacks: frozenset[str] = frozenset()


class _Relay(msgspec.Struct, eq=False):
    requester: str
    seq: int
    target: str
    step: int = 0
    timer: Timer | None = None


class Prober:
    """The probes of one node, and those that it relays for others.

    Attributes:
        by_name: the open probes, by target.
        pinged_at: when this node's pinger last sent a regular ping.
    """

    __slots__ = (
        "_by_seq",
        "_context",
        "_is_ring_next",
        "_last_tick",
        "_relays",
        "_suspect",
        "_ticking",
        "_ticks",
        "by_name",
        "pinged_at",
    )

    def __init__(self, context: Context, suspect: Callable[[MemberRecord], None]) -> None:
        """Start; the first probe is after a random part of an interval, so that nodes aren't in step.

        Args:
            context: the shared state.
            suspect: called with a member that sent nothing in the probed incarnation.
        """
        self._context = context
        self._suspect = suspect
        self.by_name: dict[str, _Probe] = {}
        self._by_seq: dict[int, _Probe] = {}
        self._relays: dict[int, _Relay] = {}
        self._ticks = int(context.random.random() * _RING_EVERY)
        self._is_ring_next = self._ticks == _RING_EVERY - 1
        self._last_tick: float = context.now
        self.pinged_at: float = -math.inf
        self._ticking = context.after(context.random.random() * context.profile.probe_interval_s, self._tick)

    def stop(self) -> None:
        """End all probes, and begin no others."""
        self._ticking.cancel()
        for probe in list(self.by_name.values()):
            self._end(probe)

    def probe(
        self, member: MemberRecord, about: Statement | None = None, *, is_urgent: bool = False, again: int = 0
    ) -> None:
        """Probe a member now, unless a probe is open; send it `about` first, or the statement that suspects it.

        If it `is_urgent`, relays are asked after the first try, and the probe ends when they have answered. The
        ping says that the next one comes `again` intervals later, unless that is 0.
        """
        if member.name in self.by_name:
            return
        context = self._context
        profile, now, patience = context.profile, context.now, context.awareness.score + 1
        timeout_s = profile.probe_timeout_s * patience
        # Relays are asked a third of the timeout before its end, so the probe ends as much before the interval's end.
        lasts_s = max(profile.probe_interval_s * patience - timeout_s / _DIRECT_TRIES, _TIMEOUTS * timeout_s)
        if is_urgent:
            lasts_s = _URGENT_TIMEOUTS * timeout_s
        ends_at = now + lasts_s
        seq = context.next_seq()
        probe = _Probe(member, seq, member.statement.incarnation, timeout_s, now, ends_at)
        probe.step = _DIRECT_TRIES - 2 if is_urgent else 0
        self.by_name[member.name] = self._by_seq[seq] = probe
        self._ping(member, seq, about, again)
        probe.timer = context.timers.set(now + timeout_s / _DIRECT_TRIES, self._continue, probe)

    def receive_ack(self, source: str, seq: int) -> bool:
        """Handle an ack; return whether it was expected."""
        probe = self.by_name.get(source)
        if probe is not None and probe.seq == seq:
            self._end(probe)
            count_s(self._context.counts.round_trips, self._context.now - probe.begun_at)
            if self._context.awareness.score:
                self._context.awareness.add(-1)
            return True
        relay = self._relays.get(seq)
        if relay is not None and relay.target == source:
            self._context.send(relay.requester, IndirectAck(relay.seq))
            self._end_relay(seq, relay)
            return True
        return False

    def receive_indirect_ack(self, source: str, seq: int) -> bool:
        """Handle an ack that `source` relayed; return whether it was expected."""
        probe = self._asked(source, seq)
        if probe is None:
            return False
        self._end(probe)
        self._context.awareness.add(-1)
        return True

    def receive_nack(self, source: str, seq: int) -> bool:
        """Handle a nack; return whether it was expected."""
        probe = self._asked(source, seq)
        if probe is None:
            return False
        probe.nacks |= {source}
        return True

    def received(self, source: str) -> None:
        """Handle a message directly from `source`, the target of an open probe: it is alive."""
        self.by_name[source].is_alive = True

    def relay(self, source: str, request: PingReq) -> None:
        """Probe a member on behalf of `source`."""
        context = self._context
        target = context.members.get(request.target)
        is_refused = len(self._relays) >= context.options.relays or request.target == context.me
        if target is None or not target.is_present or is_refused:
            context.send(source, Nack(request.seq))
            return
        seq = context.next_seq()
        relay = self._relays[seq] = _Relay(source, request.seq, request.target)
        self._ping(target, seq)
        wait_s = context.profile.probe_timeout_s * _NACK_SHARE / _RELAY_TRIES
        relay.timer = context.after(wait_s, self._continue_relay, seq, relay)

    def postpone(self, lag_s: float) -> None:
        """Extend all open probes by `lag_s`, because this node stalled."""
        context = self._context
        for probe in self.by_name.values():
            assert probe.timer is not None
            probe.timer.cancel()
            probe.ends_at += lag_s
            probe.timer = context.timers.set(probe.timer.when + lag_s, self._continue, probe)

    def _asked(self, source: str, seq: int) -> _Probe | None:
        """Return the probe of this number if `source` was asked to relay it."""
        probe = self._by_seq.get(seq)
        return probe if probe is not None and source in probe.asked else None

    def _tick(self) -> None:
        context = self._context
        patience = context.awareness.score + 1
        interval_s = context.profile.probe_interval_s * patience + self._shift_s()
        self._ticking = context.timers.set(context.now + interval_s, self._tick)  # not by `after`: it is hot
        members = context.members
        self._ticks = (self._ticks + 1) % _RING_EVERY
        member = None if self._is_ring_next else members.trusted_on_circle()
        self._is_ring_next = not self._is_ring_next and (self._ticks == _RING_EVERY - 1 or members.has_suspects)
        again = 0
        if member is None:
            member = members.present.next()
        else:
            again = 2 * patience if self._is_ring_next else patience
        if member is not None:
            self.probe(member, again=again)
        if len(members.dead):
            self._contact_dead(context.now - self._last_tick)
        self._last_tick = context.now

    def _shift_s(self) -> float:
        """Return by how much to delay the next probe, so that it comes between two pings of this node's pinger."""
        context = self._context
        interval_s = context.profile.probe_interval_s
        since_s = context.now - self.pinged_at
        if since_s > 2 * interval_s or context.awareness.score:
            return 0.0
        if _EARLIEST <= since_s / interval_s % 1 <= 1 - _EARLIEST:
            return 0.0
        return _LONGEST_SHIFT * context.profile.probe_timeout_s * context.random.random()

    def _contact_dead(self, since_s: float) -> None:
        """Send a dead member its statement, with the probability of this node's share; a running member refutes it."""
        context = self._context
        dead = context.members.dead
        member = dead.next()
        assert member is not None
        chance = since_s / retry_interval_s(context.now - member.since) * len(dead) / len(context.members)
        if context.random.random() < chance:
            context.send(member.name, member.statement)

    def _continue(self, probe: _Probe) -> None:
        context = self._context
        probe.step += 1
        if probe.is_alive:  # wait for the ack all the same: it carries the view
            if context.now >= probe.ends_at:
                self._end(probe)
                return
            next_at = probe.ends_at
        elif probe.step < _DIRECT_TRIES - 1:
            self._ping(probe.member, probe.seq)
            next_at = context.now + probe.timeout_s / _DIRECT_TRIES
        elif probe.step == _DIRECT_TRIES - 1:
            self._ping(probe.member, probe.seq)
            self._ask_relays(probe)
            if context.options.is_falling_back:
                context.send_reliably(probe.member.name, Ping(probe.seq, is_reliable=True))
            next_at = probe.ends_at
        else:
            self._fail(probe)
            return
        probe.timer = context.timers.set(next_at, self._continue, probe)

    def _fail(self, probe: _Probe) -> None:
        context = self._context
        self._end(probe)
        context.counts.failed_probes += 1
        context.awareness.add(failed_probe_penalty(len(probe.asked), len(probe.nacks)))
        statement = probe.member.statement
        if statement.state <= State.SUSPECT and statement.incarnation == probe.incarnation:
            self._suspect(probe.member)

    def _ping(self, member: MemberRecord, seq: int, about: Statement | None = None, again: int = 0) -> None:
        context = self._context
        if about is None and member.statement.state:  # not ALIVE
            about = member.statement
        if about is not None:  # Lifeguard's buddy system: the suspect receives the suspicion first
            context.send(member.name, about)
        context.effects.append(Send(member.name, Ping(seq, again=again)))

    def _ask_relays(self, probe: _Probe) -> None:
        context = self._context
        count = context.profile.indirect_probes
        others = context.members.present.sample(2 * count, without=probe.member)
        probe.asked = tuple(other.name for other in others if not other.statement.state)[:count]  # no suspects
        for name in probe.asked:
            context.send(name, PingReq(probe.seq, probe.member.name))

    def _continue_relay(self, seq: int, relay: _Relay) -> None:
        context = self._context
        relay.step += 1
        wait_s = context.profile.probe_timeout_s * _NACK_SHARE / _RELAY_TRIES
        if relay.step < _RELAY_TRIES:
            target = context.members.get(relay.target)
            if target is not None:
                self._ping(target, seq)
        elif relay.step == _RELAY_TRIES:
            context.send(relay.requester, Nack(relay.seq))
            wait_s = 2 * context.profile.probe_interval_s  # a late ack still helps
        else:
            self._end_relay(seq, relay)
            return
        relay.timer = context.after(wait_s, self._continue_relay, seq, relay)

    def _end(self, probe: _Probe) -> None:
        if probe.timer is not None:
            probe.timer.cancel()
        del self.by_name[probe.member.name], self._by_seq[probe.seq]

    def _end_relay(self, seq: int, relay: _Relay) -> None:
        if relay.timer is not None:
            relay.timer.cancel()
        del self._relays[seq]
