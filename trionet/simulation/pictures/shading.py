"""Faults on a time axis: shaded while they last, and named above."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from .look import Colour, label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from .spans import FaultSpan

__all__ = ["shade_faults"]

_LANE_PT: Final = 13.0
_BAR_PT: Final = 10.5
_TEXT_PT: Final = 8.5
_CHARACTER_PT: Final = 0.56 * _TEXT_PT
_MOST_LANES: Final = 4
_MOST_SHORT_LANES: Final = 6
_SHADE: Final = 0.13
_DARKEST: Final = 3


def shade_faults(
    axes: Axes, spans: Sequence[FaultSpan], since: float, until: float, *, are_named: bool = True
) -> float:
    """Shade faults, and name them in lanes above the axes; return the height of the lanes, in points.

    If the names need too many lanes, they are shortened; if these still do, only the number of faults is shown.
    """
    seen = [span for span in spans if span.begin < until and span.end > since]
    for begin, end, faults in _depths(seen, since, until):
        axes.axvspan(begin, end, color=Colour.GREY, alpha=_SHADE * min(faults, _DARKEST), linewidth=0, zorder=0.5)
    if not seen or until <= since or not are_named:
        return 0.0
    per_s = axes.bbox.width / axes.figure.dpi * 72 / (until - since)
    lanes = _lanes(seen, since, until, per_s)
    if len(lanes) > _MOST_LANES:
        lanes = _lanes([_shortened(span) for span in seen], since, until, per_s)
    if len(lanes) > _MOST_SHORT_LANES:
        return _show_count(axes, seen)
    for number, lane in enumerate(lanes):
        for span in lane:
            _show_bar(axes, span, since, until, 2 + _LANE_PT * number, per_s)
    return 2 + _LANE_PT * len(lanes)


def _depths(spans: Sequence[FaultSpan], since: float, until: float) -> list[tuple[float, float, int]]:
    """Return begin, end and number of simultaneous faults, without times of none."""
    changes: dict[float, int] = {}
    for span in spans:
        for at, by in ((max(span.begin, since), 1), (min(span.end, until), -1)):
            changes[at] = changes.get(at, 0) + by
    times = sorted(at for at, by in changes.items() if by)
    found, faults = [], 0
    for begin, end in pairwise(times):
        faults += changes[begin]
        if faults:
            found.append((begin, end, faults))
    return found


def _shortened(span: FaultSpan) -> FaultSpan:
    return span._replace(label=f"{span.kind} {span.nodes[0]}" if len(span.nodes) == 1 else span.kind)


def _text_at(span: FaultSpan, since: float, until: float, per_s: float) -> tuple[float, float]:
    """Return begin and end of a fault's name: at the begin of the fault, or as far right as possible."""
    width_s = (len(span.label) * _CHARACTER_PT + 6) / per_s
    begin = max(since, min(max(span.begin, since), until - width_s))
    return begin, begin + width_s


def _lanes(spans: Sequence[FaultSpan], since: float, until: float, per_s: float) -> list[list[FaultSpan]]:
    """Return the faults in as few lanes as possible, so that bars and names don't touch."""
    lanes: list[list[FaultSpan]] = []
    free_at: list[float] = []
    for span in spans:
        text_begin, text_end = _text_at(span, since, until, per_s)
        begin, end = min(span.begin, text_begin), max(span.end, text_end)
        for number, free in enumerate(free_at):
            if free <= begin:
                lanes[number].append(span)
                free_at[number] = end + 4 / per_s
                break
        else:
            lanes.append([span])
            free_at.append(end + 4 / per_s)
    return lanes


def _show_bar(axes: Axes, span: FaultSpan, since: float, until: float, above_pt: float, per_s: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    middle = ScaledTranslation(0.0, (above_pt + _BAR_PT / 2) / 72, axes.figure.dpi_scale_trans)
    place = blended_transform_factory(axes.transData, axes.transAxes) + middle
    bar = Line2D(
        [max(span.begin, since), min(span.end, until)],
        [1.0, 1.0],
        transform=place,
        color=Colour.GREY,
        alpha=0.35,
        linewidth=_BAR_PT,
        solid_capstyle="butt",
        clip_on=False,
    )
    axes.add_artist(bar)
    begin, _ = _text_at(span, since, until, per_s)
    style = {"fontsize": _TEXT_PT, "va": "center_baseline", "clip_on": False}
    label(axes, span.label, (begin + 3 / per_s, 1.0), transform=place, **style)


def _show_count(axes: Axes, spans: Sequence[FaultSpan]) -> float:
    from matplotlib.transforms import ScaledTranslation

    kinds = sorted({span.kind for span in spans})
    place = axes.transAxes + ScaledTranslation(0, 4 / 72, axes.figure.dpi_scale_trans)
    text = f"shaded: {len(spans)} faults ({', '.join(kinds)})"
    label(axes, text, (0.0, 1.0), transform=place, va="bottom", clip_on=False)
    return 2 + _LANE_PT
