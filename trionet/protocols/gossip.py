"""Gossip: each rumor reaches every live member of a group, and is delivered there once.

Invariants:

- A member accepts each rumor at most once, and forwards it then, whatever the user makes of it.
- A rumor that one live member holds reaches each live member that can communicate with it, directly or through others,
  if the time to live is long enough: every holder keeps comparing its rumors with those of random members.
- Incoming messages never raise. Rejected ones are counted.
- Entries, the rumors that are kept, spread in the same way (`keeping`).

Three mechanisms spread a rumor. *Push*, for speed: each new holder sends it to a few members at once (`push`). *Lazy
push*, for members that push missed: for some intervals each holder announces the 12-byte ids of recent rumors to a few
members (`announcing`), which pull those that they lack (`exchange`, `pulls`). *Anti-entropy*, for certainty: each
holder compares its rumors with those of one random member (`comparing`, `anti_entropy`), soon after news, and then ever
less often.

A rumor for an unknown group is dropped and counted. Its id is not recorded, so that anti-entropy brings it if the group
becomes known before the rumor expires.

Source: Demers et al. 1987; Plumtree (Leitao, Pereira, Rodrigues 2007) for IHAVE and GRAFT.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from . import anti_entropy
from .announcing import Announcing
from .answered import Answered
from .batches import Batches
from .comparing import Comparing
from .delivering import Delivering
from .effects import Notify, Send
from .entries import Entry
from .exchange import Exchange
from .forwarding import Forwarding
from .gossip_messages import (
    Answer,
    Buckets,
    Ihave,
    Listing,
    Query,
    Rumor,
    Summary,
    UnknownGroup,
    Want,
)
from .gossip_settings import GossipCounts, GossipSettings
from .group_members import GroupMembers
from .keeping import Keeping
from .pulls import Pulls
from .push import RandomPush
from .rumors import RumorGroup
from .spread import Tracking
from .tree_push import TreePush

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from random import Random

    from .effects import Effect, ProtocolMessage
    from .entries import Put
    from .gossip_messages import Sent
    from .push import Push

__all__ = ["GossipProtocol"]


class GossipProtocol:
    """The rumors and entries of one node.

    Attributes:
        me: this node's name.
        counts: counts of rumors so far.
        delivering: starts, accepts and forwards rumors.
        tracking: how far this node's latest rumors have spread.
        messages: the kinds of messages that it handles.
    """

    __slots__ = (
        "_announcing",
        "_batches",
        "_comparing",
        "_exchange",
        "_forwarding",
        "_groups",
        "_keeping",
        "_next_deadline",
        "_pulls",
        "_random",
        "_seen",
        "_sent_at",
        "_settings",
        "counts",
        "delivering",
        "me",
        "tracking",
    )

    messages: tuple[type[ProtocolMessage], ...] = (
        Rumor,
        Entry,
        Ihave,
        Want,
        Summary,
        Buckets,
        Listing,
        Query,
        Answer,
    )

    def __init__(self, me: str, random: Random, settings: GossipSettings | None = None) -> None:
        """Start with no groups; with the random numbers of `random`, and by default the settings of a LAN."""
        self.me: str = me
        self.counts: GossipCounts = GossipCounts()
        self._random = random
        self._settings = settings = GossipSettings() if settings is None else settings
        self._groups: dict[str, RumorGroup] = {}
        self._pulls = Pulls(settings.pull_timeout_s, settings.most_wanted)
        self.tracking: Tracking = Tracking(self._groups, settings.most_tracked)
        answered = Answered(settings.pull_timeout_s / 2)  # a pull that is retried waits for twice as long
        self._announcing = Announcing(self._groups, settings, random)
        self._comparing = Comparing(self._groups, settings, self.counts, answered, random)
        self._batches = Batches()
        self._forwarding = Forwarding(self._groups, self._batches, self._announcing, self._comparing)
        shared = self.counts, self.tracking, self._comparing, self._forwarding, random
        self.delivering: Delivering = Delivering(me, self._groups, settings, *shared)
        self._keeping = Keeping(me, self._groups, settings, *shared)
        self._seen = self.delivering.seen
        self._exchange = Exchange(
            settings, self._seen, self._pulls, self.tracking, self._announcing, self._comparing, answered
        )
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
            members: the names of all, each once; many nodes can share a tuple, or `OrderedNames`, which aren't sorted.
            subset: how many random members each holder pushes a rumor to: a number, a function of the members, or None
                for a tree, see `tree_push`. A function is called now; the result is clamped to the number of others.
            now: the time.
            push: chooses the targets of rumors, in place of `subset`.
            is_member: whether this node is a member, if the caller knows.

        Raises:
            Exception: whatever `subset` raises, before anything has changed.
        """
        settings = self._settings
        group_members = GroupMembers(self.me, members, self._random, is_member=is_member)
        pushing = push or (TreePush() if subset is None else RandomPush(subset))
        pushing.adjust(group_members)
        group = self._groups.get(gid)
        if group is None:
            self._groups[gid] = RumorGroup(
                gid, group_members, pushing, retention_s=settings.retention_s, most_bytes=settings.most_bytes
            )
            self._comparing.begin_soon(now)
        else:
            was_alone = not group.members.others()
            group.members, group.push = group_members, pushing
            self._note_others(group, now, was_alone=was_alone)
        self._lower_deadline()

    def change_group(self, gid: str, added: Iterable[str], removed: Iterable[str], *, now: float) -> None:
        """Add and remove members of a group, in time proportional to their number.

        A `subset` function is called again, with the list of all members.

        Raises:
            KeyError: there is no such group.
            Exception: whatever `subset` raises; the members have changed.
        """
        group = self._groups[gid]
        was_alone = not group.members.others()
        group.members.change(added, removed)
        self._note_others(group, now, was_alone=was_alone)
        group.push.adjust(group.members)

    def _note_others(self, group: RumorGroup, now: float, *, was_alone: bool) -> None:
        """Compare a group soon when it gets its first other members: the group may be new here, and old there."""
        if was_alone and group.members.others():
            self._comparing.hasten(self._settings.interval_s, now)
            self._comparing.begin_soon(now)
            self._lower_deadline()

    def drop_group(self, gid: str) -> None:
        """Drop a group, if it exists, with its rumors, whose ids stay recorded, and its entries, whose ids don't."""
        if self._groups.pop(gid, None) is not None:
            self._pulls.drop_group(gid)
            self.tracking.drop_group(gid)

    def groups(self) -> list[str]:
        """Return the gids of the known groups."""
        return list(self._groups)

    def has_group(self, gid: str) -> bool:
        """Return whether a group is known."""
        return gid in self._groups

    def send(self, gid: str, payload: bytes, now: float) -> Sent:
        """Start a rumor. If this node is a member, it is delivered here too.

        Raises:
            KeyError: there is no such group.
        """
        sent = self.delivering.send(gid, payload, now)
        self._lower_deadline()
        self._sent_at = now
        return sent

    def set_wall(self, wall_ms: int, now: float) -> None:
        """Handle the physical time `wall_ms`, in milliseconds since 1970, for the age of tombstones."""
        self._keeping.clock.set_wall(wall_ms, now)

    def put(self, gid: str, key: str, value: bytes | None, now: float, wall_ms: int) -> Put:
        """Write an entry of a group's map; each put makes a new one.

        Args:
            gid: the group.
            key: 1 to 255 bytes as UTF-8.
            value: its value; None removes the key.
            now: the time.
            wall_ms: the physical time, in milliseconds since 1970.

        Raises:
            KeyError: there is no such group.
            EntriesFull: the map, or the value, would be over a bound.
            StampsUsedUp: no stamp exceeds those that were seen.
        """
        put = self._keeping.put(gid, key, value, now, wall_ms)
        self._lower_deadline()
        self._sent_at = now
        return put

    def merge(self, entry: Entry, now: float) -> list[Effect]:
        """Hold an entry that came by a call: it is announced and compared, and not pushed, as its writer has done that.

        An invalid one is counted, and ignored.

        Raises:
            KeyError: there is no such group.
        """
        effects = self._keeping.merge(entry, now)
        self._lower_deadline()
        return effects

    def entry(self, gid: str, key: str) -> Entry | None:
        """Return the entry of a key, None if there is none, or it is removed.

        Raises:
            KeyError: there is no such group.
        """
        entry = self._groups[gid].entries.by_key.get(key)
        return None if entry is None or entry.value is None else entry

    def entries(self, gid: str) -> list[Entry]:
        """Return the entries of a group, less the removed ones, in the order of their keys.

        Raises:
            KeyError: there is no such group.
        """
        return self._groups[gid].entries.live()

    def forget_entries(self, now: float) -> None:
        """Drop the entries of all groups, and compare these soon."""
        for group in self._groups.values():
            group.forget_entries()
        self._comparing.begin_soon(now)
        self._lower_deadline()

    # ---- as a `Core`

    def receive(self, source: str, message: Any, now: float) -> list[Effect]:
        """Handle a message."""
        kind = type(message)
        if kind is Rumor or kind is Entry:
            effects = self._receive_news(source, message, now)
        elif kind is Query:
            group = self._groups.get(message.gid)
            has, knows_group = self._exchange.has_seen(group, message.id), group is not None
            effects = [Send(source, Answer(message.gid, message.id, has, knows_group))]
        elif kind is Answer:
            self.tracking.note(message.id, source, has=message.has, knows_group=message.knows_group)
            return []
        else:
            group = self._groups.get(message.gid)
            if group is None:
                return []
            group.push.received(source, now)
            effects = self._exchange.receive(group, source, message, now)
            if self._pulls.next_due < self._next_deadline:  # noqa: PLR1730 - twice as fast as min(), and hot
                self._next_deadline = self._pulls.next_due
            if kind is Listing:
                self._lower_deadline()
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
            effects += self._forwarding.send_batches(now)
        if self._pulls.next_due <= now:
            effects += self._exchange.pull(now)
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
        effects = self._exchange.pull(now)
        self._lower_deadline()
        for group in self._groups.values():
            if group.held and to in group.members:
                effects.append(Send(to, anti_entropy.summary(group, self._settings.settle_s, now)))
        return effects

    def _lower_deadline(self) -> None:
        announced, compared = self._announcing.next_due, self._comparing.next_due
        self._next_deadline = min(
            self._next_deadline, self._batches.next_due, self._pulls.next_due, announced, compared
        )

    def _receive_news(self, source: str, message: Rumor | Entry, now: float) -> list[Effect]:
        """Handle a rumor or an entry."""
        if message.id in self._seen.seen_at:
            return self._receive_again(source, message, now)
        group = self._groups.get(message.gid)
        if group is None:
            self.counts.unknown_group += 1
            return [Notify(UnknownGroup(message.gid))]
        if isinstance(message, Rumor):
            if self.delivering.is_refused(message, now):
                return []
        elif group.knows(message.id):
            return self._receive_again(source, message, now)
        is_pulled = self._pulls.received(message.id)
        if is_pulled:
            self.counts.pulled += 1
            if self._settings.catch_up_interval_s:
                self._comparing.next_due = min(self._comparing.next_due, self._announcing.catch_up(now))
        group.push.received(source, now)
        if isinstance(message, Rumor):
            effects = self.delivering.receive(group, source, message, now, is_pulled=is_pulled)
        else:
            effects = self._keeping.receive(group, source, message, now)
        self._lower_deadline()
        return effects

    def _receive_again(self, source: str, message: Rumor | Entry, now: float) -> list[Effect]:
        """Handle another copy of a rumor or an entry."""
        self.counts.duplicates += 1
        self.tracking.note_copy(message.gid, message.id, source)
        return self.delivering.receive_share(message, now) if isinstance(message, Rumor) and message.share else []
