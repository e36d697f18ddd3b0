"""From a view of a cluster to the lines of a screen.

Invariant: there are at most `height` lines, none is wider than `width`, and the selected member is among them.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from .columns import MEMBER_COLUMNS, METHOD_COLUMNS, Cell, clipped, fitting, short_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .columns import Column
    from .looks import View
    from .state import State

__all__ = ["STYLES", "help_lines", "screen_lines", "text_lines"]

STYLES: Final = {"good": "32", "warn": "33", "bad": "31", "head": "1", "selected": "7", "dim": "2"}
"""The styles, and their codes in ECMA-48's ``SGR``."""

_LEAST_NAME: Final = 14
_METHODS_SHARE: Final = 0.4
_LEAST_METHODS: Final = 3

_KEYS: Final = (
    ("up, down, k, j", "select a member"),
    ("enter", "show the methods of the selected member alone, or of all again"),
    ("s, r", "sort by the next column, or in reverse"),
    ("a c l e u o g t", "sort by address, calls, latency, errors, running, rumors, lag, state"),
    ("+, -", "look less, or more often"),
    ("space", "pause"),
    ("h, ?", "this help"),
    ("q", "end"),
)


def screen_lines(view: View, state: State, width: int, height: int, *, coloured: bool = True) -> list[str]:
    """Return the lines for a terminal."""
    head = _head(view, state, width, coloured=coloured)
    room = max(2, height - len(head) - 1)
    methods = min(len(view.methods), max(_LEAST_METHODS, int(room * _METHODS_SHARE)), max(0, room - 4))
    members_room = max(1, room - 1 - (methods + 2 if methods else 0))
    first = state.first_shown(view, members_room)
    shown = view.members[first : first + members_room]
    lines = head
    lines += _table(MEMBER_COLUMNS, shown, width, state.selected, coloured=coloured)
    if methods:
        whose = "all members" if view.picked is None else view.picked
        lines += ["", _styled(clipped(f"methods at {whose}", width), "dim", coloured=coloured)]
        lines += _table(METHOD_COLUMNS, view.methods[: max(1, methods - 1)], width, None, coloured=coloured)
    lines = lines[: max(1, height - 1)]
    foot = "q end  h help  s sort  enter pick  space pause" if not state.note else state.note
    return [*lines, _styled(clipped(_shown(foot), width), "dim", coloured=coloured)][:height]


def text_lines(view: View, width: int | None) -> list[str]:
    """Return all rows as plain text: for a file, a pipe, or a person without a terminal."""
    width = width or 160
    lines = [_summary(view)]
    lines += _table(MEMBER_COLUMNS, view.members, width, None, coloured=False)
    if view.methods:
        lines += ["", *_table(METHOD_COLUMNS, view.methods, width, None, coloured=False)]
    lines += [f"{row.address}: {row.error}" for row in view.members if row.error]
    return [_shown(line.rstrip()) for line in lines]


def help_lines(width: int, height: int) -> list[str]:
    """Return the lines of the help."""
    lines = ["keys", "", *(f"  {keys:16}  {what}" for keys, what in _KEYS), "", "any key: back"]
    return [clipped(line, width) for line in lines][:height]


def _summary(view: View) -> str:
    states = Counter(row.state for row in view.members)
    parts = ", ".join(f"{count} {state}" for state, count in states.items())
    calls = sum(row.served_per_s or 0.0 for row in view.members)
    errors = sum(row.errors_per_s or 0.0 for row in view.members)
    at = time.strftime("%H:%M:%S", time.localtime(view.at))
    text = f"{view.node}  {at}  {parts or 'no members'}  {short_number(calls)} calls/s"
    return text + (f"  {short_number(errors)} errors/s" if errors else "")


def _shown(text: str) -> str:
    """Return a text without control characters, which would move the cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _head(view: View, state: State, width: int, *, coloured: bool) -> list[str]:
    order = f"by {state.order}" + (" reversed" if state.is_reversed else "")
    how = "paused" if state.is_paused else f"every {state.interval_s:g} s"
    first = _styled(clipped(_shown(_summary(view)), width), "head", coloured=coloured)
    return [first, _styled(clipped(f"{order}, {how}", width), "dim", coloured=coloured)]


def _table(
    columns: Sequence[Column], rows: Sequence[Any], width: int, selected: str | None, *, coloured: bool
) -> list[str]:
    kept, first_width = fitting(columns, width, min(width, _LEAST_NAME))
    widest = max([len(kept[0].title), *(len(kept[0].cell(row).text) for row in rows)])
    first_width = max(1, min(first_width, widest))
    titles = [Cell(column.title, "head") for column in kept]
    lines = [_line(kept, titles, first_width, coloured=coloured)]
    for row in rows:
        cells = [column.cell(row) for column in kept]
        is_selected = selected is not None and getattr(row, "address", None) == selected
        if is_selected:
            plain = _line(kept, cells, first_width, coloured=False)
            lines.append(_styled(plain, "selected", coloured=coloured) if coloured else f">{plain[1:]}")
        else:
            lines.append(_line(kept, cells, first_width, coloured=coloured))
    return lines


def _line(columns: Sequence[Column], cells: Sequence[Cell], first_width: int, *, coloured: bool) -> str:
    parts = []
    for place, (column, cell) in enumerate(zip(columns, cells, strict=True)):
        width = column.width if place else first_width
        text = clipped(_shown(cell.text), width)
        parts.append(_styled(text.ljust(width) if column.is_text else text.rjust(width), cell.style, coloured=coloured))
    return " ".join(parts)


def _styled(text: str, style: str, *, coloured: bool) -> str:
    code = STYLES.get(style)
    return f"\x1b[{code}m{text}\x1b[0m" if coloured and code and text else text
