"""Plots as SVG, written as text: latency and rate over time."""

from __future__ import annotations

import math
from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .history import History, Op

__all__ = ["latency_svg", "rate_svg", "round_ticks"]

_WIDTH: Final = 1000
_HEIGHT: Final = 420
_LEFT: Final = 80
_RIGHT: Final = 160
_TOP: Final = 40
_BOTTOM: Final = 50
_PLOT_W: Final = _WIDTH - _LEFT - _RIGHT
_PLOT_H: Final = _HEIGHT - _TOP - _BOTTOM
_COLORS: Final = {"ok": "#3b7dd8", "fail": "#e07b39", "info": "#b93a86"}
_SERIES: Final = ("#3b7dd8", "#2a9d5c", "#8a5cd1", "#c9872a", "#c0476b", "#4aa3a3")
_FAULTS: Final = {"start-partition": "#e9dca0", "kill": "#e9a4a0", "pause": "#a0b1e9"}
_ENDS: Final = {"stop-partition": "start-partition", "start": "kill", "resume": "pause"}
_TICKS: Final = 6
_LABEL_PX: Final = 6.5  # a character of the plots' text, about
_MAX_POINTS: Final = 20_000
_STEP_S: Final = 0.5


def _time_range(history: History) -> float:
    return max([op.time for op in history], default=1) / 1e9 or 1.0


def _fault_spans(history: History, until_s: float) -> list[tuple[str, str, float, float]]:
    """Return the faults: kind, name, and beginning and end in seconds."""
    spans, begun = [], {}
    for op in history.faults:
        if op.f in _FAULTS:
            begun[op.f] = _fault_name(op), op.time / 1e9
        elif (start := begun.pop(_ENDS.get(op.f, ""), None)) is not None:
            spans.append((_ENDS[op.f], *start, op.time / 1e9))
    return spans + [(f, *start, until_s) for f, start in begun.items()]


def _fault_name(op: Op) -> str:
    name = op.f.removeprefix("start-")
    if isinstance(op.value, dict):
        return f"{name} {op.value.get('kind', '')}".strip()
    return f"{name} {', '.join(map(str, op.value))}" if isinstance(op.value, list) else name


def round_ticks(until: float) -> list[float]:
    """Return the positions of ticks from 0 to `until`, at most seven: multiples of 1, 2 or 5 times a power of ten."""
    if not until > 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(until / _TICKS))
    step = next(each * power for each in (1, 2, 5, 10) if each * power * _TICKS >= until * (1 - 1e-9))
    return [step * number for number in range(int(until / step * (1 + 1e-9)) + 1)]


def _x(time_s: float, until_s: float) -> float:
    return _LEFT + _PLOT_W * time_s / until_s


