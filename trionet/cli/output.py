"""What a command prints: a table for people, or JSON for programs.

Invariants: with ``--json`` standard output holds one JSON document, or one for each line when following; text for
people goes to a terminal in its width, and elsewhere in one line for each row. Without rich, the tables are the same,
without colours. A text of a node's is never obeyed by the terminal.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import trio

from trionet.errors import IndefiniteError, TrionetError, error_to_wire
from trionet.identity import NodeAddress
from trionet.replies import Replies
from trionet.streams import check_written, is_read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "Output",
    "ReaderGone",
    "Table",
    "described_error",
    "duration_of",
    "ends_with_reader",
    "error_text",
    "json_of",
    "line_of",
    "text_of",
]

_GAP: Final = "  "
_LEAST: Final = 8
_LOOK_S: Final = 0.5
_MINUTE_S: Final = 60
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_TURNING: Final = (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""The characters that change the direction of writing, so that a line shows something else than it says."""
_ESCAPED: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"} | {
    code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *_TURNING)
}
"""The characters that a terminal could obey: nodes send any text."""
_ESCAPED_IN_JSON: Final = {code: f"\\u{code:04x}" for code in (*range(127, 160), 0x2028, 0x2029, *_TURNING)}
"""Those that JSON may have as they are."""
_REPLY_FIELDS: Final = ("id", "value", "values", "errors")
_STYLES: Final = {"alive": "green", "suspect": "yellow", "failed": "red", "left": "dim"}


class ReaderGone(Exception):
    """Nobody reads standard output any more, as after ``| head``: the command has nothing to do."""


class Table(NamedTuple):
    """A table of texts.

    Attributes:
        columns: the names of its columns.
        rows: its rows: values of any kind, as many as columns; see `text_of`.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Output:
    """Prints the results of one command.

    Attributes:
        is_json: whether it prints JSON.
    """

    def __init__(self, *, is_json: bool = False) -> None:
        self.is_json = is_json

    @property
    def is_terminal(self) -> bool:
        """Whether people read it on a terminal."""
        return not self.is_json and sys.stdout.isatty()

    def show(self, value: Any, render: Callable[[Any], Table | str | None] | None = None) -> None:
        """Print a value: as one JSON document in one line, or what ``render(value)`` makes of it.

        Args:
            value: plain data, or what `json_of` makes that of.
            render: returns a table, a text, or None for nothing; default: `text_of`.
        """
        if self.is_json:
            self._print(json_of(value))
            return
        found = text_of(value) if render is None else render(value)
        if found is None:
            return
        if isinstance(found, Table):
            self.table(found)
        else:
            self._print(_harmless(found))

    def line(self, text: str) -> None:
        """Print a line for people; nothing with ``--json``."""
        if not self.is_json:
            self._print(_harmless(text))

    def renew(self, text: str) -> None:
        """Print a line on a terminal in place of the last one."""
        self._print(f"\x1b[1A\r{_harmless(text)}\x1b[K")

    def table(self, table: Table) -> None:
        """Print a table: with its head on a terminal and elsewhere; without rows its head alone."""
        rows = [[line_of(text_of(cell)) for cell in row] for row in table.rows]
        width = shutil.get_terminal_size().columns if self.is_terminal else None
        if width is not None and _has_colours() and (lines := _coloured(table.columns, rows, width)) is not None:
            self._print(lines)
            return
        self._print("\n".join(_plain([[name.upper() for name in table.columns], *rows], width)))

    def _print(self, text: str) -> None:
        print(text)
        check_written(sys.stdout)
        if not is_read(sys.stdout):
            raise ReaderGone


def text_of(value: Any) -> str:
    """Return a value for people: nothing for None; a text as it is, but control characters escaped; else JSON."""
    if value is None:
        return ""
    return _harmless(str(value)) if isinstance(value, str | NodeAddress) else json_of(value)


def _harmless(text: str) -> str:
    """Return a text with escapes for what a terminal could obey, and for what UTF-8 can't encode."""
    return text.encode("utf-8", "backslashreplace").decode().translate(_ESCAPED)


def line_of(text: str) -> str:
    """Return a text for people in one line, with escapes for what a terminal could obey."""
    return _harmless(text).replace("\n", "\\n").expandtabs(1)


def error_text(error: TrionetError) -> str:
    """Return an error in one line."""
    return f"error: {type(error).__name__}: {line_of(error.text)}"


def duration_of(seconds: float) -> str:
    """Return a time in its two largest units, as ``2h 5m``."""
    if seconds < _MINUTE_S:
        return f"{seconds:.1f}s"
    parts = list[str]()
    for name, size in _UNITS:
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append(f"{count:.0f}{name}")
    return " ".join(parts[:2])


async def ends_with_reader(scope: trio.CancelScope) -> None:
    """Cancel `scope` when nobody reads standard output any more, though nothing is printed."""
    while is_read(sys.stdout):  # noqa: ASYNC110  a pipe's other end tells nobody that it closes
        await trio.sleep(_LOOK_S)
    scope.cancel()


def json_of(value: Any) -> str:
    """Return a value as JSON: addresses as texts, errors as `described_error` has them, unknown kinds as texts."""
    return msgspec.json.encode(value, enc_hook=_plain_value, order=None).decode().translate(_ESCAPED_IN_JSON)


def _plain_value(value: Any) -> Any:
    if isinstance(value, TrionetError):
        return described_error(value)
    if isinstance(value, Replies):
        return {name: getattr(value, name) for name in _REPLY_FIELDS if hasattr(value, name)}
    return str(value)


def described_error(error: TrionetError) -> dict[str, Any]:
    """Return an error as plain data: as on the wire, with ``indefinite``: whether it may have happened."""
    wire = error_to_wire(error)
    return {"type": wire["name"], "indefinite": isinstance(error, IndefiniteError)} | wire


def _has_colours() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _plain(rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Return the lines of a table; in a given width, the cells of its widest columns are folded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if width is not None:
        _shrink(widths, width - len(_GAP) * (len(widths) - 1))
    lines = []
    for row in rows:
        cells = [_folded(cell, size) for cell, size in zip(row, widths, strict=True)]
        for number in range(max(map(len, cells))):
            parts = [cell[number] if number < len(cell) else "" for cell in cells]
            lines.append(_GAP.join(map(str.ljust, parts, widths)).rstrip())
    return lines


def _shrink(widths: list[int], room: int) -> None:
    while sum(widths) > room and max(widths) > _LEAST:
        widest = max(widths)
        place = widths.index(widest)
        widths[place] = max(_LEAST, widest - max(1, sum(widths) - room))


def _folded(cell: str, width: int) -> list[str]:
    return [cell] if len(cell) <= width else textwrap.wrap(cell, width, break_on_hyphens=False)


def _coloured(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str | None:
    """Return a table drawn by rich; None if that is not installed."""
    try:
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text
    except ImportError:
        return None
    drawn = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        drawn.add_column(name.upper(), overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    console = Console(width=width, force_terminal=True, highlight=False)
    with console.capture() as capture:
        console.print(drawn)
    return capture.get().rstrip("\n")
