"""What a node does about suspects.

Invariant: a node declares DEAD only on its own evidence: its own probe failed, it then went on asking until the
suspicion's time was over, and nothing came directly from the suspect since. Who has only heard of a suspicion waits,
and if nobody gives a verdict, probes for itself.

Source: Lifeguard (Dadgar, Phillips, Currey 2017), sections IV-B (independent confirmations) and IV-C (buddy system).
That hearers volunteer a probe, so that confirmations come at once, and the last calls are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from .statements import MOST_SUSPECTED_BY, State
from .suspicion import MAXIMUM_MULT, Suspicion, suspicion_timeout_s, volunteer_chance
from .swim_messages import Ping, PingReq

if TYPE_CHECKING:
    from collections.abc import Callable

    from .members import MemberRecord
    from .probing import Prober
    from .statements import Statement
    from .swim_context import Context

__all__ = ["Suspecting"]

_LEAST_CALLS: Final = 3
_HEARSAY_MULT: Final = 2.0
"""Who has only heard of a suspicion waits this many times as long as a lone accuser at most would."""


class Suspecting:
    """The suspicions of one node.

    Attributes:
        by_name: who is suspected, by this node or others.
    """

    __slots__ = ("_believe", "_by_seq", "_context", "_prober", "by_name")

    def __init__(self, context: Context, believe: Callable[[Statement], None]) -> None:
        """`believe` is called with what this node comes to say about others."""
        self._context = context
        self._believe = believe
        self.by_name: dict[str, Suspicion] = {}
        self._by_seq: dict[int, Suspicion] = {}
        self._prober: Prober | None = None

    def attach(self, prober: Prober) -> None:
        """Use this prober."""
        self._prober = prober

    def suspect(self, member: MemberRecord) -> None:
        """Suspect a member, as one's own probe failed."""
        said = member.statement
        suspected_by = {*said.suspected_by, self._context.me} if said.state == State.SUSPECT else {self._context.me}
        kept = tuple(sorted(suspected_by)[:MOST_SUSPECTED_BY])
        self._believe(msgspec.structs.replace(said, state=int(State.SUSPECT), suspected_by=kept))
        suspicion = self.by_name.get(member.name)
        if suspicion is not None and suspicion.began is None:
            suspicion.began = self._context.now
            self._aim(suspicion)
            self._call(suspicion)

    def changed(self, member: MemberRecord) -> None:
        """Take that another statement about `member` holds."""
        name = member.name
        suspicion = self.by_name.get(name)
        said = member.statement
        if suspicion is not None:
            if said.state == State.SUSPECT and said.incarnation == suspicion.incarnation:
                if suspicion.began is not None:
                    self._aim(suspicion)
                return
            suspicion.cancel()
            del self.by_name[name], self._by_seq[suspicion.seq]
        if said.state == State.SUSPECT and name != self._context.me and not self._context.is_leaving:
            self._begin(member)

    def heard(self, source: str) -> None:
        """Take that something came directly from `source`: it lives; ask again before accusing."""
        suspicion = self.by_name[source]
        if suspicion.began is not None:
            suspicion.cancel()
            suspicion.began = None
            suspicion.calls = 0
            again = self._context.now + self._context.profile.probe_interval_s * (0.5 + self._context.random.random())
            suspicion.timer = self._context.timers.set(again, self._probe, suspicion)

    def was_asked(self, source: str, seq: int) -> bool:
        """Take an answer to a last call; return whether it is one."""
        suspicion = self.by_name.get(source)
        return suspicion is not None and suspicion.seq == seq

    def acked_indirectly(self, source: str, seq: int) -> bool:
        """Take that `source` had an answer to a last call; return whether it was asked."""
        suspicion = self._by_seq.get(seq)
        if suspicion is None or source not in suspicion.asked:
            return False
        self.heard(suspicion.member.name)
        return True

    def postpone(self, lag_s: float) -> None:
        """Give all suspects more time: this node stood still for `lag_s`."""
        for suspicion in self.by_name.values():
            if suspicion.began is not None:
                suspicion.began += lag_s
                suspicion.calls = 0
                self._aim(suspicion)

    def nacked(self, source: str, seq: int) -> bool:
        """Take that `source` had no answer either; return whether it was asked."""
        suspicion = self._by_seq.get(seq)
        return suspicion is not None and source in suspicion.asked

    def stop(self) -> None:
        """Let nothing come of any suspicion."""
        for suspicion in self.by_name.values():
            suspicion.cancel()
        self.by_name.clear()
        self._by_seq.clear()

    def _begin(self, member: MemberRecord) -> None:
        context = self._context
        suspicion = self.by_name[member.name] = Suspicion(member, member.statement.incarnation, context.next_seq())
        self._by_seq[suspicion.seq] = suspicion
        wait = _HEARSAY_MULT * MAXIMUM_MULT * context.suspicion_minimum_s() * (1 + context.random.random())
        is_mine = context.me in member.statement.suspected_by
        if not is_mine and context.random.random() < volunteer_chance(len(context.members)):
            wait = 0.0
        suspicion.timer = context.timers.set(context.now + wait, self._probe, suspicion)

    def _probe(self, suspicion: Suspicion) -> None:
        """Find out for oneself; if it gives no verdict, again after a while."""
        assert self._prober is not None
        context = self._context
        again = context.now + _HEARSAY_MULT * MAXIMUM_MULT * context.suspicion_minimum_s()
        suspicion.timer = context.timers.set(again, self._probe, suspicion)
        self._prober.probe(suspicion.member)

    def _aim(self, suspicion: Suspicion) -> None:
        """Set the time of the verdict."""
        context = self._context
        assert suspicion.began is not None
        minimum = context.suspicion_minimum_s()
        timeout = suspicion_timeout_s(
            suspicion.confirmations(context.me), context.expected_confirmations(), minimum, MAXIMUM_MULT * minimum
        )
        if suspicion.timer is not None:
            suspicion.timer.cancel()
        suspicion.timer = context.timers.set(suspicion.began + timeout, self._declare, suspicion)

    def _call(self, suspicion: Suspicion) -> None:
        """Ask the suspect again, and every other time others, too."""
        context = self._context
        name = suspicion.member.name
        suspicion.calls += 1
        context.send(name, suspicion.member.statement)
        context.send(name, Ping(suspicion.seq))
        if suspicion.calls % 2 == 0:
            for other in context.members.present.sample(context.profile.indirect_probes, without=suspicion.member):
                suspicion.asked.add(other.name)
                context.send(other.name, PingReq(suspicion.seq, name))
        again = context.now + context.profile.probe_timeout_s / 2
        suspicion.call_timer = context.timers.set(again, self._call, suspicion)

    def _declare(self, suspicion: Suspicion) -> None:
        context = self._context
        if suspicion.calls < _LEAST_CALLS:
            again = context.now + context.profile.probe_timeout_s / 2
            suspicion.timer = context.timers.set(again, self._declare, suspicion)
            return
        self._believe(
            msgspec.structs.replace(suspicion.member.statement, state=int(State.DEAD), suspected_by=(context.me,))
        )
