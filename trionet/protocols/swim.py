"""SWIM with Lifeguard: who is there, who has failed, who has left.

Invariant: for each member this node holds the greatest statement that it has heard (see `statements`); what it says
about itself is ALIVE (or LEFT, once it leaves), and greater than anything that anybody else says about it. Each change
of a member is told once. Nothing that comes in raises; what can't be believed is counted.

A statement may push a member's incarnation up to `MOST_INCARNATION` at once. There is no limit to the
jump: it would lock out a member whose clock had been far ahead in its previous life. Below the highest incarnation a
forged one costs the member one refutation.

Source: SWIM (Das, Gupta, Motivala 2002) and Lifeguard (Dadgar, Phillips, Currey 2017); the parts name the sections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from .awareness import stall_penalty
from .effects import Notify, ProtocolMessage, Send
from .forgetting import Forgetting
from .probing import Prober
from .statements import MOST_INCARNATION, MOST_TAGS_BYTES, State, Statement, encoded_bytes, is_valid, merged, supersedes
from .suspecting import Suspecting
from .swim_context import Context, SwimCounts, SwimOptions
from .swim_events import LeaveCompleted, MemberInfo, changes
from .swim_messages import SWIM_MESSAGES, Ack, IndirectAck, Nack, News, Ping, PingReq, Sync, SyncDigest
from .view_sync import ViewSync

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
    from random import Random

    from trionet.profiles import Profile

    from .effects import Effect
    from .members import MemberRecord
    from .timers import Timer

__all__ = ["Swim"]

_LAG_SHARE = 0.25
_FIRST_NEWS_SHARE = 0.1
_LEAVE_INTERVALS = 10


class Swim:
    """Membership at one node.

    Attributes:
        messages: what it understands.
        me: this node's name.
        next_deadline: tells when `on_timer` is to be called next; ``math.inf`` for not at all.
    """

    __slots__ = (
        "_context",
        "_forgetting",
        "_gossip_timer",
        "_gossiped_at",
        "_is_left",
        "_leave_ends_at",
        "_objected",
        "_probed",
        "_prober",
        "_suspected",
        "_suspecting",
        "_sync",
        "me",
        "next_deadline",
    )

    messages: tuple[type[ProtocolMessage], ...] = SWIM_MESSAGES

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
        """Begin alone.

        Args:
            me: this node's name, by which others send to it.
            profile: how often and how patiently.
            random: this node's random numbers.
            now: the time.
            boot_id: 64 bits drawn for this start.
            incarnation: a first guess, better higher than any of a previous life, but that need not be.
            tags: what this node says about itself.
            options: how much to remember, and the like.

        Raises:
            ValueError: the name is too long, a number is out of range, or the tags are too long.
        """
        own = Statement(me, incarnation, int(State.ALIVE), boot_id, dict(tags or {}))
        if not is_valid(own):
            raise ValueError(f"no statement about a member can be {own}")
        self.me: str = me
        self._context = context = Context(own, profile, random, now, options or SwimOptions())
        self._forgetting = Forgetting(context)
        self._suspecting = Suspecting(context, self._believe)
        self._prober = Prober(context, self._suspecting.suspect)
        self._suspecting.attach(self._prober)
        self._sync = ViewSync(context, self._learn, self._prober)
        self._gossip_timer: Timer | None = None
        self._gossiped_at = -profile.gossip_interval_s
        self._leave_ends_at: float | None = None
        self._objected: tuple[str, str, float] | None = None
        self._is_left = False
        self.next_deadline: Callable[[], float] = context.timers.next_deadline
        self._probed: Container[str] = self._prober.by_name
        self._suspected: Container[str] = self._suspecting.by_name
        self._prober.start()

    # ------------------------------------------------------------------------------------------------- what is known

    @property
    def is_joined(self) -> bool:
        """Whether a seed has told what it knows, since the last `join`."""
        return self._sync.is_joined

    @property
    def is_left(self) -> bool:
        """Whether the others have been told that this node leaves."""
        return self._is_left

    @property
    def own(self) -> Statement:
        """What this node says about itself."""
        return self._context.own

    @property
    def counts(self) -> SwimCounts:
        """What came in and was not believed, and what was noticed."""
        return self._context.counts

    @property
    def health(self) -> int:
        """This node's doubts about itself: 0 (none) to 8."""
        return self._context.awareness.score

    @property
    def view(self) -> int:
        """The digest of whom this node holds to be there: equal views have equal digests."""
        return self._context.members.digest.total

    @property
    def present_count(self) -> int:
        """How many members are ALIVE or SUSPECT, this node included."""
        return len(self._context.members)

    def members(self) -> Iterator[MemberInfo]:
        """Iterate over all that are known, this node and those gone included, in the order of becoming known."""
        return (member.info() for member in self._context.members)

    def member(self, name: str) -> MemberInfo | None:
        """Return what is known of a member."""
        member = self._context.members.get(name)
        return None if member is None else member.info()

    # --------------------------------------------------------------------------------------------- what the user does

    def join(self, seeds: Sequence[str], now: float) -> list[Effect]:
        """Ask any of `seeds` for what it knows; again and again, until one has told (`JoinCompleted`)."""
        self._context.now = now
        self._sync.join(seeds)
        return self._effects()

    def assume(self, statements: Iterable[Statement], now: float) -> None:
        """Begin with what was known elsewhere or earlier, without telling or spreading anything of it."""
        context = self._context
        for statement in statements:
            if statement.name not in context.members and is_valid(statement):
                context.members.put(statement, now)

    def leave(self, now: float) -> list[Effect]:
        """Tell the others that this node leaves; `LeaveCompleted` says when it was told often enough."""
        context = self._context
        context.now = now
        if not context.is_leaving:
            context.is_leaving = True
            self._prober.stop()
            self._suspecting.stop()
            self._leave_ends_at = now + _LEAVE_INTERVALS * context.profile.gossip_interval_s
            self._state_own(context.own.incarnation)
            self._gossip_now()
        return self._effects()

    def set_tags(self, tags: Mapping[str, str], now: float) -> list[Effect]:
        """Say other things about this node.

        Raises:
            ValueError: they are too long.
        """
        context = self._context
        context.now = now
        said = dict(tags)
        if encoded_bytes(said) > MOST_TAGS_BYTES:
            raise ValueError(f"tags have {encoded_bytes(said)} bytes, and may have {MOST_TAGS_BYTES}")
        if said != context.own.tags:
            context.own = msgspec.structs.replace(context.own, tags=said)
            self._state_own(context.own.incarnation + 1)
        return self._effects()

    # ------------------------------------------------------------------------------------------- what the network does

    def receive(self, source: str, message: Any, now: float) -> list[Effect]:
        """Take what the node `source` said; it is one of `messages`. Never raises, whatever it says."""
        context = self._context
        context.now = now
        self._takers[type(message)](self, source, message)
        if source in self._probed:
            self._prober.heard(source)
        if source in self._suspected:
            self._suspecting.heard(source)
        effects = context.effects
        if effects:
            context.effects = []
        return effects

    def on_timer(self, now: float) -> list[Effect]:
        """Do what is due. Called much later than planned, the node doubts itself."""
        context = self._context
        planned = context.timers.next_deadline()
        context.now = now
        if planned + _LAG_SHARE * context.profile.probe_timeout_s < now:
            self._stalled(now - planned)
        context.timers.run_due(now)
        return self._effects()

    def piggyback(self, to: str, room_bytes: int, now: float) -> Sequence[ProtocolMessage]:
        """Return news that fits a packet to `to`."""
        context = self._context
        if not context.news.items:
            return ()
        if to in context.members.doubted:  # the news would most likely be wasted
            return ()
        return context.news.take(room_bytes, len(context.members))

    def unreachable(self, to: str, now: float) -> list[Effect]:
        """Take that what was sent reliably to `to` could not be delivered."""
        self._context.now = now
        self._sync.unreachable(to)
        return self._effects()

    def knows(self, name: str) -> bool:
        """Tell whether `name` is a member that is there, or was asked for what it knows."""
        member = self._context.members.get(name)
        return (member is not None and member.is_present) or self._sync.was_asked(name)

    def repeat(self, to: str, now: float) -> list[Effect]:
        """Say again what this node is, and ask again for what `to` knows if it was asked."""
        self._context.now = now
        self._sync.repeat(to)
        return self._effects()

    def _effects(self) -> list[Effect]:
        context = self._context
        effects = context.effects
        if effects:
            context.effects = []
        return effects

    def _take_ping(self, source: str, message: Ping) -> None:
        context = self._context
        if source in context.members.doubted:
            self._object(source, context.members.doubted[source].statement)
        ack = Ack(message.seq, context.members.digest.total)
        context.effects.append(Send(source, ack, message.is_reliable))

    def _take_ack(self, source: str, message: Ack) -> None:
        if self._prober.acked(source, message.seq) or self._suspecting.was_asked(source, message.seq):
            self._sync.compare(source, message.view)
        else:
            self._context.counts.unexpected += 1

    def _take_ping_req(self, source: str, message: PingReq) -> None:
        if source in self._context.members:
            self._prober.relay(source, message)
        else:
            self._context.counts.unknown_sender += 1

    def _take_indirect_ack(self, source: str, message: IndirectAck) -> None:
        seq = message.seq
        if not self._prober.acked_indirectly(source, seq) and not self._suspecting.acked_indirectly(source, seq):
            self._context.counts.unexpected += 1

    def _take_nack(self, source: str, message: Nack) -> None:
        if not self._prober.nacked(source, message.seq) and not self._suspecting.nacked(source, message.seq):
            self._context.counts.unexpected += 1

    def _take_news(self, source: str, message: News) -> None:
        pass

    def _take_sync_digest(self, source: str, message: SyncDigest) -> None:
        self._sync.take_digest(source, message)

    def _take_sync(self, source: str, message: Sync) -> None:
        self._sync.take(source, message)

    def _take_statement(self, source: str, statement: Statement) -> None:
        if source != statement.name and source not in self._context.members:
            self._context.counts.unknown_sender += 1
        else:
            self._learn(source, statement)

    # ---------------------------------------------------------------------------------------------------- what it does

    def _learn(self, source: str, statement: Statement) -> None:
        """Take a statement from another node."""
        context = self._context
        if statement.name == context.me:
            self._take_about_me(source, statement)
            return
        member = context.members.get(statement.name)
        if member is not None:
            known = member.statement
            if not supersedes(statement, known):
                if source == statement.name and (known.boot_id != statement.boot_id or known.state > State.SUSPECT):
                    self._object(source, known)  # its news is older than its previous life's: let it rise above
                elif statement.suspected_by != known.suspected_by and not supersedes(known, statement):
                    self._confirm(member, statement)
                return
        if is_valid(statement):
            self._believe(statement)
        else:
            context.counts.invalid += 1

    def _object(self, source: str, statement: Statement) -> None:
        """Tell `source` what holds here, once for all that it says at one time."""
        context = self._context
        said = (source, statement.name, context.now)
        if said != self._objected:
            self._objected = said
            context.send(source, statement)

    def _confirm(self, member: MemberRecord, statement: Statement) -> None:
        known = member.statement
        if known.state != State.SUSPECT or not is_valid(statement):
            return
        both = merged(statement, known)
        if both.suspected_by != known.suspected_by:
            self._context.members.annotate(member, both)
            self._spread(both)
            self._suspecting.changed(member)

    def _believe(self, statement: Statement) -> None:
        """Let a statement about another hold from now on, tell the user, and pass it on."""
        context = self._context
        member = context.members.get(statement.name)
        before = None if member is None else member.info()
        if member is not None and not supersedes(statement, member.statement):
            self._confirm(member, statement)
            return
        member = context.members.put(statement, context.now)
        if member is None:
            context.counts.refused += 1
            return
        context.effects.extend(Notify(change) for change in changes(before, member.info()))
        self._suspecting.changed(member)
        if before is not None or member.is_present:
            self._spread(statement)
        if not member.is_present:
            self._forgetting.plan()

    def _take_about_me(self, source: str, statement: Statement) -> None:
        """Object to what others say about this node, if it isn't what it says itself."""
        context = self._context
        own = context.own
        is_older = statement.incarnation < own.incarnation
        if not is_valid(statement) or statement.incarnation == MOST_INCARNATION:
            context.counts.invalid += 1
            return
        if not is_older and (supersedes(statement, own) or statement.boot_id != own.boot_id):
            if statement.boot_id == own.boot_id and statement.state == State.SUSPECT:
                context.awareness.add(1)
            context.counts.refutations += 1
            self._state_own(statement.incarnation + 1)
        elif not supersedes(own, statement) or (statement.state == State.ALIVE and statement.boot_id == own.boot_id):
            return  # what this node says itself, or said a moment ago
        if source in context.members or self._sync.was_asked(source):
            self._object(source, context.own)
            if statement.state == State.DEAD and not context.is_leaving:
                self._sync.begin(source)  # there may be others of whom we don't know that we are taken for dead

    def _state_own(self, incarnation: int) -> None:
        """Say what this node is, in a new incarnation, before all other news."""
        context = self._context
        state = State.LEFT if context.is_leaving else State.ALIVE
        context.own = msgspec.structs.replace(
            context.own, incarnation=min(incarnation, MOST_INCARNATION), state=int(state), suspected_by=()
        )
        context.members.put(context.own, context.now)
        self._spread(context.own, is_urgent=True)

    def _spread(self, statement: Statement, *, is_urgent: bool = False) -> None:
        """Pass a statement on, with what is sent anyway and in packets of its own."""
        context = self._context
        context.news.put(statement, is_urgent=is_urgent)
        if self._gossip_timer is None:
            interval = context.profile.gossip_interval_s
            soon = context.now + interval * _FIRST_NEWS_SHARE * context.random.random()
            self._gossip_timer = context.timers.set(max(soon, self._gossiped_at + interval), self._gossip)

    def _gossip_now(self) -> None:
        if self._gossip_timer is not None:
            self._gossip_timer.cancel()
        self._gossip()

    def _gossip(self) -> None:
        context = self._context
        profile = context.profile
        self._gossip_timer = None
        self._gossiped_at = context.now
        for member in context.members.present.sample(profile.gossip_nodes):
            context.send(member.name, News())
        is_over = self._leave_ends_at is not None and (
            context.now >= self._leave_ends_at or context.me not in context.news or not len(context.members.present)
        )
        if is_over and not self._is_left:
            self._is_left = True
            context.effects.append(Notify(LeaveCompleted()))
        if len(context.news) and not (context.is_leaving and self._is_left):
            self._gossip_timer = context.timers.set(context.now + profile.gossip_interval_s, self._gossip)

    def _stalled(self, lag_s: float) -> None:
        """Doubt this node: it stood still, and what was sent to it meanwhile has yet to be taken."""
        context = self._context
        context.counts.stalls += 1
        context.awareness.add(stall_penalty(lag_s, context.profile.probe_timeout_s))
        patience = lag_s + context.profile.probe_timeout_s
        self._prober.postpone(patience)
        self._suspecting.postpone(patience)

    # One table for all nodes of a process: with many of them, one each would not stay in the processor's cache.
    _takers: ClassVar[dict[type, Callable[[Any, str, Any], None]]] = {
        Ping: _take_ping,
        Ack: _take_ack,
        PingReq: _take_ping_req,
        IndirectAck: _take_indirect_ack,
        Nack: _take_nack,
        News: _take_news,
        Statement: _take_statement,
        SyncDigest: _take_sync_digest,
        Sync: _take_sync,
    }
