"""SWIM with Lifeguard: the present, failed and left members of a cluster.

Invariant: for each member this node holds the greatest statement that it has received (see `statements`). Its own is
ALIVE (or LEFT, once it leaves), and greater than any other statement about it. Each change of a member is reported
once. Incoming messages never raise; rejected ones are counted.

A statement may raise a member's incarnation to `MOST_INCARNATION` at once. A limit to the jump would lock out a member
whose clock was far ahead before its restart. Below the maximum a forged incarnation costs the member one refutation.

Source: SWIM (Das, Gupta, Motivala 2002) and Lifeguard (Dadgar, Phillips, Currey 2017); the parts name the sections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from .awareness import stall_penalty
from .broadcasting import Broadcaster
from .effects import Notify, ProtocolMessage, Send
from .forgetting import Forgetting
from .statements import MOST_INCARNATION, MOST_TAGS_BYTES, State, Statement, encoded_bytes, is_valid, merged, supersedes
from .suspecting import Suspecting
from .swim_context import Context
from .swim_events import MemberInfo, PingAnswered, changes
from .swim_messages import ASKED_SEQ, Ack, IndirectAck, Nack, News, Ping, PingReq, Sync, SyncDigest
from .swim_settings import SwimCounts, SwimOptions
from .view_sync import ViewSync

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
    from random import Random

    from trionet.profiles import Profile

    from .effects import Effect
    from .member_record import MemberRecord

__all__ = ["Swim"]

_LAG_SHARE = 0.25


class Swim:
    """Membership at one node.

    Attributes:
        messages: the kinds of messages that it handles.
        me: this node's name.
        forgetting: forgets the members that are gone.
        counts: counts of rejected input and of incidents.
        next_deadline: returns when to call `on_timer` next; ``math.inf`` for never.
    """

    __slots__ = (
        "_broadcaster",
        "_context",
        "_corrected",
        "_probed",
        "_prober",
        "_suspected",
        "_suspecting",
        "_sync",
        "counts",
        "forgetting",
        "me",
        "next_deadline",
    )

    def __init__(
        self,
        me: str,
        profile: Profile,
        random: Random,
        now: float,
        *,
        boot_id: int,
        incarnation: int = 0,
        tags: Mapping[str, str] | None = None,
        options: SwimOptions | None = None,
    ) -> None:
        """Start alone.

        Args:
            me: this node's name, to which others send.
            profile: intervals and timeouts.
            random: this node's random numbers.
            now: the time.
            boot_id: 64 bits drawn for this start.
            incarnation: the first one; preferably, but not necessarily, higher than those before a restart.
            tags: this node's tags.
            options: bounds and options.

        Raises:
            ValueError: the name is too long, a number is out of range, or the tags are too long.
        """
        own = Statement(me, incarnation, int(State.ALIVE), boot_id, dict(tags or {}))
        if not is_valid(own):
            raise ValueError(f"no statement about a member can be {own}")
        self.me: str = me
        self._context = context = Context(own, profile, random, now, options or SwimOptions())
        self.counts: SwimCounts = context.counts
        self.next_deadline: Callable[[], float] = context.timers.next_deadline
        self._broadcaster = Broadcaster(context)
        self.forgetting: Forgetting = Forgetting(context)
        self._suspecting = Suspecting(context, self._believe)
        self._prober = self._suspecting.prober
        self._sync = ViewSync(context, self._learn, self._prober)
        self._corrected: tuple[str, str, float] | None = None
        self._probed: Container[str] = self._prober.by_name
        self._suspected: Container[str] = self._suspecting.by_name

    # ---- state

    @property
    def is_joining(self) -> bool:
        """Whether no seed has sent its view since the last `join`."""
        return self._sync.is_joining

    @property
    def is_left(self) -> bool:
        """Whether the leave of this node is complete."""
        return self._broadcaster.is_left

    @property
    def own(self) -> Statement:
        """This node's statement about itself."""
        return self._context.own

    @property
    def health(self) -> int:
        """The local health score: 0 is healthy, 8 the worst."""
        return self._context.awareness.score

    @property
    def view(self) -> int:
        """The digest of the present members: equal views have equal digests."""
        return self._context.members.digest.total

    @property
    def present_count(self) -> int:
        """The number of members that are ALIVE or SUSPECT, this node included."""
        return len(self._context.members)

    def members(self) -> Iterator[MemberInfo]:
        """Iterate over all known members, this node and those gone included, in the order of their first statement."""
        return (member.info() for member in self._context.members)

    def member(self, name: str) -> MemberInfo | None:
        """Return a member, or None if it is unknown."""
        member = self._context.members.get(name)
        return None if member is None else member.info()

    # ---- for the user

    def join(self, seeds: Sequence[str], now: float) -> list[Effect]:
        """Request the views of `seeds`, again and again until one has sent its own (`JoinCompleted`)."""
        self._context.now = now
        self._sync.join(seeds)
        return self._effects()

    def assume(self, statements: Iterable[Statement], now: float) -> None:
        """Start with statements from elsewhere or earlier, which are neither reported nor spread."""
        context = self._context
        for statement in statements:
            if statement.name not in context.members and is_valid(statement):
                context.members.put(statement, now)

    def leave(self, now: float) -> list[Effect]:
        """Leave: spread that this node is LEFT, until `LeaveCompleted`."""
        context = self._context
        context.now = now
        if not context.is_leaving:
            context.is_leaving = True
            self._suspecting.stop()
            self._update_own(context.own.incarnation)
            self._broadcaster.leave()
        return self._effects()

    def set_tags(self, tags: Mapping[str, str], now: float) -> list[Effect]:
        """Replace this node's tags.

        Raises:
            ValueError: they are too long.
        """
        context = self._context
        context.now = now
        new = dict(tags)
        if (size := encoded_bytes(new)) > MOST_TAGS_BYTES:
            raise ValueError(f"tags have {size} bytes, and may have {MOST_TAGS_BYTES}")
        if new != context.own.tags:
            context.own = msgspec.structs.replace(context.own, tags=new)
            self._update_own(context.own.incarnation + 1)
        return self._effects()

    def observe_end(self, name: str, boot_id: int, now: float) -> list[Effect]:
        """Spread, before all other news, that the process of a member has ended; nothing if it is gone or restarted."""
        self._context.now = now
        self._suspecting.observe_end(name, boot_id)
        return self._effects()

    # ---- as a `Core`

    def receive(self, source: str, message: Any, now: float) -> list[Effect]:
        """Handle a message, one of `messages`, from the node `source`. Never raises, whatever it contains."""
        context = self._context
        context.now = now
        self._handlers[type(message)](self, source, message)
        if source in self._probed:
            self._prober.received(source)
        if source in self._suspected:
            self._suspecting.received(source)
        effects, context.effects = context.effects, []
        return effects

    def on_timer(self, now: float) -> list[Effect]:
        """Run the timers that are due. A call much later than `next_deadline` lowers the local health."""
        context = self._context
        deadline = context.timers.next_deadline()
        context.now = now
        if deadline + _LAG_SHARE * context.profile.probe_timeout_s < now:
            self._handle_stall(now - deadline)
        context.timers.run_due(now)
        return self._effects()

    def piggyback(self, to: str, room_bytes: int, now: float) -> Sequence[ProtocolMessage]:
        """Return news for a packet to `to`, unless `to` has probably failed."""
        context = self._context
        if not context.news.items or to in context.members.doubted:
            return ()
        return context.news.next_statements(room_bytes, len(context.members))

    def unreachable(self, to: str, now: float) -> list[Effect]:
        """Handle the loss of a reliable message to `to`."""
        self._context.now = now
        self._sync.unreachable(to)
        return self._effects()

    def knows(self, name: str) -> bool:
        """Return whether `name` is a present member, or was asked for its view."""
        member = self._context.members.get(name)
        return (member is not None and member.is_present) or self._sync.was_asked(name)

    def repeat(self, to: str, now: float) -> list[Effect]:
        """Send the own statement again, or the request for the view of `to`."""
        self._context.now = now
        self._sync.repeat(to)
        return self._effects()

    def _effects(self) -> list[Effect]:
        effects, self._context.effects = self._context.effects, []
        return effects

    def _receive_ping(self, source: str, message: Ping) -> None:
        context = self._context
        if source in context.members.doubted:
            self._correct(source, context.members.doubted[source].statement)
        if message.again:
            self._suspecting.expecting.expect(source, message.again)
        context.effects.append(Send(source, Ack(message.seq, context.members.digest.total), message.is_reliable))

    def _receive_ack(self, source: str, message: Ack) -> None:
        if self._prober.receive_ack(source, message.seq) or self._suspecting.is_final_probe(source, message.seq):
            self._sync.compare(source, message.view)
        elif message.seq >= ASKED_SEQ:
            self._context.effects.append(Notify(PingAnswered(source, message.seq)))
        else:
            self.counts.unexpected += 1

    def _receive_ping_req(self, source: str, message: PingReq) -> None:
        if source in self._context.members:
            self._prober.relay(source, message)
        else:
            self.counts.unknown_sender += 1

    def _receive_indirect_ack(self, source: str, message: IndirectAck) -> None:
        seq, prober = message.seq, self._prober
        if not prober.receive_indirect_ack(source, seq) and not self._suspecting.receive_indirect_ack(source, seq):
            self.counts.unexpected += 1

    def _receive_nack(self, source: str, message: Nack) -> None:
        if not self._prober.receive_nack(source, message.seq) and not self._suspecting.was_asked(source, message.seq):
            self.counts.unexpected += 1

    def _receive_statement(self, source: str, statement: Statement) -> None:
        if source != statement.name and source not in self._context.members:
            self.counts.unknown_sender += 1
        else:
            self._learn(source, statement)

    # ---- statements

    def _learn(self, source: str, statement: Statement) -> None:
        """Handle a statement from another node."""
        context = self._context
        if statement.name == context.me:
            self._refute(source, statement)
            return
        member = context.members.get(statement.name)
        if member is not None:
            known = member.statement
            if not supersedes(statement, known):
                if source == statement.name and (known.boot_id != statement.boot_id or known.state > State.SUSPECT):
                    self._correct(source, known)  # after a restart its incarnation is too low: it must rise above
                elif statement.suspected_by != known.suspected_by and not supersedes(known, statement):
                    self._confirm(member, statement)
                return
        if is_valid(statement):
            self._believe(statement)
        else:
            self.counts.invalid += 1

    def _correct(self, source: str, statement: Statement) -> None:
        """Send `source` the statement that holds here; once for each packet from it."""
        context = self._context
        correction = (source, statement.name, context.now)
        if correction != self._corrected:
            self._corrected = correction
            context.send(source, statement)

    def _confirm(self, member: MemberRecord, statement: Statement) -> None:
        """Add the confirmations of a suspicion that is held already."""
        known = member.statement
        if known.state != State.SUSPECT or not is_valid(statement):
            return
        both = merged(statement, known)
        if both.suspected_by != known.suspected_by:
            self._context.members.restate(member, both)
            self._broadcaster.put(both)
            self._suspecting.update(member)

    def _believe(self, statement: Statement) -> None:
        """Hold a statement about another member from now on, report the change, and spread it."""
        context = self._context
        member = context.members.get(statement.name)
        before = None if member is None else member.info()
        if member is not None and not supersedes(statement, member.statement):
            self._confirm(member, statement)
            return
        member = context.members.put(statement, context.now)
        if member is None:
            self.counts.refused += 1
            return
        context.effects.extend(Notify(change) for change in changes(before, member.info()))
        self._suspecting.update(member)
        if before is not None or member.is_present:
            self._broadcaster.put_change(statement, is_new=before is None)
        if not member.is_present:
            self.forgetting.schedule()

    def _refute(self, source: str, statement: Statement) -> None:
        """Refute a statement about this node that contradicts its own."""
        context, own = self._context, self._context.own
        if not is_valid(statement) or statement.incarnation == MOST_INCARNATION:
            self.counts.invalid += 1
            return
        is_older = statement.incarnation < own.incarnation
        if not is_older and (supersedes(statement, own) or statement.boot_id != own.boot_id):
            if statement.boot_id == own.boot_id and statement.state == State.SUSPECT:
                context.awareness.add(1)
            self.counts.refutations += 1
            self._update_own(statement.incarnation + 1)
        elif not supersedes(own, statement) or (statement.state == State.ALIVE and statement.boot_id == own.boot_id):
            return  # this node's own statement, or an earlier one
        if source in context.members or self._sync.was_asked(source):
            self._correct(source, context.own)
            if statement.state == State.DEAD and not context.is_leaving:
                self._sync.begin(source)  # others may hold this node DEAD, too, and be unknown here

    def _update_own(self, incarnation: int) -> None:
        """Spread a new statement about this node, before all other news."""
        context = self._context
        state = State.LEFT if context.is_leaving else State.ALIVE
        context.own = msgspec.structs.replace(
            context.own, incarnation=min(incarnation, MOST_INCARNATION), state=int(state), suspected_by=()
        )
        context.members.put(context.own, context.now)
        self._broadcaster.put(context.own, is_urgent=True)

    def _handle_stall(self, lag_s: float) -> None:
        """Lower the local health, and extend all timeouts: messages from during the stall are still unread."""
        context = self._context
        self.counts.stalls += 1
        context.awareness.add(stall_penalty(lag_s, context.profile.probe_timeout_s))
        self._suspecting.postpone(lag_s + context.profile.probe_timeout_s)

    # One table for all nodes of a process: with many nodes, one each would not stay in the processor's cache.
    _handlers: ClassVar[dict[type, Callable[[Any, str, Any], None]]] = {
        Ping: _receive_ping,
        Ack: _receive_ack,
        PingReq: _receive_ping_req,
        IndirectAck: _receive_indirect_ack,
        Nack: _receive_nack,
        News: lambda *_: None,  # its packet carries the news
        Statement: _receive_statement,
        SyncDigest: lambda self, source, message: self._sync.receive_digest(source, message),
        Sync: lambda self, source, message: self._sync.receive(source, message),
    }
    messages: tuple[type[ProtocolMessage], ...] = tuple(_handlers)
