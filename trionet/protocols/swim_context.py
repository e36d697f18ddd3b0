"""The state that the parts of one node's SWIM share.

Invariant: during one call from the driver, `now` is constant, and effects are appended in causal order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .awareness import Awareness
from .dissemination import Dissemination
from .effects import Send
from .members import Members
from .suspicion import suspicion_minimum_s
from .swim_settings import SwimCounts
from .timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trionet.profiles import Profile

    from .effects import Effect, ProtocolMessage
    from .statements import Statement
    from .swim_settings import SwimOptions
    from .timers import Timer

__all__ = ["Context"]


class Context:
    """The shared state of one node.

    Attributes:
        me: this node's name.
        profile, random, options: as passed to `Swim`.
        now: the time of the driver's call.
        own: this node's statement about itself.
        effects: the result of the driver's call so far.
        timers, awareness, members, news, counts: the parts' state.
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
        self.members: Members = Members(own, now, random, options)
        self.news: Dissemination = Dissemination(profile.retransmit_mult)
        self.counts: SwimCounts = SwimCounts()
        self.is_leaving: bool = False
        self._seq = random.getrandbits(30)

    def next_seq(self) -> int:
        """Return a new sequence number, for a question."""
        self._seq += 1
        return self._seq

    def send(self, to: str, message: ProtocolMessage) -> None:
        """Send a message by datagram; it may be lost."""
        self.effects.append(Send(to, message))

    def send_reliably(self, to: str, message: ProtocolMessage) -> None:
        """Send a message by a connection."""
        self.effects.append(Send(to, message, is_reliable=True))

    def suspicion_minimum_s(self) -> float:
        """Return the shortest suspicion timeout."""
        profile = self.profile
        return suspicion_minimum_s(
            profile.suspicion_mult, len(self.members), profile.gossip_interval_s, profile.probe_timeout_s
        )

    def after(self, wait_s: float, action: Callable[..., None], *args: Any) -> Timer:
        """Call ``action(*args)`` in `wait_s` seconds."""
        return self.timers.set(self.now + wait_s, action, *args)
