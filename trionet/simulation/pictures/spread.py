"""The spread of rumors: the share of nodes that have one over time, and the curve of the SI model."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Final

from trionet.errors import ConfigError
from trionet.protocols.push import default_subset

from .epidemic import push_reach
from .look import BOX, SMALL_PT, Colour, finish, set_logarithmic_time_axis, set_time_axis, show_nothing, write
from .shading import shade_faults
from .spans import fault_spans
from .spreads import median_curve, rate_of, si_curve, spreads_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from trionet.simulation.trace import Trace

    from .spreads import Spread

__all__ = ["draw_spread"]

_MOST_LINES: Final = 60
_NEARLY_ALL: Final = 0.9
_TIMES_NEARLY_ALL: Final = 2.5
_SOME: Final = 0.4
_FAR: Final = 30.0


def draw_spread(trace: Trace, axes: Axes, rumor: str | None = None, *, fan_out: int | None = None) -> None:
    """Draw the share of nodes that have a rumor, over the time since it was sent, and the curve of the SI model.

    One rumor is a line of steps; of many each is a thin line, and the median time to each share a bold one. The
    logistic curve of the SI model has a derived rate, not a fitted one: it follows from the fan-out and the latencies
    of datagrams, see `trionet.simulation.pictures.epidemic`. A dotted line is the reach of push alone: lazy push and
    anti-entropy reach the others.

    Args:
        trace: the trace.
        axes: the axes to draw in.
        rumor: the id of the only rumor to draw, in hex; default: all.
        fan_out: the number of members to which a node sends a rumor; default: that of a group of this size.

    Raises:
        ConfigError: there is no such rumor.
    """
    spreads = spreads_of(trace)
    if rumor is not None:
        spreads = [spread for spread in spreads if spread.rumor == rumor]
        if not spreads:
            raise ConfigError(f"there is no rumor {rumor} in the trace")
    if not spreads:
        show_nothing(axes, "no rumor in this trace")
        return
    fan_out = fan_out or default_subset(round(median(spread.members for spread in spreads)))
    until_s, is_logarithmic = _extent(spreads)
    entries = _draw_measured(axes, spreads, until_s) + _draw_model(axes, trace, spreads, fan_out, until_s)
    above_pt = 0.0
    if len(spreads) == 1:
        begun_at = spreads[0].begun_at
        spans = [span._replace(begin=span.begin - begun_at, end=span.end - begun_at) for span in fault_spans(trace)]
        above_pt = shade_faults(axes, spans, 0.0, until_s)
    axes.set_ylim(0.0, 1.03)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_ylabel("nodes that have it")
    if is_logarithmic:
        first_s = median(spread.delay_of(2 / spread.members) for spread in spreads)
        set_logarithmic_time_axis(axes, first_s / 3, until_s, "time since it was sent")
    else:
        set_time_axis(axes, 0.0, until_s, "time since it was sent")
    finish(axes, _title(spreads), entries, above_pt)


def _extent(spreads: Sequence[Spread]) -> tuple[float, bool]:
    """Return the visible time, and whether the time axis is logarithmic.

    It ends when the last node has the rumor, or at a multiple of the time in which most have it. If some nodes receive
    it far later than others, after a partition for example, only a logarithmic axis shows both.
    """
    last = max(spread.delays[-1] for spread in spreads)
    most = median(spread.delay_of(_NEARLY_ALL) for spread in spreads)
    until_s = min(last, _TIMES_NEARLY_ALL * most) * 1.02 or 1.0
    is_far = until_s > _FAR * median(spread.delay_of(_SOME) for spread in spreads) > 0.0
    return (last * 1.02, True) if is_far else (until_s, False)


def _draw_measured(axes: Axes, spreads: Sequence[Spread], until_s: float) -> list[tuple[Artist, str]]:
    many = len(spreads) > 1
    entries: list[tuple[Artist, str]] = []
    step = math.ceil(len(spreads) / _MOST_LINES)
    for spread in spreads[::step]:
        shares = [count / spread.members for count in range(1, len(spread.delays) + 1)]
        (line,) = axes.step(
            *_up_to(until_s, spread.delays, shares),
            where="post",
            color=Colour.SKY if many else Colour.BLUE,
            linewidth=0.8 if many else 2.5,
            alpha=0.7 if many else 1.0,
            zorder=2,
        )
        entries = [(line, f"one of {len(spreads):,} rumors" if many else "measured")]
    if many:
        (line,) = axes.step(
            *_up_to(until_s, *median_curve(spreads)), where="post", color=Colour.BLUE, linewidth=2.8, zorder=4
        )
        entries.append((line, "median"))
    return entries


def _up_to(until_s: float, times: Sequence[float], shares: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return a curve up to a time, with its last share there."""
    count = sum(time <= until_s for time in times)
    return [*times[:count], until_s], [*shares[:count], shares[count - 1]]


def _draw_model(
    axes: Axes, trace: Trace, spreads: Sequence[Spread], fan_out: int, until_s: float
) -> list[tuple[Artist, str]]:
    times, shares = si_curve(spreads, fan_out, rate_of(trace, spreads, fan_out), until_s)
    if not times:
        return []
    (line,) = axes.plot(times, shares, color=Colour.VERMILLION, linewidth=2.2, linestyle=(0, (4, 1.5)), zorder=5)
    reach = push_reach(fan_out)
    axes.axhline(reach, color=Colour.GREY, linewidth=1.2, linestyle=":", zorder=1)
    style = {"ha": "right", "va": "top", "fontsize": SMALL_PT, "zorder": 6, "bbox": BOX}
    text = f"what push alone reaches: {reach:.0%}"
    write(axes, text, (1.0, reach), (-2, -5), xycoords=("axes fraction", "data"), **style)
    return [(line, f"SI model, fan-out {fan_out}")]


def _title(spreads: Sequence[Spread]) -> str:
    members = max(spread.members for spread in spreads)
    subject = f"{len(spreads):,} rumors" if len(spreads) > 1 else "A rumor"
    all_s = median(spread.delay_of(1.0) for spread in spreads)
    half = _duration(median(spread.delay_of(0.5) for spread in spreads))
    if members == 1:
        return f"{subject} at the only node"
    if all_s < math.inf:
        return f"{subject}, {members} nodes: half have it in {half}, all in {_duration(all_s)}"
    reached = median(len(spread.delays) / spread.members for spread in spreads)
    return f"{subject}, {members} nodes: {reached:.0%} get it"


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{float(f'{seconds * 1000:.2g}'):g} ms"
