"""The spread of rumors in a trace, and by the SI model."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from .epidemic import growth_rate, si_share
from .spans import runs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trionet.simulation.trace import Trace

__all__ = ["Spread", "median_curve", "rate_of", "si_curve", "spreads_of"]

_MANY: Final = 10
_POINTS: Final = 120
_NEARLY_ALL: Final = 0.9
_FEWEST_LATENCIES: Final = 30
_MARGINS_S: Final = (0.0, 0.1, 1.0, 10.0)
_MOST_RATES: Final = 60


class Spread(NamedTuple):
    """The spread of one rumor.

    Attributes:
        rumor: its id.
        begun_at: the time at its origin.
        delays: the delays after which the nodes had it, in seconds, in ascending order; the origin's is 0.
        members: the number of nodes that ran when it began; nodes that started later don't count.
    """

    rumor: str
    begun_at: float
    delays: list[float]
    members: int

    def delay_of(self, share: float) -> float:
        """Return the seconds until this share had it; infinite if it never did."""
        count = max(1, math.ceil(share * self.members - 1e-9))
        return self.delays[count - 1] if count <= len(self.delays) else math.inf


def spreads_of(trace: Trace) -> list[Spread]:
    """Return the spread of each rumor of a trace, in the order in which they began.

    A node counts once, when it first has a rumor, although it may receive it again after a restart.
    """
    times: dict[str, dict[str, float]] = {}
    for event in trace.select("rumor"):
        times.setdefault(event.detail, {}).setdefault(event.node, event.at)
    running = runs_of(trace) if times else {}
    found = []
    for rumor, got in times.items():
        origin, begun_at = next(iter(got.items()))
        members = {name for name, spans in running.items() if any(begin <= begun_at <= end for begin, end in spans)}
        members.add(origin)  # it may be leaving
        delays = sorted(at - begun_at for name, at in got.items() if name in members)
        found.append(Spread(rumor, begun_at, delays, len(members)))
    return found


def median_curve(spreads: Sequence[Spread]) -> tuple[list[float], list[float]]:
    """Return the median, over all rumors, of the time to each share: times in seconds, and shares."""
    members = max(spread.members for spread in spreads)
    shares = [count / members for count in range(1, members + 1)]
    times = [median(spread.delay_of(share) for spread in spreads) for share in shares]
    reached = [place for place, time in enumerate(times) if time < math.inf]
    return [times[place] for place in reached], [shares[place] for place in reached]


def rate_of(trace: Trace, spreads: Sequence[Spread], fan_out: int) -> float:
    """Return the early growth rate of rumors, per second: the median over all.

    It follows from the latencies of the datagrams that were sent while a rumor spread; if these are few, also of those
    that were sent shortly before and after.
    """
    sent: dict[int, float] = {}
    took: dict[int, float] = {}
    for event in trace:
        if event.what == "datagram":
            if event.kind == "send":
                sent[event.number] = event.at
                took[event.number] = math.inf
            elif event.kind == "deliver" and event.number in sent:
                took[event.number] = min(took[event.number], event.at - sent[event.number])
    times, latencies_s = list(sent.values()), list(took.values())
    step = math.ceil(len(spreads) / _MOST_RATES)
    return median(growth_rate(fan_out, _meanwhile(spread, times, latencies_s)) for spread in spreads[::step])


def _meanwhile(spread: Spread, times: Sequence[float], latencies_s: Sequence[float]) -> Sequence[float]:
    """Return the latencies of the datagrams that were sent, at ascending `times`, while a rumor spread."""
    end = spread.begun_at + min(spread.delay_of(_NEARLY_ALL), 1.0)
    for margin_s in _MARGINS_S:
        first, last = bisect_left(times, spread.begun_at - margin_s), bisect_right(times, end + margin_s)
        if last - first >= _FEWEST_LATENCIES:
            return latencies_s[first:last]
    return latencies_s


def si_curve(spreads: Sequence[Spread], fan_out: int, rate: float, until_s: float) -> tuple[list[float], list[float]]:
    """Return the SI model's curve: times in seconds since a rumor began, and shares.

    It begins when the first hop has the rumor, at the measured median, because the first hop takes a connection, which
    may be a new one. The rest follows from the latencies of messages.

    Returns:
        Two empty lists if the model doesn't apply: it needs at least 10 nodes, and a spread that grows.
    """
    members = median(spread.members for spread in spreads)
    first = (1 + fan_out) / members
    begin = median(spread.delay_of(first) for spread in spreads)
    if members < _MANY or first >= 1.0 or rate == 0.0 or begin >= until_s:
        return [], []
    # Denser at the begin, so that the curve is smooth on a logarithmic axis, too.
    times = [begin + (until_s - begin) * (step / _POINTS) ** 4 for step in range(_POINTS + 1)]
    return times, [si_share(time - begin, rate, first) for time in times]
