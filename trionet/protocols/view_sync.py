"""Joins, and comparisons of two nodes' views, which make both equal.

Invariant: after an exchange without loss both nodes hold the same statements about the members of the buckets that
differed, or probe the members that one of them holds DEAD. At rest nothing is exchanged but the eight bytes in each
ack. An exchange is as long as the difference, in messages of bounded size.

Seeds that are no members are contacted again now and then, as long as this node stays in the cluster that it joined by
them: two nodes that were cut off when they started have joined only each other, and no other node contacts them. Each
seed has a back-off of its own, so a dead one delays no other.

A member that another node holds DEAD, and this node ALIVE, isn't declared dead on hearsay: it is sent the suspicion and
probed, so that it refutes or fails here, too.

Source: memberlist's push/pull and ``mergeState``; digests as in Demers et al. 1987, section 1.3. Cassandra's gossip
contacts seeds again, too, against the same splits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from .answered import Answered
from .effects import Notify, Send
from .packing import Packing
from .seeds import MOST_SEEDS, Seeds
from .statements import State, supersedes
from .swim_events import JoinAnswered, JoinCompleted
from .swim_messages import Sync, SyncDigest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .member_record import MemberRecord
    from .probing import Prober
    from .statements import Statement
    from .swim_context import Context
    from .timers import Timer

__all__ = ["PIECE_BYTES", "ViewSync"]

PIECE_BYTES: Final = 48 * 1024
"""The most bytes of the statements in one `Sync`; with its head it is well under 64 KiB."""

_QUIET_SHARE: Final = 0.1
_FIRST_BACK_OFF_S: Final = 1.0
_LAST_BACK_OFF_S: Final = 30.0
_PROBES_AT_ONCE: Final = 32
_MOST_ASKED: Final = 1024
_MOST_ABSENT_WAITS: Final = 16


class ViewSync:
    """The joins and comparisons of one node.

    Attributes:
        is_joining: whether no seed has sent its view since the last `join`.
    """

    __slots__ = (
        "_absent",
        "_answered",
        "_asked",
        "_asking",
        "_context",
        "_hearsay",
        "_learn",
        "_not_before",
        "_packed_at",
        "_prober",
        "_seeds",
        "_seeking",
        "_streak",
        "is_joining",
    )

    def __init__(self, context: Context, learn: Callable[[str, Statement], None], prober: Prober) -> None:
        """Call `learn` with each received statement and its source."""
        self._context = context
        self._learn = learn
        self._prober = prober
        profile = context.profile
        self._seeds: list[str] = []
        self._seeking = Seeds(context.random, _FIRST_BACK_OFF_S, _LAST_BACK_OFF_S)
        longest_s = _MOST_ABSENT_WAITS * profile.sync_interval_s
        self._absent = Seeds(context.random, profile.sync_interval_s, longest_s, jitter=0.25)
        self._answered = Answered(profile.gossip_interval_s / 2)
        self._asked: dict[str, float] = {}
        self._streak = 0
        self._not_before = context.now
        self._hearsay: dict[str, Statement] = {}
        self._packed_at = context.now
        self.is_joining: bool = False
        self._asking: Timer | None = None

    def join(self, seeds: Sequence[str]) -> None:
        """Request the views of `seeds`, again and again until one has sent its own."""
        context = self._context
        self._seeds = [seed for seed in dict.fromkeys(seeds) if seed != context.me]
        self._seeking.clear()
        if self._asking is not None:
            self._asking.cancel()
        self.is_joining = bool(self._seeds)
        if self.is_joining:
            self._seeking.add(self._seeds, context.now)
            self._ask_seeds()

    def compare(self, source: str, view: int) -> None:
        """Begin a comparison if the view digest of `source` differs, unless news on its way explains that."""
        context = self._context
        if view == context.members.digest.total:
            self._streak = 0
            return
        self._streak += 1
        is_due = context.now >= self._not_before and self._streak > 1 and not context.news.items
        if is_due or context.now >= self._not_before + context.profile.sync_interval_s:
            self.begin(source)

    def begin(self, source: str) -> None:
        """Compare views with `source`, unless this node has just done so with another."""
        context = self._context
        gap = context.profile.sync_interval_s * _QUIET_SHARE
        if context.now < self._not_before - 0.8 * gap:
            return
        self._not_before = context.now + gap
        self._streak = 0
        context.counts.syncs += 1
        self._request_view(source)

    def receive_digest(self, source: str, message: SyncDigest) -> None:
        """Send `source` the statements in the buckets that differ."""
        context = self._context
        differing = context.members.digest.differing(message.buckets)
        if (differing or message.is_join) and self._answered.is_due(source, SyncDigest, context.now):
            self._note_request(source)
            self._send_statements(source, differing, wanted=tuple(differing))
            if message.is_join:
                context.effects.append(Notify(JoinAnswered(source)))

    def receive(self, source: str, message: Sync) -> None:
        """Handle statements from `source`, and send those of the buckets that it requests."""
        context = self._context
        if source not in self._asked and source not in context.members:
            context.counts.unknown_sender += 1
            return
        for statement in message.statements:
            member = context.members.get(statement.name)
            if member is not None and self._is_hearsay(statement, member):
                self._schedule_probe(statement)
            else:
                self._learn(source, statement)
        if message.wanted and self._answered.is_due(source, Sync, context.now):
            buckets = range(len(context.members.digest.buckets))
            self._send_statements(source, [bucket for bucket in message.wanted if bucket in buckets])
        if self.is_joining and source in self._asked:
            self.is_joining = False
            context.effects.append(Notify(JoinCompleted(source)))
            is_first = not len(self._absent)
            wait_s = context.profile.sync_interval_s * (0.75 + 0.5 * context.random.random())
            self._absent.add(self._seeds[:MOST_SEEDS], context.now + wait_s)
            if is_first:
                context.timers.set(self._absent.next_due(), self._ask_absent)

    def was_asked(self, source: str) -> bool:
        """Return whether a view was requested by or from `source` a while ago."""
        return source in self._asked

    def repeat(self, to: str) -> None:
        """Send the own statement again, and request the view again if it was requested."""
        context = self._context
        if to in self._asked:
            self._ask_seed(to, is_join=self.is_joining)
        else:
            context.send(to, context.own)

    def unreachable(self, to: str) -> None:
        """Handle the loss of a message to `to`."""
        self._asked.pop(to, None)

    def _ask_seeds(self) -> None:
        context = self._context
        if not self.is_joining or context.is_leaving:
            return
        for seed in self._seeking.pick_due(context.now):
            self._ask_seed(seed)
        self._asking = context.timers.set(self._seeking.next_due(), self._ask_seeds)

    def _ask_seed(self, seed: str, *, is_join: bool = True) -> None:
        self._context.send_reliably(seed, self._context.own)
        self._request_view(seed, is_join=is_join)

    def _ask_absent(self) -> None:
        """Contact the seeds that are no members, except those that have left.

        The intervals back off exponentially: the address may be another one of a member, and never become one itself.
        """
        context = self._context
        if context.is_leaving:
            return
        for seed in self._absent.pick_due(context.now, self._is_absent):
            self._ask_seed(seed)
        context.timers.set(self._absent.next_due(), self._ask_absent)

    def _is_absent(self, name: str) -> bool:
        member = self._context.members.get(name)
        return member is None or not (member.is_present or member.statement.state == State.LEFT)

    def _request_view(self, to: str, *, is_join: bool = False) -> None:
        self._note_request(to)
        self._context.send_reliably(to, SyncDigest(tuple(self._context.members.digest.buckets), is_join=is_join))

    def _note_request(self, source: str) -> None:
        """Accept a `Sync` from `source` for a while."""
        now = self._context.now
        limit = now - self._context.profile.sync_interval_s
        while self._asked:
            oldest = next(iter(self._asked))
            if self._asked[oldest] >= limit and len(self._asked) < _MOST_ASKED:
                break
            del self._asked[oldest]
        self._asked.pop(source, None)
        self._asked[source] = now

    def _send_statements(self, source: str, buckets: Sequence[int], wanted: tuple[int, ...] = ()) -> None:
        context, members = self._context, self._context.members
        if members.packing is None:
            members.packing = Packing(members, PIECE_BYTES, has_objects=context.options.has_objects)
            context.after(context.profile.sync_interval_s, self._drop_packing)
        self._packed_at = context.now
        for message, encoded in members.packing.messages(buckets, wanted):
            context.effects.append(Send(source, message, is_reliable=True, encoded=encoded))

    def _drop_packing(self) -> None:
        """Drop the encoded view, unless it has been asked for since."""
        context = self._context
        left_s = self._packed_at + context.profile.sync_interval_s - context.now
        if left_s > 0:
            context.after(left_s, self._drop_packing)
        else:
            context.members.packing = None

    def _is_hearsay(self, statement: Statement, member: MemberRecord) -> bool:
        """Return whether `statement` declares a member DEAD that, as far as this node knows, can still refute."""
        if statement.state != State.DEAD or not member.is_present or not supersedes(statement, member.statement):
            return False
        context = self._context
        known = member.statement
        has_timed_out = (
            known.state == State.SUSPECT
            and known.incarnation == statement.incarnation
            and context.now - member.since >= context.suspicion_minimum_s()
        )
        return member.name != context.me and not has_timed_out

    def _schedule_probe(self, statement: Statement) -> None:
        """Probe a member that another node holds DEAD, when it is its turn."""
        context = self._context
        if not self._hearsay:
            context.after(0.0, self._probe_some)
        self._hearsay[statement.name] = statement

    def _probe_some(self) -> None:
        context = self._context
        for name in list(self._hearsay)[:_PROBES_AT_ONCE]:
            statement = self._hearsay.pop(name)
            member = context.members.get(name)
            if member is not None and member.is_present and supersedes(statement, member.statement):
                suspected = msgspec.structs.replace(statement, state=int(State.SUSPECT), suspected_by=())
                self._prober.probe(member, suspected)
        if self._hearsay:
            context.after(context.profile.gossip_interval_s, self._probe_some)
