"""A raster of the nodes' views of each other over time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from .look import LABEL_PT, Colour, finish, set_time_axis, show_nothing, tinted, write
from .shading import shade_faults
from .spans import end_of, fault_spans, natural, runs_of
from .views import opinions_of, views_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from trionet.simulation.trace import Trace

    from .views import Opinion, State

    Cell = tuple[float, float, float, float]  # begin, end, and the bottom and top of its row

__all__ = ["MOST_PAIRED", "STATE_COLOURS", "draw_members"]

MOST_PAIRED: Final = 6
"""Up to this number of nodes each pair has a row; above it each node."""

STATE_COLOURS: Final[dict[State, str]] = {
    "alive": tinted(Colour.GREEN, 0.22),
    "suspected": Colour.YELLOW,
    "failed": Colour.VERMILLION,
    "left": Colour.BLUE,
}
_LEVELS: Final = 4
_ROW: Final = 0.84
_GAP: Final = 0.7
_HALF_LINE: Final = 0.07
_MOST_GAPS: Final = 40
_MOST_LABELS: Final = 26


def draw_members(trace: Trace, axes: Axes) -> None:
    """Draw each node's view of each other node over time: alive, suspected, failed, left.

    With up to 6 nodes there is a row for each pair, in one block for each observer. With more there is a row for each
    subject: its hue is the most frequent view except alive, and its strength the share of observers with that view.
    A black line shows when the node was really down. Faults are shaded, and named above.

    Args:
        trace: the trace.
        axes: the axes to draw in.
    """
    names = sorted({view.subject for view in views_of(trace)} | {*runs_of(trace)}, key=natural)
    if not any(event.kind == "state" and event.what.startswith("Member") for event in trace):
        show_nothing(axes, "no view of a member in this trace")
        return
    until = end_of(trace)
    above_pt = shade_faults(axes, fault_spans(trace), 0.0, until)
    is_paired = len(names) <= MOST_PAIRED
    entries = (_draw_pairs if is_paired else _draw_shares)(trace, axes, names)
    set_time_axis(axes, 0.0, until)
    whose = "each node (bold) thinks of the others" if is_paired else f"{len(names)} nodes think of each other"
    finish(axes, f"What {whose}", entries, above_pt)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _draw_pairs(trace: Trace, axes: Axes, names: Sequence[str]) -> list[tuple[Artist, str]]:
    """Draw a block for each observer, with a row for each other node."""
    block = len(names) - 1 + _GAP
    rows = {
        (observer, subject): number * block + place
        for number, observer in enumerate(names)
        for place, subject in enumerate(name for name in names if name != observer)
    }
    cells: dict[State, list[Cell]] = {state: [] for state in STATE_COLOURS}
    for view in views_of(trace):
        if (row := rows.get((view.observer, view.subject))) is not None:
            cells[view.state].append((view.begin, view.end, row, row + _ROW))
    entries: list[tuple[Artist, str]] = [
        (_fill(axes, cells[state], colour, state), state) for state, colour in STATE_COLOURS.items() if cells[state]
    ]
    entries += _draw_down(axes, trace, [(subject, row) for (_, subject), row in rows.items()])
    axes.set_ylim((len(names) - 1) * block + len(names) - 1, -0.3)
    axes.set_yticks([row + _ROW / 2 for row in rows.values()], [subject for _, subject in rows])
    for number, observer in enumerate(names):
        at = 0.0, number * block + (len(names) - 1) / 2 - (1 - _ROW) / 2
        style = {"ha": "right", "va": "center", "fontsize": LABEL_PT, "fontweight": "bold"}
        write(axes, observer, at, (-30, 0), xycoords=axes.get_yaxis_transform(), **style)
    return entries


def _draw_shares(trace: Trace, axes: Axes, names: Sequence[str]) -> list[tuple[Artist, str]]:
    """Draw a row for each subject."""
    from matplotlib.patches import Patch

    opinions = opinions_of(trace)
    height = _ROW if len(names) <= _MOST_GAPS else 1.0
    cells: dict[tuple[State, int], list[Cell]] = {}
    for row, name in enumerate(names):
        for begin, end, key in _runs(opinions.get(name, ())):
            cells.setdefault(key, []).append((begin, end, row, row + height))
    shown: dict[State, Artist] = {}
    for (state, level), found in sorted(cells.items()):
        patch = _fill(axes, found, _shade(state, level), f"{state} {level}")
        shown[state] = patch  # the strongest shade is the last
    entries: list[tuple[Artist, str]] = [(shown[state], state) for state in STATE_COLOURS if state in shown]
    entries += _draw_down(axes, trace, [(name, row) for row, name in enumerate(names)])
    if shown.keys() - {"alive"}:
        entries.append((Patch(alpha=0.0), "(stronger: more of them)"))
    axes.set_ylim(len(names), -0.3)
    step = math.ceil(len(names) / _MOST_LABELS)
    axes.set_yticks([row + _ROW / 2 for row in range(0, len(names), step)], names[::step])
    return entries


def _draw_down(axes: Axes, trace: Trace, rows: Iterable[tuple[str, float]]) -> list[tuple[Artist, str]]:
    """Draw a line through the row of a node while it was down."""
    running, until = runs_of(trace), end_of(trace)
    down = [
        (begin, end, row + _ROW / 2 - _HALF_LINE, row + _ROW / 2 + _HALF_LINE)
        for name, row in rows
        for begin, end in _gaps(running.get(name, []), until)
    ]
    return [(_fill(axes, down, Colour.INK, "down", zorder=3), "really down")] if down else []


def _shade(state: State, level: int) -> str:
    return STATE_COLOURS[state] if state == "alive" else tinted(STATE_COLOURS[state], 0.25 + 0.75 * level / _LEVELS)


def _runs(opinions: Iterable[Opinion]) -> list[tuple[float, float, tuple[State, int]]]:
    """Return the most frequent view except alive, and its share in `_LEVELS` steps; equal neighbours are merged."""
    found: list[tuple[float, float, tuple[State, int]]] = []
    for opinion in opinions:
        worse: list[State] = ["failed", "left", "suspected"]
        state = max(worse, key=opinion.share)
        level = math.ceil(opinion.share(state) * _LEVELS - 1e-9)
        key: tuple[State, int] = (state, level) if level else ("alive", _LEVELS)
        if not opinion.held:
            continue
        if found and found[-1][1:] == (opinion.begin, key):
            found[-1] = (found[-1][0], opinion.end, key)
        else:
            found.append((opinion.begin, opinion.end, key))
    return found


def _gaps(spans: Sequence[tuple[float, float]], until: float) -> list[tuple[float, float]]:
    """Return the times when a node was down after its first start."""
    ends = [end for _, end in spans]
    begins = [begin for begin, _ in spans[1:]] + [until]
    return [(end, begin) for end, begin in zip(ends, begins, strict=True) if begin > end] if spans else []


def _fill(axes: Axes, cells: Iterable[Cell], colour: str, name: str, zorder: float = 2.0) -> Artist:
    """Draw the cells of a colour as one path, which keeps an SVG small."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    vertices: list[tuple[float, float]] = []
    codes: list[Any] = []
    for begin, end, bottom, top in cells:
        vertices += [(begin, bottom), (end, bottom), (end, top), (begin, top), (begin, bottom)]
        codes += [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    patch = PathPatch(
        Path(vertices, codes), facecolor=colour, linewidth=0, antialiased=name == "down", zorder=zorder, gid=name
    )
    axes.add_patch(patch)
    return patch
