"""Plots as SVG, written as text: latency and rate over time."""

from __future__ import annotations

import math
from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .history import History, Op

__all__ = ["latency_svg", "rate_svg"]

_WIDTH: Final = 1000
_HEIGHT: Final = 420
_LEFT: Final = 70
_RIGHT: Final = 130
_TOP: Final = 40
_BOTTOM: Final = 50
_PLOT_W: Final = _WIDTH - _LEFT - _RIGHT
_PLOT_H: Final = _HEIGHT - _TOP - _BOTTOM
_COLORS: Final = {"ok": "#3b7dd8", "fail": "#e07b39", "info": "#b93a86"}
_SERIES: Final = ("#3b7dd8", "#2a9d5c", "#8a5cd1", "#c9872a", "#c0476b", "#4aa3a3")
_FAULTS: Final = {"start-partition": "#e9dca0", "kill": "#e9a4a0", "pause": "#a0b1e9"}
_ENDS: Final = {"stop-partition": "start-partition", "start": "kill", "resume": "pause"}
_MAX_POINTS: Final = 20_000


def _time_range(history: History) -> float:
    return max([op.time for op in history], default=1) / 1e9 or 1.0


def _fault_spans(history: History, until_s: float) -> list[tuple[str, float, float]]:
    """Return the faults with their beginnings and ends, in seconds."""
    spans, begun = [], {}
    for op in history.faults:
        if op.f in _FAULTS:
            begun[op.f] = op.time / 1e9
        elif (start := begun.pop(_ENDS.get(op.f, ""), None)) is not None:
            spans.append((_ENDS[op.f], start, op.time / 1e9))
    return spans + [(f, start, until_s) for f, start in begun.items()]


def _x(time_s: float, until_s: float) -> float:
    return _LEFT + _PLOT_W * time_s / until_s


def _frame(title: str, unit: str, until_s: float, ticks: Sequence[tuple[float, str]], history: History) -> list[str]:
    """Return what every plot has: a title, axes with ticks (a height from 0 to 1, and a text), and faults."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    for f, start, end in _fault_spans(history, until_s):
        x, width = _x(start, until_s), _x(end, until_s) - _x(start, until_s)
        parts.append(
            f'<rect x="{x:.1f}" y="{_TOP}" width="{width:.1f}" height="{_PLOT_H}" fill="{_FAULTS[f]}" opacity="0.5">'
            f"<title>{escape(f.removeprefix('start-'))}</title></rect>"
        )
    for height, text in ticks:
        y = _TOP + _PLOT_H * (1 - height)
        parts.append(f'<path d="M{_LEFT} {y:.1f}h{_PLOT_W}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>')
    for number in range(6):
        time_s = until_s * number / 5
        parts.append(f'<text x="{_x(time_s, until_s):.1f}" y="{_HEIGHT - 28}" text-anchor="middle">{time_s:.3g}</text>')
    middle = _LEFT + _PLOT_W / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">time (s); vertical: {escape(unit)}</text>')
    return parts


def _legend(entries: Iterable[tuple[str, str]]) -> list[str]:
    parts = []
    for row, (text, color) in enumerate(entries):
        x, y = _WIDTH - _RIGHT + 14, _TOP + 16 + 18 * row
        parts.append(f'<circle cx="{x}" cy="{y - 4}" r="4" fill="{color}"/>')
        parts.append(f'<text x="{x + 10}" y="{y}">{escape(text)}</text>')
    return parts


def latency_svg(history: History) -> str:
    """Return a plot of how long each operation took, by when it began; faults are shaded."""
    until_s = _time_range(history)
    done = [op for op in history.completions if op.pair is not None]
    points = [(_begin_s(op), max((op.time - op.pair.time) / 1e6, 0.01), op) for op in done if op.pair is not None]
    step = max(1, math.ceil(len(points) / _MAX_POINTS))
    low, high = -2, max([math.ceil(math.log10(latency)) for _, latency, _ in points], default=3)
    span = max(high - low, 1)
    ticks = [((power - low) / span, f"{10.0**power:g}") for power in range(low, high + 1)]
    parts = _frame("latency of operations", "ms", until_s, ticks, history)
    for begun_s, latency, op in points[::step]:
        y = _TOP + _PLOT_H * (1 - (math.log10(latency) - low) / span)
        parts.append(f'<circle cx="{_x(begun_s, until_s):.1f}" cy="{y:.1f}" r="2" fill="{_COLORS[op.type]}"/>')
    return "\n".join([*parts, *_legend(_COLORS.items()), "</svg>\n"])


def _begin_s(op: Op) -> float:
    assert op.pair is not None
    return op.pair.time / 1e9


def rate_svg(history: History, step_s: float = 0.5) -> str:
    """Return a plot of completions per second, by kind of operation and outcome."""
    until_s = _time_range(history)
    counts = Counter((f"{op.f} {op.type}", int(op.time / 1e9 / step_s)) for op in history.completions)
    names = sorted({name for name, _ in counts})
    top = max([count / step_s for count in counts.values()], default=1.0)
    ticks = [(number / 4, f"{top * number / 4:.3g}") for number in range(5)]
    parts = _frame("rate of operations", "completions per second", until_s, ticks, history)
    colors = [(name, _SERIES[index % len(_SERIES)]) for index, name in enumerate(names)]
    for name, color in colors:
        way = []
        for slot in range(int(until_s / step_s) + 1):
            y = _TOP + _PLOT_H * (1 - counts[name, slot] / step_s / top)
            way.append(f"{_x(min((slot + 0.5) * step_s, until_s), until_s):.1f} {y:.1f}")
        parts.append(f'<path d="M{" L".join(way)}" fill="none" stroke="{color}" stroke-width="1.5"/>')
    return "\n".join([*parts, *_legend(colors), "</svg>\n"])
