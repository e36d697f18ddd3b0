"""Draws docs/pictures/house.svg: the layers of the package as the floors of a house.

``python docs/house.py`` draws it; tests/test_docs_lists.py fails while it differs, or while a module stands on another
floor than in the layers of pyproject.toml.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

PICTURE = Path(__file__).parent / "pictures" / "house.svg"
FLOORS = [
    ("what people use", ["cli", "testing"], "commands, and the plugin for pytest"),
    ("other worlds", ["simulation", "maelstrom"], "virtual time with faults; standard input and output"),
    ("the node", ["runtime", "node", "group"], "the nursery that holds it all; handles of groups"),
    ("group-wide services", ["templates"], "one call to every member: fan-out, gossip, settings"),
    ("services of one node", ["services"], "status, groups, routes, comm, gossip, membership"),
    ("ways in and out", ["launchers", "transports"], "processes; the link, HTTP, datagrams, memory"),
    ("the router", ["router", "arguments", "events"], "a name to a method; checks; counts; events"),
    ("the pure floor", ["security", "protocols"], "no clock, no I/O, no Trio: bytes and time in, effects out"),
    ("words", ["message", "config", "codec", "identity", "errors"], "calls, settings, values, addresses, errors"),
]
WIDTH, LEFT, FLOOR, ROOF = 720, 40, 52, 70
PURE = "#E3F1EA"
WALL = "#F5F2EA"
INK = "#222222"


def house() -> str:
    """Return the picture."""
    height, right = ROOF + FLOOR * len(FLOORS) + 24, WIDTH - LEFT
    lines = [f'<path d="M{LEFT - 20} {ROOF}L{WIDTH / 2:g} 12L{right + 20} {ROOF}z" fill="#B5533C"/>']
    lines.append(f'<text x="{WIDTH / 2:g}" y="{ROOF - 14}" text-anchor="middle" fill="#FFF">your program</text>')
    for number, (title, modules, sentence) in enumerate(FLOORS):
        y, fill = ROOF + FLOOR * number, PURE if "protocols" in modules else WALL
        lines.append(
            f'<rect x="{LEFT}" y="{y}" width="{right - LEFT}" height="{FLOOR}" fill="{fill}" stroke="{INK}" '
            'stroke-width="1.2"/>'
        )
        lines.append(f'<text x="{LEFT + 16}" y="{y + 22}" font-weight="bold">{escape(title)}</text>')
        lines.append(f'<text x="{LEFT + 16}" y="{y + 40}" font-size="12">{escape(sentence)}</text>')
        names = "   ".join(f"{name}/" if name in FOLDERS else f"{name}.py" for name in modules)
        style = 'text-anchor="end" font-family="monospace" font-size="12"'
        lines.append(f'<text x="{right - 16}" y="{y + 22}" {style}>{names}</text>')
    ground = ROOF + FLOOR * len(FLOORS)
    lines.append(f'<path d="M4 {ground}H{WIDTH - 4}" stroke="{INK}" stroke-width="3"/>')
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="14" fill="{INK}">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#FFF"/>', *lines, "</svg>", ""])


FOLDERS = {path.name for path in (Path(__file__).parents[1] / "trionet").iterdir() if path.is_dir()}

if __name__ == "__main__":
    PICTURE.write_text(house(), encoding="utf-8")
