"""Gossip: rumors that reach every live member of a group, each of them once.

Invariants:

- A member takes each rumor at most once, and forwards it when it takes it, whatever its user makes of it.
- A rumor that one live member holds reaches each live member that it can talk with, directly or through others, before
  its time to live is over, if that is long enough: every holder goes on comparing what it holds with a member picked
  at random (`anti_entropy`), whatever push and lazy push did.
- Nothing that comes in raises. What isn't taken is counted.

Three parts, in the order in which a rumor meets them. *Push* for speed (`push`): at once to a few members. *Lazy push*
for what push missed: for some intervals each holder tells a few members the ids, 12 bytes each, of what came lately,
and who lacks one pulls it (`pulls`). *Anti-entropy* for certainty: at a rate that falls after the last news to a low
one, and only while it holds something, a node compares with one member; so a group in which nothing is said costs next
to nothing.

A rumor for a group that this node doesn't know is dropped and counted; it isn't in the record then, so that
anti-entropy brings it if the group becomes known while the rumor lives.

Source: Demers et al. 1987; Plumtree (Leitao, Pereira, Rodrigues 2007) for IHAVE and GRAFT.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from . import anti_entropy
from .answering import Answering
from .batches import Batches
from .effects import Notify, Send
from .gossip_messages import (
    ID_BYTES,
    IDS_PER_MESSAGE,
    Answer,
    Buckets,
    Delivered,
    Ihave,
    Listing,
    Query,
    Rumor,
    Summary,
    Want,
    chunks,
    split,
)
from .gossip_settings import GossipCounts, GossipSettings
from .pulls import Pulls
from .push import RandomPush
from .rumors import Held, Record, RumorGroup
from .spread import Tracking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from random import Random

    from .effects import Effect, ProtocolMessage
    from .push import Push, Step
    from .spread import Spread

__all__ = ["GossipProtocol", "Sent"]

_SILENT_EVERY: Final = 4
_SMALLEST_BYTES: Final = 64
_HURRIED_GRACE: Final = 4
_HURRY_GRACES: Final = 4
_HURRY_INTERVALS: Final = 25


class Sent(NamedTuple):
    """What `GossipProtocol.send` did.

    Attributes:
        id: the rumor's.
        effects: to be carried out.
        targets: the names of the first hop.
    """

    id: bytes
    effects: list[Effect]
    targets: list[str]


class GossipProtocol:
    """The rumors of one node.

    Attributes:
        me: this node's name.
        counts: what happened so far.
        messages: the kinds of messages that it understands.
    """

    __slots__ = (
        "_answering",
        "_batches",
        "_compare_at",
        "_comparisons",
        "_groups",
        "_hurry_until",
        "_lazy_at",
        "_news_at",
        "_next_deadline",
        "_pace_s",
        "_pulls",
        "_random",
        "_record",
        "_settings",
        "_spoke_at",
        "_to_tell",
        "_tracked",
        "counts",
        "me",
    )

    messages: tuple[type[ProtocolMessage], ...] = (Rumor, Ihave, Want, Summary, Buckets, Listing, Query, Answer)

    def __init__(self, me: str, random: Random, settings: GossipSettings | None = None) -> None:
        """Begin with no groups.

        Args:
            me: this node's name.
            random: its random numbers.
            settings: the timing and the bounds; those of a LAN unless told.
        """
        self.me: str = me
        self.counts: GossipCounts = GossipCounts()
        self._random = random
        self._settings = settings = GossipSettings() if settings is None else settings
        self._groups: dict[str, RumorGroup] = {}
        self._record = Record(2 * settings.retention_s, settings.most_seen)
        self._pulls = Pulls(settings.pull_timeout_s, settings.most_wanted)
        self._tracked = Tracking(settings.most_tracked)
        self._answering = Answering(settings, self.counts)
        self._batches = Batches()
        self._lazy_at = math.inf
        self._compare_at = math.inf
        self._news_at = -math.inf
        self._hurry_until = -math.inf
        self._pace_s = settings.compare_interval_s
        self._comparisons = 0
        self._next_deadline = math.inf
        self._spoke_at = -math.inf
        self._to_tell = settings.nodes

    # ------------------------------------------------------------------------------------------------ what users call

    def set_group(
        self,
        gid: str,
        members: Sequence[str],
        subset: int | Callable[[list[str]], int] | None = None,
        *,
        now: float,
        push: Push | None = None,
        is_member: bool | None = None,
    ) -> None:
        """Say who is in a group, for the first time or anew.

        Args:
            gid: the group.
            members: the names of all members, each once; a tuple isn't copied, so many nodes may share it.
            subset: how many members a rumor is pushed to: a number, a function of the members, or None for
                `push.default_subset`. It is asked now, and clamped to what there is.
            now: the time.
            push: where rumors go instead; `subset` isn't used then.
            is_member: whether this node is among them, if the caller knows.

        Raises:
            Exception: whatever `subset` raises, before anything has changed.
        """
        settings = self._settings
        old = self._groups.get(gid)
        group = old or RumorGroup(
            gid, self.me, self._random, retention_s=settings.retention_s, most_bytes=settings.most_bytes
        )
        before = (group.members, group.is_member)
        group.members = tuple(members)
        group.is_member = self.me in group.members if is_member is None else is_member
        pushing = RandomPush(subset) if push is None else push
        try:
            pushing.adjust(group)
        except BaseException:
            group.members, group.is_member = before
            raise
        group.push = pushing
        if old is None:
            self._groups[gid] = group
            # Who is new has missed something perhaps, and asks soon.
            self._wake(compare=now + self._random.random() * settings.interval_s)

    def change_group(self, gid: str, added: Iterable[str], removed: Iterable[str]) -> None:
        """Say who is new in a group, and who is in it no more; at a cost that follows from these alone.

        What is given as `subset`, if it is a function, is asked again; it sees all members, of course.

        Raises:
            KeyError: there is no such group.
            Exception: whatever `subset` raises; the members have changed.
        """
        group = self._groups[gid]
        group.change(added, removed)
        group.push.adjust(group)

    def drop_group(self, gid: str) -> None:
        """Forget a group and the rumors for it; their ids stay in the record. Nothing happens if there is none."""
        if self._groups.pop(gid, None) is not None:
            self._pulls.drop_group(gid)
            self._tracked.drop_group(gid)

    def groups(self) -> list[str]:
        """Return the gids of the groups that it knows."""
        return list(self._groups)

    def send(self, gid: str, payload: bytes, now: float) -> Sent:
        """Start a rumor. If this node is a member, it is delivered here too.

        Raises:
            KeyError: there is no such group.
        """
        group = self._groups[gid]
        rumor_id = self._random.getrandbits(8 * ID_BYTES).to_bytes(ID_BYTES, "big")
        held = Held(gid, rumor_id, self.me, payload, now, now)
        self.counts.sent += 1
        self._tracked.begin(gid, rumor_id)
        step = group.push.step(group, None, 0, now)
        effects = self._admit(group, held, step, now)
        self._spoke_at = now
        return Sent(rumor_id, effects, list(step.targets))

    def query_spread(self, gid: str, rumor_id: bytes, now: float) -> list[Effect]:
        """Ask members whether they have a rumor of this node; to be called again until `spread` is good enough."""
        del now
        group, tracked = self._groups.get(gid), self._tracked.get(rumor_id)
        if group is None or tracked is None:
            return []
        query = Query(gid, rumor_id)
        return [Send(name, query) for name in tracked.to_ask(group.members, self.me, self._random)]

    def spread(self, gid: str, rumor_id: bytes) -> Spread | None:
        """Return how far a rumor of this node has come; None where that isn't known (any more)."""
        group, tracked = self._groups.get(gid), self._tracked.get(rumor_id)
        if group is None or tracked is None:
            return None
        return tracked.spread(group.members, self.me, is_member=group.is_member)

    def __contains__(self, rumor_id: bytes) -> bool:
        """Tell whether this node has seen a rumor."""
        return rumor_id in self._record

    # --------------------------------------------------------------------------------------------------- the contract

    def receive(self, source: str, message: Any, now: float) -> list[Effect]:
        """Take a message."""
        effects = self._takers[type(message)](self, source, message, now)
        if effects:
            self._spoke_at = now
        return effects

    def next_deadline(self) -> float:
        """Return when `on_timer` is to be called next."""
        return self._next_deadline

    def on_timer(self, now: float) -> list[Effect]:
        """Do what is due."""
        effects: list[Effect] = []
        if self._batches.next_due <= now:
            effects += self._flush(now)
        if self._pulls.next_due <= now:
            effects += self._pull(now)
        if self._lazy_at <= now:
            effects += self._announce(now)
        if self._compare_at <= now:
            effects += self._compare(now)
        if effects:
            self._spoke_at = now
        self._next_deadline = min(self._batches.next_due, self._pulls.next_due, self._lazy_at, self._compare_at)
        return effects

    def piggyback(self, to: str, room_bytes: int, now: float) -> Sequence[ProtocolMessage]:
        """Announce ids of what came lately, instead of in a packet of their own."""
        if room_bytes < _SMALLEST_BYTES or not self._to_tell or self._lazy_at == math.inf or now <= self._spoke_at:
            return ()
        found: list[ProtocolMessage] = []
        for group in self._groups.values():
            ids = self._recent(group, now)
            room = (room_bytes - len(group.gid.encode()) - 16) // ID_BYTES
            if ids and room > 0 and group.has(to):
                room = min(room, IDS_PER_MESSAGE)
                ids = ids if len(ids) <= room else self._random.sample(ids, room)
                found.append(Ihave(group.gid, b"".join(ids)))
                room_bytes -= len(ids) * ID_BYTES + len(group.gid.encode()) + 16
        if found:
            self._to_tell -= 1
        return found

    def unreachable(self, to: str, now: float) -> list[Effect]:
        """Ask others for what was wanted from `to`."""
        self._pulls.unreachable(to, now)
        self._next_deadline = min(self._next_deadline, self._pulls.next_due)
        return []

    def knows(self, name: str) -> bool:
        """Tell whether `name` is a member of one of its groups."""
        return any(group.has(name) for group in self._groups.values())

    def repeat(self, to: str, now: float) -> list[Effect]:
        """Ask `to` again for what was wanted from it, and compare again."""
        self._pulls.unreachable(to, now)
        effects = self._pull(now)
        for group in self._groups.values():
            if group.held and group.has(to):
                effects.append(Send(to, anti_entropy.summary(group, self._settings.settle_s, now)))
        return effects

    # -------------------------------------------------------------------------------------------------------- rumors

    def _take_rumor(self, source: str, message: Rumor, now: float) -> list[Effect]:
        rumor_id = message.id
        if rumor_id in self._record.seen:
            self.counts.duplicates += 1
            if rumor_id in self._tracked.tracked:
                self._confirm(rumor_id, source)
            return []
        group = self._groups.get(message.gid)
        if group is None:
            self.counts.unknown_group += 1
            return []
        age_s = message.age_ms / 1000
        if age_s >= self._settings.retention_s:
            self.counts.expired += 1
            return []
        if self._record.may_be_forgotten(age_s, now):
            self.counts.refused += 1
            return []
        if self._pulls.came(rumor_id):
            self.counts.pulled += 1
            if self._settings.catch_up_interval_s:
                self._hurry(self._settings.catch_up_interval_s, now)
        group.push.heard(source, now)
        if age_s > 2 * self._settings.settle_s:
            self._compare_soon(self._settings.interval_s, now)  # so late, it is likely not the only one
        held = Held(message.gid, rumor_id, message.origin, message.payload, now - age_s, now)
        return self._admit(group, held, group.push.step(group, source, message.hops, now), now)

    def _admit(self, group: RumorGroup, held: Held, step: Step, now: float) -> list[Effect]:
        """Hold a rumor, deliver it, and pass it on."""
        self._record.add(held.id, now)
        held.hops = step.hops
        group.add(held)
        effects: list[Effect] = []
        if group.is_member:
            self.counts.delivered += 1
            effects.append(Notify(Delivered(held.gid, held.id, held.origin, now - held.born_at, held.payload)))
        if step.wait_s > 0:
            self._batches.add(held, step, now)
            self._next_deadline = min(self._next_deadline, self._batches.next_due)
        else:
            if step.targets:
                message = held.message(now)
                effects += [Send(to, message) for to in step.targets]
                group.push.sent(step.targets, now)
            effects += [Send(to, Ihave(held.gid, held.id)) for to in step.told]
        if self._lazy_at == math.inf:
            self._wake(lazy=now + self._settings.interval_s * (0.1 + 0.2 * self._random.random()))
        if now - self._news_at > self._settings.compare_interval_s:
            self._compare_soon(2 * self._settings.interval_s, now)
        self._news_at = now
        return effects

    def _flush(self, now: float) -> list[Effect]:
        """Send what has waited long enough; and what came lately is announced along with it."""
        effects: list[Effect] = []
        for to, batch in self._batches.take_due(now):
            effects += [Send(to, message) for message in batch.messages(now)]
            just_sent = {held.id: held.gid for held in batch.all()}
            for gid in dict.fromkeys(just_sent.values()):
                group = self._groups.get(gid)
                if group is not None:
                    group.push.sent((to,), now)
                    ids = [one for one in self._recent(group, now) if one not in just_sent]
                    effects += [Send(to, Ihave(gid, part)) for part in chunks(ids)]
            self._to_tell = max(0, self._to_tell - 1)
        return effects

    def _wake(self, *, lazy: float = math.inf, compare: float = math.inf) -> None:
        self._lazy_at = min(self._lazy_at, lazy)
        self._compare_at = min(self._compare_at, compare)
        self._next_deadline = min(self._next_deadline, lazy, compare)

    # ------------------------------------------------------------------------------------------------ lazy push, pull

    def _recent(self, group: RumorGroup, now: float) -> list[bytes]:
        settings = self._settings
        return [held.id for held in group.came_since(now - settings.rounds * settings.interval_s)]

    def _announce(self, now: float) -> list[Effect]:
        """Tell a few members what came lately."""
        effects: list[Effect] = []
        is_active = False
        for group in self._groups.values():
            ids = self._recent(group, now)
            if ids:
                is_active = True
                messages = [Ihave(group.gid, part) for part in chunks(ids)]
                targets = group.push.neighbours(group, self._to_tell, now)
                group.push.sent(targets, now)
                effects += [Send(to, message) for to in targets for message in messages]
        self._to_tell = self._settings.nodes
        interval_s = self._settings.interval_s if now >= self._hurry_until else self._settings.catch_up_interval_s
        self._lazy_at = now + interval_s if is_active else math.inf
        return effects

    def _take_ihave(self, source: str, message: Ihave, now: float) -> list[Effect]:
        group = self._groups.get(message.gid)
        if group is None:
            return []
        group.push.heard(source, now)
        settings = self._settings
        wait_s = settings.grace_s
        if now < self._hurry_until:  # then what is announced has probably been lost here
            wait_s = min(wait_s, _HURRIED_GRACE * settings.catch_up_interval_s)
        return self._lacking(source, message.gid, message.ids, now, wait_s)

    def _lacking(self, source: str, gid: str, ids: bytes, now: float, wait_s: float) -> list[Effect]:
        seen, tracked = self._record.seen, self._tracked.tracked
        for rumor_id in (ids,) if len(ids) == ID_BYTES else split(ids):
            if rumor_id not in seen:
                self._pulls.announced(gid, rumor_id, source, now + wait_s)
            elif rumor_id in tracked:
                self._confirm(rumor_id, source)
        if wait_s <= 0:
            return self._pull(now)
        if self._pulls.next_due < self._next_deadline:  # noqa: PLR1730 - twice as fast as min(), and hot
            self._next_deadline = self._pulls.next_due
        return []

    def _pull(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for (to, gid), asked in self._pulls.due(now).items():
            effects += [Send(to, Want(gid, ids)) for ids in chunks(asked)]
        self._next_deadline = min(self._next_deadline, self._pulls.next_due)
        return effects

    def _take_want(self, source: str, message: Want, now: float) -> list[Effect]:
        group = self._groups.get(message.gid)
        if group is None:
            return []
        group.push.heard(source, now)
        return [Send(source, one) for one in self._answering.rumors(group, source, message, now)]

    # --------------------------------------------------------------------------------------------------- anti-entropy

    def _compare(self, now: float) -> list[Effect]:
        """Begin to compare with one member of each group; with an empty one only now and then."""
        effects: list[Effect] = []
        is_active = False
        self._record.forget_old(now)
        for group in self._groups.values():
            group.expire(now)
            is_active = is_active or bool(group.held)
            if group.held or group.fresh or self._comparisons % _SILENT_EVERY == 0:
                group.fresh = max(0, group.fresh - 1)
                self.counts.comparisons += 1
                summary = anti_entropy.summary(group, self._settings.settle_s, now)
                effects += [Send(to, summary) for to in group.pick(1)]
        self._comparisons += 1
        pace_s = self._pace_s if now >= self._hurry_until else self._settings.catch_up_interval_s
        self._compare_at = now + pace_s * (0.75 + 0.5 * self._random.random())
        self._pace_s = min(2 * self._pace_s, self._settings.compare_interval_s)
        return effects

    def _compare_soon(self, soon_s: float, now: float) -> None:
        if self._pace_s > soon_s:
            self._pace_s = soon_s
            self._wake(compare=now + soon_s * (1.0 + self._random.random()))

    def _hurry(self, catch_up_interval_s: float, now: float) -> None:
        """Do everything faster for a while: here news came only because it was asked for."""
        self._hurry_until = now + _HURRY_INTERVALS * catch_up_interval_s + _HURRY_GRACES * self._settings.grace_s
        soon = now + catch_up_interval_s * (0.75 + 0.5 * self._random.random())
        self._wake(lazy=soon, compare=soon)

    def _take_difference(self, source: str, message: Summary | Buckets, now: float) -> list[Effect]:
        group = self._groups.get(message.gid)
        if group is None:
            return []
        group.push.heard(source, now)
        return [Send(source, one) for one in self._answering.differences(group, source, message, now)]

    def _take_listing(self, source: str, message: Listing, now: float) -> list[Effect]:
        group = self._groups.get(message.gid)
        if group is None:
            return []
        group.push.heard(source, now)
        missing = self._answering.missing(group, source, message, now)
        if missing or any(rumor_id not in self._record for rumor_id in split(message.ids)):
            self._compare_soon(self._settings.interval_s, now)  # there is likely more, with others too
        effects: list[Effect] = [Send(source, Ihave(message.gid, ids)) for ids in chunks(missing)]
        return effects + self._lacking(source, message.gid, message.ids, now, 0.0)

    # --------------------------------------------------------------------------------------------------------- spread

    def _take_query(self, source: str, message: Query, now: float) -> list[Effect]:
        del now
        return [Send(source, Answer(message.gid, message.id, message.id in self._record))]

    def _take_answer(self, source: str, message: Answer, now: float) -> list[Effect]:
        del now
        self._confirm(message.id, source, has=message.has)
        return []

    def _confirm(self, rumor_id: bytes, source: str, *, has: bool = True) -> None:
        """Take that a member has a rumor that is followed, or not; what anybody else says isn't kept."""
        tracked = self._tracked.get(rumor_id)
        group = None if tracked is None else self._groups.get(tracked.gid)
        if tracked is not None and group is not None and group.has(source):
            if has:
                tracked.confirm(source)
            else:
                tracked.deny(source)

    # One table for all nodes of a process: with many of them, one each would not stay in the processor's cache.
    _takers: ClassVar[dict[type, Callable[[Any, str, Any, float], list[Effect]]]] = {
        Rumor: _take_rumor,
        Ihave: _take_ihave,
        Want: _take_want,
        Summary: _take_difference,
        Buckets: _take_difference,
        Listing: _take_listing,
        Query: _take_query,
        Answer: _take_answer,
    }