def _frame(
    title: str, vertical: str, until_s: float, ticks: Sequence[tuple[float, str]], history: History
) -> list[str]:
    """Return the frame of a plot: titles, axes with ticks (a height from 0 to 1, and a text), and faults."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    for span in _fault_spans(history, until_s):
        parts += _shade(*span, until_s)
    for height, text in ticks:
        y = _TOP + _PLOT_H * (1 - height)
        parts.append(f'<path d="M{_LEFT} {y:.1f}h{_PLOT_W}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>')
    for time_s in round_ticks(until_s):
        x = _x(time_s, until_s)
        parts.append(f'<path d="M{x:.1f} {_TOP + _PLOT_H}v5" stroke="#888"/>')
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 28}" text-anchor="middle">{time_s:g}</text>')
    x, y = _LEFT + _PLOT_W / 2, _TOP + _PLOT_H / 2
    parts.append(f'<text x="{x}" y="{_HEIGHT - 8}" text-anchor="middle">time (s)</text>')
    turned = f'transform="rotate(-90 18 {y})" text-anchor="middle"'
    parts.append(f'<text x="18" y="{y}" {turned}>{escape(vertical)}</text>')
    return parts


def _shade(f: str, name: str, start_s: float, end_s: float, until_s: float) -> list[str]:
    """Return a fault: a shade behind the plot, and the longest name that fits.

    Partitions and faults of nodes overlap, and have a row of names each.
    """
    x, width = _x(start_s, until_s), _x(end_s, until_s) - _x(start_s, until_s)
    room = int(width / _LABEL_PX)
    shown = next((text for text in (name, f.removeprefix("start-")) if len(text) <= room), "")
    y = _TOP - 4 if f == "start-partition" else _TOP + 12
    return [
        f'<rect x="{x:.1f}" y="{_TOP}" width="{width:.1f}" height="{_PLOT_H}" fill="{_FAULTS[f]}" opacity="0.5">'
        f"<title>{escape(name)}, {start_s:.3g} to {end_s:.3g} s</title></rect>",
        f'<text x="{x + 2:.1f}" y="{y}" font-size="11" fill="#555">{escape(shown)}</text>',
    ]


def _legend(entries: Iterable[tuple[str, str]], history: History) -> list[str]:
    parts = []
    kinds = {f: _FAULTS[f] for f in dict.fromkeys(op.f for op in history.faults) if f in _FAULTS}
    marks = [(text, color, 'r="4"') for text, color in entries]
    marks += [(f.removeprefix("start-"), color, 'r="6" opacity="0.7"') for f, color in kinds.items()]
    for row, (text, color, shape) in enumerate(marks):
        x, y = _WIDTH - _RIGHT + 14, _TOP + 16 + 18 * row
        parts.append(f'<circle cx="{x}" cy="{y - 4}" {shape} fill="{color}"/>')
        parts.append(f'<text x="{x + 12}" y="{y}">{escape(text)}</text>')
    return parts


def latency_svg(history: History) -> str:
    """Return a plot of the latency of each operation, by its invocation; faults are shaded."""
    until_s = _time_range(history)
    points = [(op.invocation.time / 1e9, max(op.latency_ms, 0.01), op) for op in history.completions]
    step = max(1, math.ceil(len(points) / _MAX_POINTS))
    low, high = -2, max([math.ceil(math.log10(latency)) for _, latency, _ in points], default=3)
    span = max(high - low, 1)
    ticks = [((power - low) / span, f"{10.0**power:g}") for power in range(low, high + 1)]
    parts = _frame("latency of operations", "latency (ms)", until_s, ticks, history)
    for begun_s, latency, op in points[::step]:
        y = _TOP + _PLOT_H * (1 - (math.log10(latency) - low) / span)
        parts.append(f'<circle cx="{_x(begun_s, until_s):.1f}" cy="{y:.1f}" r="2" fill="{_COLORS[op.type]}"/>')
    return "\n".join([*parts, *_legend(_COLORS.items(), history), "</svg>\n"])


def rate_svg(history: History) -> str:
    """Return a plot of completions per second, by kind of operation and outcome."""
    until_s = _time_range(history)
    counts = Counter((f"{op.f} {op.type}", int(op.time / 1e9 / _STEP_S)) for op in history.completions)
    names = sorted({name for name, _ in counts})
    top = max([count / _STEP_S for count in counts.values()], default=1.0)
    ticks = [(rate / top, f"{rate:g}") for rate in round_ticks(top)]
    parts = _frame("rate of operations", "completions per second", until_s, ticks, history)
    colors = [(name, _SERIES[index % len(_SERIES)]) for index, name in enumerate(names)]
    for name, color in colors:
        way = []
        for slot in range(int(until_s / _STEP_S) + 1):
            y = _TOP + _PLOT_H * (1 - counts[name, slot] / _STEP_S / top)
            way.append(f"{_x(min((slot + 0.5) * _STEP_S, until_s), until_s):.1f} {y:.1f}")
        parts.append(f'<path d="M{" L".join(way)}" fill="none" stroke="{color}" stroke-width="1.5"/>')
    return "\n".join([*parts, *_legend(colors, history), "</svg>\n"])
