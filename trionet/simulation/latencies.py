"""Distributions of one-way latencies, as functions of a link's random numbers, in seconds, never negative."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

__all__ = ["Latency", "constant", "exponential", "heavy_tail", "uniform"]

Latency = Callable[[Random], float]


def constant(latency_s: float) -> Latency:
    """Return a constant latency."""
    return lambda _: latency_s


def uniform(least_s: float, most_s: float) -> Latency:
    """Return latencies with a uniform distribution from `least_s` to `most_s`."""
    width_s = most_s - least_s
    return lambda random: least_s + width_s * random.random()


def exponential(mean_s: float, least_s: float = 0.0) -> Latency:
    """Return latencies with an exponential distribution of this mean above `least_s`."""
    log = math.log
    return lambda random: least_s - log(1.0 - random.random()) * mean_s


def heavy_tail(median_s: float, alpha: float = 1.5) -> Latency:
    """Return latencies with a Pareto distribution: with `alpha` 1.5, one in a hundred is 18 times the median.

    Args:
        median_s: the median.
        alpha: a smaller one makes a heavier tail; up to 1 there is no mean.
    """
    least_s = median_s / 2 ** (1 / alpha)
    power = -1 / alpha
    return lambda random: least_s * float((1.0 - random.random()) ** power)
