"""The local health of a node: how likely it is the slow one.

Invariant: the score is between 0 (healthy) and `WORST`. Each sign that this node is slow raises it; each answered probe
lowers it by one. Intervals and timeouts of probes are multiplied by score + 1.

Source: Lifeguard (Dadgar, Phillips, Currey 2017), section IV-A, "Local Health Multiplier". The scheduling lag of the
event loop is our addition: it measures the cause that Lifeguard infers.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["WORST", "Awareness", "failed_probe_penalty", "stall_penalty"]

WORST: Final = 8


def failed_probe_penalty(asked: int, nacks: int) -> int:
    """Return the penalty of a failed probe.

    Args:
        asked: the number of relays that were asked.
        nacks: the number of nacks from them.

    Returns:
        1 without relays; else the number of relays that sent nothing, because with their number grows the
        probability that this node is at fault.

    Source: Lifeguard, section IV-A, and memberlist's ``probeNode``.
    """
    return max(0, asked - nacks) if asked else 1


def stall_penalty(lag_s: float, timeout_s: float) -> int:
    """Return the penalty of a stall of `lag_s`: one for each probe timeout begun, at most `WORST`."""
    return max(0, min(WORST, math.ceil(lag_s / timeout_s)))


class Awareness:
    """The local health of one node.

    Attributes:
        score: 0 is healthy; probe times are multiplied by ``score + 1``.
    """

    __slots__ = ("score",)

    def __init__(self) -> None:
        self.score: int = 0

    def add(self, penalty: int) -> None:
        """Change the score by `penalty`, within its bounds."""
        self.score = max(0, min(WORST, self.score + penalty))
