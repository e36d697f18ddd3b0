"""A space-time diagram of messages, as an SVG with zoom: a line for each node, time going down.

Wheel and drag move about, in any browser; a message's whole body shows under the pointer. Source: Lamport 1978, figure
1; Maelstrom's ``messages.svg``.
"""

from __future__ import annotations

import colorsys
import zlib
from html import escape
from typing import TYPE_CHECKING, Final

from .journal import SHOWN_MESSAGES
from .messages import is_client
from .services import SERVICES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .journal import Arrow

__all__ = ["space_time_svg"]

_COLUMN: Final = 120
_GAP: Final = 60  # between clients, nodes and services
_ROW: Final = 14
_TOP: Final = 80
_MAX_CHARS: Final = 300
_SAME_S: Final = 0.000_05

_SCRIPT: Final = """
const svg = document.documentElement, box = svg.viewBox.baseVal;
let held = null;
const scale = () => Math.max(box.width / svg.clientWidth, box.height / svg.clientHeight);
svg.addEventListener("wheel", event => {
  event.preventDefault();
  const by = Math.exp(event.deltaY / 500), s = scale();
  const x = box.x + event.clientX * s, y = box.y + event.clientY * s;
  box.x = x - (x - box.x) * by; box.y = y - (y - box.y) * by; box.width *= by; box.height *= by;
}, {passive: false});
svg.addEventListener("mousedown", event => { held = [event.clientX, event.clientY, box.x, box.y]; });
svg.addEventListener("mousemove", event => {
  if (!held) return;
  box.x = held[2] - (event.clientX - held[0]) * scale();
  box.y = held[3] - (event.clientY - held[1]) * scale();
});
window.addEventListener("mouseup", () => { held = null; });
"""


def _order(name: str) -> tuple[int, int, str]:
    kind = 0 if is_client(name) else 2 if name in SERVICES else 1
    digits = "".join(each for each in name if each.isdigit())
    return kind, int(digits or 0), name


def _color(kind: str) -> str:
    hue = zlib.crc32(kind.encode()) % 360 / 360
    red, green, blue = colorsys.hls_to_rgb(hue, 0.42, 0.6)
    return f"#{int(red * 255):02x}{int(green * 255):02x}{int(blue * 255):02x}"


def _rows(arrows: Sequence[Arrow]) -> dict[float, int]:
    """Return the row of each moment: different times have different rows, not to scale."""
    times = sorted({arrow.sent for arrow in arrows} | {a.received for a in arrows if a.received is not None})
    rows: dict[float, int] = {}
    row, before = 0, None
    for time in times:
        if before is not None and time - before > _SAME_S:
            row += 1
        rows[time] = row
        before = time
    return rows


def _columns(names: Sequence[str]) -> dict[str, int]:
    """Return the position of each line: clients, nodes, and services, with gaps between them."""
    columns: dict[str, int] = {}
    x, before = 60, None
    for name in names:
        kind = _order(name)[0]
        if before is not None:
            x += _COLUMN if kind == before else _COLUMN + _GAP
        columns[name], before = x, kind
    return columns


def _legend(count: int) -> list[str]:
    """Return the legend of the marks, and the number of messages."""
    shown = f"the first {SHOWN_MESSAGES} messages" if count >= SHOWN_MESSAGES else f"{count} messages"
    return [
        f'<text x="10" y="16">{shown}; color: type; time goes down, not to scale</text>',
        '<line x1="10" y1="30" x2="50" y2="30" stroke="#444"/><path d="M50 30l-6 -3v6z" fill="#444"/>',
        '<text x="56" y="33">arrived</text>',
        '<line x1="110" y1="30" x2="150" y2="30" stroke="#444" class="lost"/>',
        '<text x="156" y="33">never arrived: lost, cut off by a partition, or still on its way</text>',
    ]


def space_time_svg(arrows: Sequence[Arrow]) -> str:
    """Return a diagram of messages; those that never arrived are dotted and end on their way."""
    names = sorted({name for arrow in arrows for name in (arrow.src, arrow.dest)}, key=_order)
    columns = _columns(names)
    rows = _rows(arrows)
    width = 60 + max(columns.values(), default=60)
    height = _TOP + _ROW * (max(rows.values(), default=0) + 3)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {max(width, 900)} 700" '
        'width="100%" height="100%" preserveAspectRatio="xMinYMin meet" '
        'font-family="sans-serif" font-size="10" style="background:#fff;cursor:grab">',
        "<style>line:hover{stroke-width:3} text{pointer-events:none} .lost{stroke-dasharray:3 3}</style>",
    ]
    parts += _legend(len(arrows))
    for name, x in columns.items():
        parts.append(f'<path d="M{x} {_TOP - 20}V{height}" stroke="#bbb"/>')
        parts.append(f'<text x="{x}" y="{_TOP - 28}" text-anchor="middle" font-size="13">{escape(name)}</text>')
    for arrow in arrows:
        parts += _arrow(arrow, columns, rows)
    parts.append(f"<script><![CDATA[{_SCRIPT}]]></script>\n</svg>\n")
    return "\n".join(parts)


def _arrow(arrow: Arrow, columns: dict[str, int], rows: dict[float, int]) -> list[str]:
    x1, y1 = columns[arrow.src], _TOP + _ROW * rows[arrow.sent]
    x2, y2 = columns[arrow.dest], _TOP + _ROW * rows[arrow.sent if arrow.received is None else arrow.received]
    lost = ""
    if arrow.received is None:
        x2, y2, lost = round(x1 + (x2 - x1) * 0.7), y1 + _ROW // 2, ' class="lost"'
    arrived = "never arrived" if arrow.received is None else f"arrived {arrow.received:.4f} s"
    body = arrow.body if len(arrow.body) <= _MAX_CHARS else arrow.body[:_MAX_CHARS] + "…"
    title = escape(f"{arrow.src} -> {arrow.dest}, sent {arrow.sent:.4f} s, {arrived}\n{body}")
    color, side = _color(arrow.kind), 6 if x2 >= x1 else -6
    parts = [
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{color}"{lost}><title>{title}</title></line>',
        f'<text x="{(x1 + x2) / 2:.0f}" y="{(y1 + y2) / 2 - 2:.0f}" text-anchor="middle" fill="{color}">'
        f"{escape(arrow.kind)}</text>",
    ]
    if arrow.received is not None:
        parts.append(f'<path d="M{x2} {y2}l{-side} -3v6z" fill="{color}"/>')
    return parts
