"""The rates of messages that the nodes send, and that are lost."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from .kinds import FAMILIES, family_of
from .look import Colour, finish, label, set_time_axis, show_nothing
from .shading import shade_faults
from .spans import end_of, fault_spans

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from trionet.simulation.trace import Trace

__all__ = ["Rates", "draw_rate", "rates_of"]

_SLOTS: Final = 120


class Rates(NamedTuple):
    """Messages a second, in slots of time.

    Attributes:
        edges: the begins and ends of slots, in seconds; the last one is longer, up to the end of the trace.
        sent: sent messages, for each slot.
        delivered: delivered messages, for each slot, by family; families without messages are left out.
        dropped: dropped messages, likewise.
    """

    edges: list[float]
    sent: list[float]
    delivered: dict[str, list[float]]
    dropped: dict[str, list[float]]


def rates_of(trace: Trace) -> Rates:
    """Return messages per second, in some 100 slots of a round length."""
    until = end_of(trace)
    slot_s = _round_up(until / _SLOTS) if until > 0 else 1.0
    slots = max(1, math.floor(until / slot_s))
    edges = [*(slot * slot_s for slot in range(slots)), until or slot_s]
    counts: dict[str, Counter[tuple[str, int]]] = {"send": Counter(), "deliver": Counter(), "drop": Counter()}
    for event in trace:
        if event.kind in counts:
            counts[event.kind][family_of(event.what), min(slots - 1, int(event.at / slot_s))] += 1

    def per_s(numbers: list[int]) -> list[float]:
        return [number / (edges[slot + 1] - edges[slot]) for slot, number in enumerate(numbers)]

    def by_family(kind: str) -> dict[str, list[float]]:
        found = {family for family, _ in counts[kind]}
        return {
            family: per_s([counts[kind][family, slot] for slot in range(slots)])
            for family in FAMILIES
            if family in found
        }

    sent = per_s([sum(counts["send"][family, slot] for family in FAMILIES) for slot in range(slots)])
    return Rates(edges, sent, by_family("deliver"), by_family("drop"))


def _round_up(seconds: float) -> float:
    """Return the next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(seconds))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= seconds * (1 - 1e-9))


def draw_rate(trace: Trace, axes: Axes, *, are_faults_named: bool = True) -> None:
    """Draw the messages per second that are sent, delivered and dropped.

    Delivered messages are stacked upwards by family, dropped ones downwards; sent ones are a line. On a connection a
    dropped message is retransmitted, and so delivered as well. Faults are shaded.

    Args:
        trace: the trace.
        axes: the axes to draw in.
        are_faults_named: whether faults are also named above.
    """
    rates = rates_of(trace)
    if not any(rates.sent) and not rates.delivered and not rates.dropped:
        show_nothing(axes, "no message in this trace")
        return
    from matplotlib.ticker import FuncFormatter

    until = end_of(trace)
    above_pt = shade_faults(axes, fault_spans(trace), 0.0, until, are_named=are_faults_named)
    patches = _stack(axes, rates, rates.delivered, 1.0) | _stack(axes, rates, rates.dropped, -1.0)
    entries: list[tuple[Artist, str]] = [(patches[family], family) for family in FAMILIES if family in patches]
    (line,) = axes.plot(
        rates.edges, [*rates.sent, rates.sent[-1]], drawstyle="steps-post", color=Colour.INK, linewidth=1.3, zorder=4
    )
    entries.append((line, "sent"))
    axes.axhline(0.0, color=Colour.INK, linewidth=0.8, zorder=5)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{abs(rate):,g}"))
    axes.set_ylabel("messages per second")
    _name_directions(axes, rates)
    set_time_axis(axes, 0.0, until)
    finish(axes, "Messages between the nodes", entries, above_pt)


def _stack(axes: Axes, rates: Rates, by_family: dict[str, list[float]], sign: float) -> dict[str, Artist]:
    """Stack families on each other, upwards or downwards."""
    below = [0.0] * len(rates.sent)
    patches: dict[str, Artist] = {}
    for family, values in by_family.items():
        top = [base + sign * value for base, value in zip(below, values, strict=True)]
        patches[family] = axes.stairs(
            top,
            rates.edges,
            baseline=below,
            fill=True,
            color=FAMILIES[family],
            linewidth=0,
            zorder=2,
            gid=f"{family} {sign:+g}",
        )
        below = top
    return patches


def _name_directions(axes: Axes, rates: Rates) -> None:
    """Label the directions beside the axes."""
    low, high = axes.get_ylim()
    for name, middle in (("delivered", high / 2), ("dropped", low / 2)):
        if rates.dropped or name == "delivered":
            style = {"rotation": -90, "ha": "left", "va": "center"}
            label(axes, name, (1.006, middle), transform=axes.get_yaxis_transform(), **style)
