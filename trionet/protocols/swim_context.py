"""What the parts of one node's SWIM share.

Invariant: within one call from outside, `now` stands still and all effects are in the order in which they were caused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .awareness import Awareness
from .dissemination import Dissemination
from .effects import Send
from .members import Members
from .suspicion import expected_confirmations, suspicion_minimum_s
from .timers import Timers

if TYPE_CHECKING:
    from random import Random

    from trionet.profiles import Profile

    from .effects import Effect, ProtocolMessage
    from .statements import Statement

__all__ = ["Context", "SwimCounts", "SwimOptions"]


class SwimOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How much a node remembers, at most, and what it may do.

    Attributes:
        members: present ones; more are refused and counted. Sane: some times what is expected.
        gone: failed and left ones; of more, those gone longest are forgotten.
        forget_failed_s: how long a failed member is remembered, and tried again. A partition that lasts longer heals
            only by a join. Sane: longer than any outage that should heal by itself.
        forget_left_s: how long one that left is remembered. Sane: longer than any member may stand still, or it brings
            stale news of it.
        relays: probes made for others, at the same time.
        is_falling_back: whether a member whose datagrams don't come through is asked by a connection, too, before it is
            suspected.
    """

    members: int = 65_536
    gone: int = 65_536
    forget_failed_s: float = 72 * 3600.0
    forget_left_s: float = 3600.0
    relays: int = 256
    is_falling_back: bool = True


class SwimCounts(msgspec.Struct):
    """What came in and was not believed, and what was noticed.

    Attributes:
        invalid: statements that nobody honest makes.
        unknown_sender: messages from someone of whom nothing is known, that only a member may send.
        refused: statements about new members for whom there is no room.
        unexpected: answers that nobody waits for, or not from this one.
        refutations: how often this node had to say that it is alive.
        stalls: how often it was called much later than planned.
        failed_probes: probes that ended without a sign of life.
        syncs: comparisons of views begun.
    """

    invalid: int = 0
    unknown_sender: int = 0
    refused: int = 0
    unexpected: int = 0
    refutations: int = 0
    stalls: int = 0
    failed_probes: int = 0
    syncs: int = 0


class Context:
    """What the parts share.

    Attributes:
        me: this node's name.
        profile, random, options: as given.
        now: the time of the call from outside.
        own: what this node says about itself.
        effects: what is to be returned to the caller.
        timers, awareness, members, news, counts: the state proper.
        is_leaving: whether `own` is LEFT.
    """

    __slots__ = (
        "_seq",
        "awareness",
        "counts",
        "effects",
        "is_leaving",
        "me",
        "members",
        "news",
        "now",
        "options",
        "own",
        "profile",
        "random",
        "timers",
    )

    def __init__(self, own: Statement, profile: Profile, random: Random, now: float, options: SwimOptions) -> None:
        self.me: str = own.name
        self.profile: Profile = profile
        self.options: SwimOptions = options
        self.random: Random = random
        self.now: float = now
        self.own: Statement = own
        self.effects: list[Effect] = []
        self.timers: Timers = Timers()
        self.awareness: Awareness = Awareness()
        self.members: Members = Members(own, now, random, options.members, options.gone)
        self.news: Dissemination = Dissemination(profile.retransmit_mult)
        self.counts: SwimCounts = SwimCounts()
        self.is_leaving: bool = False
        self._seq = random.getrandbits(30)

    def next_seq(self) -> int:
        """Return a number for a question."""
        self._seq += 1
        return self._seq

    def send(self, to: str, message: ProtocolMessage) -> None:
        """Send a message that may be lost."""
        self.effects.append(Send(to, message))

    def send_reliably(self, to: str, message: ProtocolMessage) -> None:
        """Send a message by a connection."""
        self.effects.append(Send(to, message, is_reliable=True))

    def suspicion_minimum_s(self) -> float:
        """Return the least time that a suspect has."""
        profile = self.profile
        return suspicion_minimum_s(
            profile.suspicion_mult, len(self.members), profile.gossip_interval_s, profile.probe_timeout_s
        )

    def expected_confirmations(self) -> int:
        """Return how many confirmations make a suspicion as short as can be."""
        return expected_confirmations(len(self.members))
