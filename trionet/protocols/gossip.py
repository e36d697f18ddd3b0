"""Gossip: each rumor reaches every live member of a group, and is delivered there once.

Invariants:

- A member accepts each rumor at most once, and forwards it then, whatever the user makes of it.
- A rumor that one live member holds reaches each live member that can communicate with it, directly or through others,
  if the time to live is long enough: every holder keeps comparing its rumors with those of random members.
- Incoming messages never raise. Rejected ones are counted.

Three mechanisms spread a rumor. *Push*, for speed: each new holder sends it to a few members at once (`push`). *Lazy
push*, for members that push missed: for some intervals each holder announces the 12-byte ids of recent rumors to a few
members (`announcing`), which pull those that they lack (`pulls`). *Anti-entropy*, for certainty: each holder compares
its rumors with those of one random member (`comparing`, `anti_entropy`), soon after news, and then ever less often.

A rumor for an unknown group is dropped and counted. Its id is not recorded, so that anti-entropy brings it if the group
becomes known before the rumor expires.

Source: Demers et al. 1987; Plumtree (Leitao, Pereira, Rodrigues 2007) for IHAVE and GRAFT.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from . import anti_entropy
from .announcing import Announcing
from .answered import Answered
from .batches import Batches
from .comparing import Comparing
from .effects import Notify, Send
from .gossip_messages import (
    ID_BYTES,
    Answer,
    Buckets,
    Delivered,
    Ihave,
    Listing,
    Query,
    Rumor,
    Sent,
    Summary,
    UnknownGroup,
    Want,
    chunks,
    split,
)
from .gossip_settings import GossipCounts, GossipSettings
from .group_members import GroupMembers
from .pulls import Pulls
from .push import RandomPush
from .rumors import Held, RumorGroup, SeenIds, may_be_forgotten
from .spread import Tracking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from random import Random

    from .effects import Effect, ProtocolMessage
    from .push import Push, Step

__all__ = ["GossipProtocol"]


class GossipProtocol:
    """The rumors of one node.

    Attributes:
        me: this node's name.
        counts: counts of rumors so far.
        tracking: how far this node's latest rumors have spread.
        messages: the kinds of messages that it handles.
    """

    __slots__ = (
        "_announcing",
        "_answered",
        "_batches",
        "_comparing",
        "_groups",
        "_next_deadline",
        "_pulls",
        "_random",
        "_seen",
        "_sent_at",
        "_settings",
        "counts",
        "me",
        "tracking",
    )

    messages: tuple[type[ProtocolMessage], ...] = (Rumor, Ihave, Want, Summary, Buckets, Listing, Query, Answer)

    def __init__(self, me: str, random: Random, settings: GossipSettings | None = None) -> None:
        """Start with no groups.

        Args:
            me: this node's name.
            random: its random numbers.
            settings: intervals and bounds; by default those of a LAN.
        """
        self.me: str = me
        self.counts: GossipCounts = GossipCounts()
        self._random = random
        self._settings = settings = GossipSettings() if settings is None else settings
        self._groups: dict[str, RumorGroup] = {}
        self._seen = SeenIds(2 * settings.retention_s, settings.most_seen)
        self._pulls = Pulls(settings.pull_timeout_s, settings.most_wanted)
        self.tracking: Tracking = Tracking(self._groups, settings.most_tracked)
        self._answered = Answered(settings.pull_timeout_s / 2)  # a pull that is retried waits for twice as long
        self._announcing = Announcing(self._groups, settings, random)
        self._comparing = Comparing(self._groups, settings, self.counts, self._answered, random)
        self._batches = Batches()
        self._next_deadline = math.inf
        self._sent_at = -math.inf

    # ---- for the user

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
        """Add a group, or replace its members.

        Args:
            gid: the group.
            members: the names of all members, each once; a tuple isn't copied, so many nodes can share it.
            subset: how many members each holder pushes a rumor to: a number, a function of the members, or None for
                `push.default_subset`. A function is called now; the result is clamped to the number of others.
            now: the time.
            push: chooses the targets of rumors, in place of `subset`.
            is_member: whether this node is a member, if the caller knows.

        Raises:
            Exception: whatever `subset` raises, before anything has changed.
        """
        settings = self._settings
        group_members = GroupMembers(self.me, tuple(members), self._random, is_member=is_member)
        pushing = RandomPush(subset) if push is None else push
        pushing.adjust(group_members)
        group = self._groups.get(gid)
        if group is not None:
            group.members, group.push = group_members, pushing
            return
        self._groups[gid] = RumorGroup(
            gid, group_members, pushing, retention_s=settings.retention_s, most_bytes=settings.most_bytes
        )
        # A new member may have missed rumors, so it compares soon.
        soon = now + self._random.random() * settings.interval_s
        self._comparing.next_due = min(self._comparing.next_due, soon)
        self._lower_deadline()

    def change_group(self, gid: str, added: Iterable[str], removed: Iterable[str]) -> None:
        """Add and remove members of a group, in time proportional to their number.

        A `subset` function is called again, with the list of all members.

        Raises:
            KeyError: there is no such group.
            Exception: whatever `subset` raises; the members have changed.
        """
        group = self._groups[gid]
        group.members.change(added, removed)
        group.push.adjust(group.members)

    def drop_group(self, gid: str) -> None:
        """Drop a group, if it exists, and its rumors; their ids stay recorded."""
        if self._groups.pop(gid, None) is not None:
            self._pulls.drop_group(gid)
            self.tracking.drop_group(gid)

    def groups(self) -> list[str]:
        """Return the gids of the known groups."""
        return list(self._groups)

    def send(self, gid: str, payload: bytes, now: float) -> Sent:
        """Start a rumor. If this node is a member, it is delivered here too.

        Raises:
            KeyError: there is no such group.
        """
        group = self._groups[gid]
        rumor_id = self._random.getrandbits(8 * ID_BYTES).to_bytes(ID_BYTES, "big")
        self.counts.sent += 1
        self.tracking.begin(gid, rumor_id)
        step = group.push.step(group.members, None, 0, now)
        effects = self._accept(group, Held(gid, rumor_id, self.me, payload, now, now, step.hops), step, now)
        self._sent_at = now
        return Sent(rumor_id, effects)

    # ---- as a `Core`

    def receive(self, source: str, message: Any, now: float) -> list[Effect]:
        """Handle a message."""
        kind = type(message)
        if kind is Rumor:
            effects = self._receive_rumor(source, message, now)
        elif kind is Query:
            has, knows_group = message.id in self._seen, message.gid in self._groups
            effects = [Send(source, Answer(message.gid, message.id, has, knows_group))]
        elif kind is Answer:
            self.tracking.note(message.id, source, has=message.has, knows_group=message.knows_group)
            return []
        else:
            group = self._groups.get(message.gid)
            if group is None:
                return []
            group.push.received(source, now)
            effects = self._handlers[kind](self, group, source, message, now)
        if effects:
            self._sent_at = now
        return effects

    def next_deadline(self) -> float:
        """Return when to call `on_timer` next."""
        return self._next_deadline

    def on_timer(self, now: float) -> list[Effect]:
        """Send batches, pull, announce and compare, each if it is due."""
        effects: list[Effect] = []
        if self._batches.next_due <= now:
            effects += self._send_batches(now)
        if self._pulls.next_due <= now:
            effects += self._pull(now)
        if self._announcing.next_due <= now:
            effects += self._announcing.announce(now)
        if self._comparing.next_due <= now:
            self._seen.forget_old(now)
            effects += self._comparing.begin(now, self._announcing.catch_up_interval_s(now))
        if effects:
            self._sent_at = now
        self._next_deadline = math.inf
        self._lower_deadline()
        return effects

    def piggyback(self, to: str, room_bytes: int, now: float) -> Sequence[ProtocolMessage]:
        """Return announcements, which then need no packet of their own."""
        announcing = self._announcing
        if announcing.next_due == math.inf or now <= self._sent_at:
            return ()
        return announcing.piggyback(to, room_bytes, now)

    def unreachable(self, to: str, now: float) -> list[Effect]:
        """Pull the rumors that were requested from `to` from other holders."""
        self._pulls.unreachable(to, now)
        self._lower_deadline()
        return []

    def knows(self, name: str) -> bool:
        """Return whether `name` is a member of a known group."""
        return any(name in group.members for group in self._groups.values())

    def repeat(self, to: str, now: float) -> list[Effect]:
        """Send the pulls and summaries to `to` again."""
        self._pulls.unreachable(to, now)
        effects = self._pull(now)
        self._lower_deadline()
        for group in self._groups.values():
            if group.held and to in group.members:
                effects.append(Send(to, anti_entropy.summary(group, self._settings.settle_s, now)))
        return effects

    def _lower_deadline(self) -> None:
        self._next_deadline = min(
            self._next_deadline,
            self._batches.next_due,
            self._pulls.next_due,
            self._announcing.next_due,
            self._comparing.next_due,
        )

    def _receive_rumor(self, source: str, message: Rumor, now: float) -> list[Effect]:
        rumor_id = message.id
        if rumor_id in self._seen.seen_at:
            self.counts.duplicates += 1
            if rumor_id in self.tracking.by_id:
                self.tracking.note(rumor_id, source)
            return []
        group = self._groups.get(message.gid)
        if group is None:
            self.counts.unknown_group += 1
            return [Notify(UnknownGroup(message.gid))]
        settings = self._settings
        age_s = message.age_ms / 1000
        if age_s >= settings.retention_s:
            self.counts.expired += 1
            return []
        if may_be_forgotten(age_s, now - self._seen.forgotten_at):
            self.counts.refused += 1
            return []
        if self._pulls.received(rumor_id):
            self.counts.pulled += 1
            if settings.catch_up_interval_s:
                self._comparing.next_due = min(self._comparing.next_due, self._announcing.catch_up(now))
        group.push.received(source, now)
        if age_s > 2 * settings.settle_s:  # so late that others were probably missed, too
            self._comparing.hasten(settings.interval_s, now)
        step = group.push.step(group.members, source, message.hops, now)
        held = Held(message.gid, rumor_id, message.origin, message.payload, now - age_s, now, step.hops)
        return self._accept(group, held, step, now)

    def _accept(self, group: RumorGroup, held: Held, step: Step, now: float) -> list[Effect]:
        """Hold a rumor, deliver it, and forward it."""
        self._seen.add(held.id, now)
        group.add(held)
        effects: list[Effect] = []
        if group.members.is_member:
            self.counts.delivered += 1
            effects.append(Notify(Delivered(held.gid, held.id, held.origin, now - held.born_at, held.payload)))
        if step.wait_s > 0:
            self._batches.add(held, step, now)
        else:
            if step.targets:
                message = held.message(now)
                effects += [Send(to, message) for to in step.targets]
                group.push.sent(step.targets, now)
            effects += [Send(to, Ihave(held.gid, held.id)) for to in step.announced_to]
        self._announcing.start(now)
        self._comparing.note_news(now)
        self._lower_deadline()
        return effects

    def _send_batches(self, now: float) -> list[Effect]:
        """Send the batches that are due, each with an announcement of other recent rumors."""
        effects: list[Effect] = []
        for to, batch in self._batches.pop_due(now):
            effects += [Send(to, message) for message in batch.messages(now)]
            just_sent = {held.id: held.gid for held in (*batch.held, *batch.announced)}
            for gid in dict.fromkeys(just_sent.values()):
                group = self._groups.get(gid)
                if group is not None:
                    group.push.sent((to,), now)
                    ids = [one for one in self._announcing.recent(group, now) if one not in just_sent]
                    effects += [Send(to, Ihave(gid, part)) for part in chunks(ids)]
            self._announcing.remaining = max(0, self._announcing.remaining - 1)
        return effects

    def _receive_ihave(self, group: RumorGroup, source: str, message: Ihave, now: float) -> list[Effect]:
        announcing = self._announcing
        wait_s = self._settings.grace_s if now >= announcing.catch_up_until else announcing.short_grace_s
        return self._want(source, group.gid, message.ids, now, wait_s)

    def _want(self, source: str, gid: str, ids: bytes, now: float, wait_s: float) -> list[Effect]:
        """Pull, after `wait_s`, the unseen ones of the rumors that `source` holds."""
        seen_at, tracked = self._seen.seen_at, self.tracking.by_id
        for rumor_id in (ids,) if len(ids) == ID_BYTES else split(ids):
            if rumor_id not in seen_at:
                self._pulls.announced(gid, rumor_id, source, now + wait_s)
            elif rumor_id in tracked:
                self.tracking.note(rumor_id, source)
        effects = self._pull(now) if wait_s <= 0 else []
        if self._pulls.next_due < self._next_deadline:  # noqa: PLR1730 - twice as fast as min(), and hot
            self._next_deadline = self._pulls.next_due
        return effects

    def _pull(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for (to, gid), wanted in self._pulls.due(now).items():
            effects += [Send(to, Want(gid, ids)) for ids in chunks(wanted)]
        return effects

    def _receive_want(self, group: RumorGroup, source: str, message: Want, now: float) -> list[Effect]:
        found: list[Effect] = []
        for rumor_id in split(message.ids):
            held = group.held.get(rumor_id)
            if held and self._answered.is_due(source, (group.gid, rumor_id), now, len(held.payload)):
                found.append(Send(source, held.message(now)))
        return found

    def _receive_listing(self, group: RumorGroup, source: str, message: Listing, now: float) -> list[Effect]:
        missing = self._comparing.missing(group, source, message, now)
        if missing or any(rumor_id not in self._seen for rumor_id in split(message.ids)):
            self._comparing.hasten(self._settings.interval_s, now)  # there are probably more, at others too
            self._lower_deadline()
        effects: list[Effect] = [Send(source, Ihave(message.gid, ids)) for ids in chunks(missing)]
        return effects + self._want(source, message.gid, message.ids, now, 0.0)

    # One table for all nodes of a process: with many nodes, one each would not stay in the processor's cache.
    _handlers: ClassVar[dict[type, Callable[[Any, RumorGroup, str, Any, float], list[Effect]]]] = {
        Ihave: _receive_ihave,
        Want: _receive_want,
        Summary: lambda self, group, source, message, now: self._comparing.answer(group, source, message, now),
        Buckets: lambda self, group, source, message, now: self._comparing.answer(group, source, message, now),
        Listing: _receive_listing,
    }
