"""The timeout of a suspicion, and its state.

Invariant: the timeout never grows with the number of independent confirmations, and never falls below the minimum. In
the minimum the suspicion can reach the suspect, and its refutation come back, in several ways. The timeout applies to a
node whose own probe failed; other nodes wait for its verdict.

Source: Lifeguard (Dadgar, Phillips, Currey 2017), section IV-B, "Local Health Aware Suspicion". There the minimum
scales with the probe interval; here with the gossip interval.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from .member_record import MemberRecord
from .statements import MOST_SUSPECTED_BY
from .timers import Timer

__all__ = [
    "MAXIMUM_MULT",
    "VOLUNTEERS",
    "Suspicion",
    "expected_confirmations",
    "suspicion_maximum_s",
    "suspicion_minimum_s",
    "suspicion_timeout_s",
]

MAXIMUM_MULT: Final = 6
"""The timeout without any confirmation, as a multiple of the shortest one; memberlist's ``SuspicionMaxTimeoutMult``."""

VOLUNTEERS: Final = 6
"""So many members probe a suspect at once when they hear of the suspicion: the nearest before it on the circle of
hashed names that are not suspected, so that their number does not depend on chance. Three confirmations are enough, so
some of them may fail, too."""

_SPREADS: Final = 2.0
"""In so many gossip intervals news reaches all members. With a probe before it, the minimum is then nearly 3 s in `LAN`
and `LOCAL`: a member that stands still for 0.5 to 3 s again and again, as when it lacks processor time, is hardly ever
held failed. With 1.7, one of 30 was in 19 of 60 runs of a minute."""


def suspicion_minimum_s(mult: int, gossip_interval_s: float, probe_timeout_s: float) -> float:
    """Return the shortest suspicion timeout in seconds: `mult` times the time that news takes, and one probe timeout.

    Lifeguard's grows with the logarithm of the group's size, as the time does in which a refutation spreads. Here a
    node with evidence of its own pings the suspect until the end, and the suspect answers it directly.
    """
    return mult * _SPREADS * gossip_interval_s + probe_timeout_s


def suspicion_maximum_s(mult: int, gossip_interval_s: float, probe_timeout_s: float) -> float:
    """Return the suspicion timeout in seconds without any confirmation.

    It is the same in all groups: of ten members that fail at once, some are not confirmed by all who should.
    """
    return MAXIMUM_MULT * (mult * gossip_interval_s + probe_timeout_s)


def suspicion_timeout_s(confirmations: int, expected: int, minimum_s: float, maximum_s: float) -> float:
    """Return the suspicion timeout after `confirmations` independent reports.

    Args:
        confirmations: reports so far by others, >= 0.
        expected: reports that drive it down to the minimum, >= 0; with none expected the minimum holds at once.
        minimum_s: lower bound in seconds.
        maximum_s: upper bound in seconds, >= minimum_s.

    Returns:
        Seconds since the suspicion began; never increases with confirmations.

    Raises:
        ValueError: the bounds are reversed.

    Source: Lifeguard (Dadgar, Phillips, Currey 2017), section IV-B.
    """
    if minimum_s > maximum_s:
        raise ValueError(f"the minimum {minimum_s} s is over the maximum {maximum_s} s")
    if confirmations >= expected:
        return minimum_s
    share = math.log(confirmations + 1) / math.log(expected + 1)
    return max(minimum_s, maximum_s - share * (maximum_s - minimum_s))


def expected_confirmations(members: int) -> int:
    """Return K: how many confirmations shorten the timeout to the minimum; fewer in a small group."""
    return max(0, min(MOST_SUSPECTED_BY - 1, members - 2))


class Suspicion(msgspec.Struct, eq=False):
    """A suspicion at one node.

    Attributes:
        member: the suspect.
        incarnation: the suspected incarnation.
        seq: the sequence number of the final probes.
        began: when this node's own probe failed; None while it has no evidence of its own.
        final_probes: how many were sent.
        asked: members that were asked to relay them.
        is_volunteer: whether this node has probed the suspect because it is near on the circle.
        timer: for the verdict, or for a probe if there is no evidence of its own.
        final_probe_timer: for the next final probe.
    """

    member: MemberRecord
    incarnation: int
    seq: int
    began: float | None = None
    final_probes: int = 0
    asked: set[str] = msgspec.field(default_factory=set)
    is_volunteer: bool = False
    timer: Timer | None = None
    final_probe_timer: Timer | None = None

    def confirmations(self, me: str) -> int:
        """Return how many other nodes have reported the suspicion."""
        suspected_by = self.member.statement.suspected_by
        return len(suspected_by) - (me in suspected_by)

    def cancel(self) -> None:
        """Cancel its timers."""
        for timer in (self.timer, self.final_probe_timer):
            if timer is not None:
                timer.cancel()
