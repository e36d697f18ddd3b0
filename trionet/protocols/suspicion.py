"""How long a suspect has to refute, and who suspects it.

Invariant: the time never grows with the number of independent confirmations, and is never under the minimum, which
leaves the suspect several chances to hear of the suspicion, and its refutation several ways back. Only a node whose own
probe failed has this time; the others wait for its verdict.

Source: Lifeguard (Dadgar, Phillips, Currey 2017), section IV-B, "Local Health Aware Suspicion". Its minimum scales with
the probe interval; ours with the time that news takes to get round, which is what a refutation needs.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from .members import MemberRecord
from .statements import MOST_SUSPECTED_BY
from .timers import Timer

__all__ = [
    "MAXIMUM_MULT",
    "Suspicion",
    "expected_confirmations",
    "suspicion_minimum_s",
    "suspicion_timeout_s",
    "volunteer_chance",
]

MAXIMUM_MULT: Final = 6
"""Without any confirmation a suspect has this many times the minimum; memberlist's ``SuspicionMaxTimeoutMult``."""


def suspicion_minimum_s(mult: int, members: int, gossip_interval_s: float, probe_timeout_s: float) -> float:
    """Return the least time in seconds that a suspect has to refute, in a group of `members`.

    That is `mult` times what news takes to get round (some log10(members) intervals of gossip), and one probe timeout
    for the last question.
    """
    return mult * max(1.0, math.log10(max(1, members))) * gossip_interval_s + probe_timeout_s


def suspicion_timeout_s(confirmations: int, expected: int, minimum_s: float, maximum_s: float) -> float:
    """Return how long to keep suspecting after `confirmations` independent reports.

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
    """Return K: how many confirmations make a suspicion as short as can be; fewer where there are fewer others."""
    return max(0, min(MOST_SUSPECTED_BY - 1, members - 2))


def volunteer_chance(members: int) -> float:
    """Return how likely one that hears of a suspicion probes the suspect at once: about K + 1 of all do."""
    return min(1.0, 1.5 * (expected_confirmations(members) + 1) / max(1, members - 2))


class Suspicion(msgspec.Struct, eq=False):
    """A suspicion as one node holds it.

    Attributes:
        member: the suspect.
        incarnation: of the suspect; a higher one is another matter.
        began: when this node's own evidence came; None while it has only heard of it.
        seq: the number of this node's last questions to the suspect.
        calls: how many of these there were.
        asked: others who were asked to ask it.
        timer: for the verdict; without evidence of its own, for a probe of its own.
        call_timer: for the next question.
    """

    member: MemberRecord
    incarnation: int
    seq: int
    began: float | None = None
    calls: int = 0
    asked: set[str] = msgspec.field(default_factory=set)
    timer: Timer | None = None
    call_timer: Timer | None = None

    def confirmations(self, me: str) -> int:
        """Return how many others suspect the suspect."""
        suspected_by = self.member.statement.suspected_by
        return len(suspected_by) - (me in suspected_by)

    def cancel(self) -> None:
        """Let nothing come of it."""
        for timer in (self.timer, self.call_timer):
            if timer is not None:
                timer.cancel()
