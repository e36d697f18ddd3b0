"""How fast a rumor spreads by the theory: the SI model, with a rate that follows from fan-out and latencies.

Each node that hears a rumor passes it on to f others, whose copies arrive after latencies L. As long as nearly nobody
has it, that is a branching process, which grows as exp(rate t) where f E[exp(-rate L)] = 1, the Euler-Lotka equation.
The SI model lets it slow down with the share of those that don't have it yet: ds/dt = rate s (1 - s), which the
logistic curve solves. It is the case of Kermack and McKendrick 1927 in which nobody recovers; Demers et al. 1987,
section 1.3, call it the simple epidemic. Nothing in it is fitted to the spread that is measured.

In the SI model everybody passes the rumor on for ever, so everybody gets it. Real push does so once, and what it
reaches alone is the root of r = 1 - exp(-f r), Kermack and McKendrick's final size; see Demers et al., section 1.4.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["growth_rate", "push_reach", "si_share"]

_STEPS: Final = 200
_MOST_LATENCIES: Final = 4000
_LEAST_LATENCY_S: Final = 1e-9


def growth_rate(fan_out: int, latencies_s: Sequence[float]) -> float:
    """Return at what rate the first spread grows, per second: the root of ``fan_out * mean(exp(-rate * L)) = 1``.

    Args:
        fan_out: to how many each node passes a rumor on, at least 1.
        latencies_s: how long messages took, measured; infinite for what was lost. Of many some thousands are used.

    Returns:
        The rate; 0 where the spread doesn't grow: with a fan-out of 1, or where too much is lost.
    """
    latencies_s = latencies_s[:: 1 + len(latencies_s) // _MOST_LATENCIES]
    arrived = [max(latency, _LEAST_LATENCY_S) for latency in latencies_s if latency < math.inf]
    if not arrived or fan_out * len(arrived) <= len(latencies_s):
        return 0.0

    def offspring(rate: float) -> float:
        return fan_out * sum(math.exp(-rate * latency) for latency in arrived) / len(latencies_s)

    low, high = 0.0, 1.0 / max(arrived)
    while offspring(high) > 1.0:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if offspring(middle) > 1.0:
            low = middle
        else:
            high = middle
        if high - low <= 1e-12 * high:
            break
    return (low + high) / 2


def si_share(after_s: float, rate: float, at_first: float) -> float:
    """Return the share of nodes that have a rumor by the SI model.

    Args:
        after_s: how much later than when the share was `at_first`.
        rate: at which it grows at first, per second.
        at_first: a share, more than 0 and at most 1.
    """
    return 1.0 / (1.0 + (1.0 / at_first - 1.0) * math.exp(-rate * after_s))


def push_reach(fan_out: int) -> float:
    """Return what share of many nodes push reaches where each passes a rumor on once, to `fan_out` others."""
    reach = 1.0
    for _ in range(_STEPS):
        reach = 1.0 - math.exp(-fan_out * reach)
    return reach if fan_out > 1 else 0.0
