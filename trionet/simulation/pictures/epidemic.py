"""The theory of a rumor's spread: the SI model, with a rate that follows from fan-out and latencies.

Each node that receives a rumor sends it to f others, which receive it after latencies L. While few nodes have it, this
is a branching process, which grows as exp(rate t) where f E[exp(-rate L)] = 1, the Euler-Lotka equation. In the SI
model the growth slows with the share of nodes without the rumor: ds/dt = rate s (1 - s), solved by the logistic curve.
It is the case of Kermack and McKendrick 1927 without recovery; Demers et al. 1987, section 1.3, call it the simple
epidemic. Nothing in it is fitted to the measured spread.

In the SI model each node sends the rumor on for ever, so that all receive it. Real push sends once, and reaches the
root of r = 1 - exp(-f r), Kermack and McKendrick's final size; see Demers et al., section 1.4.
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
    """Return the growth rate of an early spread, per second: the root of ``fan_out * mean(exp(-rate * L)) = 1``.

    Args:
        fan_out: the number of nodes to which each node sends a rumor, at least 1.
        latencies_s: measured latencies; infinite for lost messages. Of many some thousands are used.

    Returns:
        The rate; 0 if the spread doesn't grow: with a fan-out of 1, or if too many messages are lost.
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
        after_s: seconds since the share was `at_first`.
        rate: the growth rate at the start, per second.
        at_first: a share, more than 0 and at most 1.
    """
    return 1.0 / (1.0 + (1.0 / at_first - 1.0) * math.exp(-rate * after_s))


def push_reach(fan_out: int) -> float:
    """Return the share of many nodes that push reaches if each sends a rumor once, to `fan_out` others."""
    reach = 1.0
    for _ in range(_STEPS):
        reach = 1.0 - math.exp(-fan_out * reach)
    return reach if fan_out > 1 else 0.0
