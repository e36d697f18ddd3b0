"""Latencies of messages, in whole milliseconds, as in Maelstrom's network.

Source: Maelstrom, ``src/maelstrom/net.clj``, ``latency-dist`` and ``latency-for``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

__all__ = ["Distribution", "latency_source"]

Distribution = Literal["constant", "uniform", "exponential"]


def latency_source(distribution: Distribution, mean_ms: int, random: Random) -> Callable[[], int]:
    """Return a function that returns the latency of the next message, in ms.

    Args:
        distribution: ``constant``; ``uniform``, a whole number from 0 to 2 * mean; ``exponential``, cut to whole ones.
        mean_ms: the mean, at least 0.
        random: the source of randomness.
    """
    if distribution == "constant" or mean_ms == 0:
        return lambda: mean_ms
    if distribution == "uniform":
        span = 2 * mean_ms + 1
        return lambda: int(random.random() * span)
    return lambda: int(-math.log(1.0 - random.random()) * mean_ms)
