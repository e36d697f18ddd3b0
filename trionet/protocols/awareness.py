"""How far a member doubts itself before it doubts others.

Invariant: the score is from 0 (all is well) to `worst`; everything that shows that this member may be the slow one
raises it, each probe that is answered lowers it by one. Intervals and timeouts of probes are multiplied by score + 1.

Source: Lifeguard (Dadgar, Phillips, Currey 2017), section IV-A, "Local Health Multiplier"; that the scheduling lag of
one's own event loop counts is ours: it is the direct sight of what Lifeguard infers.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["WORST", "Awareness", "failed_probe_penalty", "stall_penalty"]

WORST: Final = 8


def failed_probe_penalty(asked: int, nacks: int) -> int:
    """Return what a failed probe adds to the score.

    Args:
        asked: how many others were asked to try.
        nacks: how many of them said that they had no answer either.

    Returns:
        1 if nobody could be asked; else the number of those who owe an answer: they, too, seem to be gone, so that it
        is more likely me.

    Source: Lifeguard, section IV-A, and memberlist's ``probeNode``.
    """
    return max(0, asked - nacks) if asked else 1


def stall_penalty(lag_s: float, timeout_s: float) -> int:
    """Return what a stall of `lag_s` adds to the score: one for each probe timeout begun, at most `WORST`."""
    return max(0, min(WORST, math.ceil(lag_s / timeout_s)))


class Awareness:
    """The local health of one member.

    Attributes:
        score: 0 is best; times are to be multiplied by ``score + 1``.
    """

    __slots__ = ("_worst", "score")

    def __init__(self, worst: int = WORST) -> None:
        self.score: int = 0
        self._worst = worst

    def add(self, penalty: int) -> None:
        """Change the score by `penalty`, within its bounds."""
        self.score = max(0, min(self._worst, self.score + penalty))
