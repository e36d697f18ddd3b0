"""Suspicions: from a failed probe to the verdict.

Invariant: a node declares a member DEAD only on its own evidence: it observed the end of the member's process; or its
own probe failed, its final probes failed until the suspicion timed out, and no message came directly from the suspect
since. A node without evidence of its own waits for the verdict of others, and if none comes, probes the suspect itself.

Source: Lifeguard (Dadgar, Phillips, Currey 2017), sections IV-B (independent confirmations) and IV-C (buddy system).
That receivers of a suspicion volunteer a probe, so that confirmations come at once, and the final probes are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from .expecting import Expecting
from .probing import Prober
from .statements import MOST_SUSPECTED_BY, State
from .suspicion import VOLUNTEERS, Suspicion, expected_confirmations, suspicion_timeout_s
from .swim_messages import Ping, PingReq

if TYPE_CHECKING:
    from collections.abc import Callable

    from .member_record import MemberRecord
    from .statements import Statement
    from .swim_context import Context

__all__ = ["Suspecting"]

_LEAST_FINAL_PROBES: Final = 3
_HEARSAY_MULT: Final = 2.0
"""A node without evidence waits this many times as long as a node with evidence does at most."""


class Suspecting:
    """The suspicions of one node.

    Attributes:
        by_name: the suspicions by suspect, this node's and those of others.
        prober: makes the probes.
        expecting: notices that a member no longer pings this node.
    """

    __slots__ = ("_believe", "_by_seq", "_context", "by_name", "expecting", "prober")

    def __init__(self, context: Context, believe: Callable[[Statement], None]) -> None:
        """Call `believe` with each statement that this node makes about another."""
        self._context = context
        self._believe = believe
        self.by_name: dict[str, Suspicion] = {}
        self._by_seq: dict[int, Suspicion] = {}
        self.prober: Prober = Prober(context, self.suspect)
        self.expecting: Expecting = Expecting(context, self.prober)

    def suspect(self, member: MemberRecord) -> None:
        """Suspect a member, because this node's probe failed."""
        known = member.statement
        self._context.counts.suspicions += known.state == State.ALIVE or self._context.me not in known.suspected_by
        suspected_by = {*known.suspected_by, self._context.me} if known.state == State.SUSPECT else {self._context.me}
        kept = tuple(sorted(suspected_by)[:MOST_SUSPECTED_BY])
        self._believe(msgspec.structs.replace(known, state=int(State.SUSPECT), suspected_by=kept))
        for other in known.suspected_by:  # they wait for confirmations, and gossip would take an interval or two
            if other != self._context.me and other in self._context.members:  # a statement may name anything
                self._context.send(other, member.statement)
        suspicion = self.by_name.get(member.name)
        if suspicion is not None and suspicion.began is None:
            suspicion.began = self._context.now
            self._schedule_verdict(suspicion)
            self._send_final_probe(suspicion)

    def observe_end(self, name: str, boot_id: int) -> None:
        """Declare a member DEAD, because its process of this boot id has ended; nothing if it is gone or restarted."""
        context = self._context
        member = context.members.get(name)
        if context.is_leaving or name == context.me or member is None or not member.is_present:
            return
        if member.statement.boot_id == boot_id:
            self._believe(msgspec.structs.replace(member.statement, state=int(State.DEAD), suspected_by=(context.me,)))
            context.news.hasten(name)

    def update(self, member: MemberRecord) -> None:
        """Handle a new statement about `member`."""
        name = member.name
        suspicion = self.by_name.get(name)
        known = member.statement
        if suspicion is not None:
            if known.state == State.SUSPECT and known.incarnation == suspicion.incarnation:
                if suspicion.began is not None:
                    self._schedule_verdict(suspicion)
                return
            suspicion.cancel()
            del self.by_name[name], self._by_seq[suspicion.seq]
        if known.state == State.SUSPECT and name != self._context.me and not self._context.is_leaving:
            self._begin(member)

    def received(self, source: str) -> None:
        """Handle a message directly from `source`, a suspect: it is alive, so probe it again before a verdict."""
        suspicion = self.by_name[source]
        if suspicion.began is not None:
            suspicion.cancel()
            suspicion.began = None
            suspicion.final_probes = 0
            wait_s = self._context.profile.probe_interval_s * (0.5 + self._context.random.random())
            suspicion.timer = self._context.after(wait_s, self._probe, suspicion)

    def is_final_probe(self, source: str, seq: int) -> bool:
        """Return whether an ack answers a final probe."""
        suspicion = self.by_name.get(source)
        return suspicion is not None and suspicion.seq == seq

    def receive_indirect_ack(self, source: str, seq: int) -> bool:
        """Handle a relayed ack of a final probe; return whether it is one."""
        is_expected = self.was_asked(source, seq)
        if is_expected:
            self.received(self._by_seq[seq].member.name)
        return is_expected

    def postpone(self, lag_s: float) -> None:
        """Extend all probes and suspicions by `lag_s`, because this node stalled."""
        self.prober.postpone(lag_s)
        self.expecting.postpone(lag_s)
        for suspicion in self.by_name.values():
            if suspicion.began is not None:
                suspicion.began += lag_s
                suspicion.final_probes = 0
                self._schedule_verdict(suspicion)

    def was_asked(self, source: str, seq: int) -> bool:
        """Return whether `source` was asked to relay a final probe."""
        suspicion = self._by_seq.get(seq)
        return suspicion is not None and source in suspicion.asked

    def stop(self) -> None:
        """Drop all suspicions, and stop probing."""
        self.prober.stop()
        self.expecting.stop()
        for suspicion in self.by_name.values():
            suspicion.cancel()
        self.by_name.clear()
        self._by_seq.clear()

    def _begin(self, member: MemberRecord) -> None:
        context = self._context
        suspicion = self.by_name[member.name] = Suspicion(member, member.statement.incarnation, context.next_seq())
        self._by_seq[suspicion.seq] = suspicion
        wait_s = _HEARSAY_MULT * context.suspicion_maximum_s() * (1 + context.random.random())
        suspicion.timer = context.after(wait_s, self._probe, suspicion)
        for suspect in context.members.suspected_near(VOLUNTEERS):
            self._volunteer(suspect)  # perhaps another one, whose nearer volunteers are suspected now
        for after in context.members.after_suspected(member):
            self.prober.probe(after)  # if the suspects stand still, nobody else watches these

    def _volunteer(self, member: MemberRecord) -> None:
        """Probe a suspect at once, if this node has no evidence of its own."""
        suspicion = self.by_name.get(member.name)
        if suspicion is None or suspicion.is_volunteer or suspicion.began is not None:
            return
        if self._context.me in member.statement.suspected_by:
            return
        suspicion.is_volunteer = True
        if suspicion.timer is not None:
            suspicion.timer.cancel()
        suspicion.timer = self._context.after(0.0, self._probe, suspicion)

    def _probe(self, suspicion: Suspicion) -> None:
        """Probe a suspect, and again later if there is no verdict."""
        context = self._context
        wait_s = _HEARSAY_MULT * context.suspicion_maximum_s()
        suspicion.timer = context.after(wait_s, self._probe, suspicion)
        self.prober.probe(suspicion.member, is_urgent=True)

    def _schedule_verdict(self, suspicion: Suspicion) -> None:
        """Schedule the verdict by the current number of confirmations."""
        context = self._context
        assert suspicion.began is not None
        minimum = context.suspicion_minimum_s()
        confirmations, expected = suspicion.confirmations(context.me), expected_confirmations(len(context.members))
        timeout = suspicion_timeout_s(confirmations, expected, minimum, context.suspicion_maximum_s())
        if suspicion.timer is not None:
            suspicion.timer.cancel()
        suspicion.timer = context.timers.set(suspicion.began + timeout, self._declare, suspicion)

    def _send_final_probe(self, suspicion: Suspicion) -> None:
        """Ping the suspect again, every other time through others, too."""
        context = self._context
        name = suspicion.member.name
        suspicion.final_probes += 1
        context.send(name, suspicion.member.statement)
        context.send(name, Ping(suspicion.seq))
        if suspicion.final_probes % 2 == 0:
            for other in context.members.present.sample(context.profile.indirect_probes, without=suspicion.member):
                suspicion.asked.add(other.name)
                context.send(other.name, PingReq(suspicion.seq, name))
        wait_s = context.profile.probe_timeout_s / 2
        suspicion.final_probe_timer = context.after(wait_s, self._send_final_probe, suspicion)

    def _declare(self, suspicion: Suspicion) -> None:
        context = self._context
        if suspicion.final_probes < _LEAST_FINAL_PROBES:
            suspicion.timer = context.after(context.profile.probe_timeout_s / 2, self._declare, suspicion)
            return
        known = suspicion.member.statement
        self._believe(msgspec.structs.replace(known, state=int(State.DEAD), suspected_by=(context.me,)))
