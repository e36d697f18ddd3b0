"""How long messages are on their way: distributions, as functions of a link's random numbers.

Each gives one-way latencies in seconds, and never a negative one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

__all__ = ["Latency", "constant", "exponential", "heavy_tail", "uniform"]

Latency = Callable[[Random], float]


def constant(latency_s: float) -> Latency:
    """Return always the same latency."""
    return lambda _: latency_s


def uniform(least_s: float, most_s: float) -> Latency:
    """Return latencies that are equally likely anywhere from `least_s` to `most_s`."""
    width_s = most_s - least_s
    return lambda random: least_s + width_s * random.random()


def exponential(mean_s: float, least_s: float = 0.0) -> Latency:
    """Return `least_s`, and on top of it what has an exponential distribution with this mean."""
    log = math.log
    return lambda random: least_s - log(1.0 - random.random()) * mean_s


def heavy_tail(median_s: float, alpha: float = 1.5) -> Latency:
    """Return latencies of a Pareto distribution: one in a hundred takes 18 times the median where `alpha` is 1.5.

    Args:
        median_s: half of them take no longer.
        alpha: the smaller, the heavier is the tail; with 1 and less there is no mean.
    """
    least_s = median_s / 2 ** (1 / alpha)
    power = -1 / alpha
    return lambda random: least_s * float((1.0 - random.random()) ** power)
