"""A space-time diagram of messages: a line for each node, time to the right, an arrow for each message.

Source: Lamport 1978, "Time, clocks, and the ordering of events in a distributed system", figure 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .arrows import part_of
from .kinds import FAMILIES, family_of
from .look import BOX, LABEL_PT, SMALL_PT, Colour, finish, set_time_axis, show_nothing, write
from .shading import shade_faults
from .spans import fault_spans, nodes_of, runs_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from trionet.simulation.trace import Trace

    from .arrows import Arrow, Part

__all__ = ["draw_space_time"]

_MARKS: Final = {
    "MemberSuspected": (Colour.ORANGE, "suspects"),
    "MemberFailed": (Colour.VERMILLION, "holds for failed"),
}

_MIDWAY: Final = 0.4
"""The place of crosses: at a half, many would be on another node's line."""


def draw_space_time(trace: Trace, axes: Axes, since: float | None = None, until: float | None = None) -> None:
    """Draw a line for each node, and an arrow for each message, from its sending to its delivery.

    A dropped message ends in a cross midway. On a connection it is retransmitted: if that arrives in the visible time,
    the cross is on the arrow. A message in flight at the end of the trace has no end. A node's line is interrupted
    while the node is down. Dots show that a node suspects another one, or declares it failed.

    There is room for 12 nodes, and for 48 arrows between a few nodes or 30 between 12. The title shows the total
    numbers.

    Args:
        trace: the trace.
        axes: the axes to draw in.
        since: the begin, in seconds since the simulation began; default: just before the first fault, call or rumor.
        until: the end; default, and at most: when the room is used.
    """
    part = part_of(trace, since, until)
    if not part.arrows:
        show_nothing(axes, "no message in this trace" if since is None and until is None else "no message in this time")
        return
    above_pt = shade_faults(axes, fault_spans(trace), part.since, part.until)
    places = {name: place for place, name in enumerate(part.nodes)}
    _draw_lines(axes, trace, part)
    entries: dict[str, Artist] = {}
    for arrow in part.arrows:
        family = family_of(arrow.kind)
        entries[family] = _draw_arrow(axes, arrow, places, FAMILIES[family], part.until)
    found: list[tuple[Artist, str]] = [(_sample(FAMILIES[family]), family) for family in FAMILIES if family in entries]
    if any(arrow.dropped_at is not None for arrow in part.arrows):
        found.append((_sample(Colour.VERMILLION, "x"), "dropped"))
    found += _draw_marks(axes, trace, part, places)
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.set_yticks(range(len(places)), part.nodes)
    set_time_axis(axes, part.since, part.until)
    finish(axes, _title(trace, part), found, above_pt)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=LABEL_PT)


def _title(trace: Trace, part: Part) -> str:
    messages = _of(len(part.arrows), part.messages)
    nodes = _of(len(part.nodes), len(nodes_of(trace)))
    return f"{messages} message{'' if part.messages == 1 else 's'} between {nodes} nodes"


def _of(shown: int, all_: int) -> str:
    return f"{shown:,}" if shown >= all_ else f"{shown:,} of {all_:,}"


def _draw_lines(axes: Axes, trace: Trace, part: Part) -> None:
    running = runs_of(trace)
    for place, name in enumerate(part.nodes):
        for begin, end in running.get(name, [(part.since, part.until)]):
            if begin <= part.until and end >= part.since:
                axes.plot(
                    [max(begin, part.since), min(end, part.until)],
                    [place, place],
                    color=Colour.INK,
                    linewidth=1.4,
                    solid_capstyle="butt",
                    zorder=2,
                    gid=f"line {name}",
                )


def _draw_arrow(axes: Axes, arrow: Arrow, places: dict[str, int], colour: str, until: float) -> Artist:
    from matplotlib.patches import FancyArrowPatch

    source, target = places[arrow.source], places[arrow.target]
    begin = (arrow.sent_at, source)
    arrived_at = until if arrow.arrived_at is None else arrow.arrived_at
    is_lost = arrow.arrived_at is None or (arrow.dropped_at is not None and arrived_at > until)
    midway = source + _MIDWAY * (target - source)
    lost_at = arrow.sent_at if arrow.dropped_at is None else arrow.dropped_at
    end = (lost_at, midway) if is_lost else (arrived_at, target)
    patch = FancyArrowPatch(
        begin,
        end,
        arrowstyle="-" if is_lost else "-|>",
        mutation_scale=9,
        shrinkA=0,
        shrinkB=0,
        color=colour,
        linewidth=1.2,
        linestyle=(0, (3, 1.5)) if is_lost else "solid",
        zorder=3,
        gid="lost" if is_lost else "arrow",
    )
    axes.add_patch(patch)
    if arrow.dropped_at is not None:
        cross = end if is_lost else (begin[0] + _MIDWAY * (end[0] - begin[0]), midway)
        axes.plot(*cross, marker="x", color=Colour.VERMILLION, markersize=6, markeredgewidth=1.8, zorder=5, gid="cross")
    return patch


def _sample(colour: str, marker: str = "") -> Artist:
    from matplotlib.lines import Line2D

    if marker:
        return Line2D([], [], color=colour, marker=marker, linestyle="", markersize=6, markeredgewidth=1.8)
    return Line2D([], [], color=colour, linewidth=2)


def _draw_marks(axes: Axes, trace: Trace, part: Part, places: dict[str, int]) -> list[tuple[Artist, str]]:
    """Mark changes of views."""
    entries: list[tuple[Artist, str]] = []
    for what, (colour, label) in _MARKS.items():
        events = [
            event
            for event in trace.select("state", what=what, since=part.since, until=part.until)
            if event.node in places
        ]
        for event in events:
            axes.plot(
                event.at,
                places[event.node],
                marker="o",
                color=colour,
                markeredgecolor=Colour.INK,
                markersize=7,
                zorder=6,
            )
            style = {"ha": "left", "va": "bottom", "fontsize": SMALL_PT - 1, "zorder": 7, "bbox": BOX}
            write(axes, event.peer, (event.at, places[event.node]), (6, 3), **style)
        if events:
            entries.append((_sample(colour, "o"), label))
    return entries
