"""The columns of the tables of ``trionet top``, and how they fit a width.

Invariant: no line is wider than the width; the columns that matter less go first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .looks import MemberRow

__all__ = ["MEMBER_COLUMNS", "METHOD_COLUMNS", "Cell", "Column", "clipped", "fitting", "short_number"]

_GAP: Final = 1
_THOUSAND: Final = 1000
_TEN: Final = 10
_HUNDRED: Final = 100
_MOST_WHOLE: Final = 9999


class Cell(NamedTuple):
    """A text with the name of its style; see `screen.STYLES`."""

    text: str
    style: str = ""


class Column(NamedTuple):
    """A column.

    Attributes:
        title: its title.
        width: its width; the first column of a table takes the rest.
        rank: the columns of higher ranks are dropped first.
        cell: returns the cell of a row.
        is_text: whether it is aligned to the left.
    """

    title: str
    width: int
    rank: int
    cell: Callable[[Any], Cell]
    is_text: bool = False


def short_number(value: float | None) -> str:
    """Return a number in at most five characters: 7, 0.12, 12.3, 1234, 12.3k, 1.2M; a dash for None."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    if isinstance(value, int) and value <= _MOST_WHOLE:
        return str(value)
    for limit, unit in ((1, ""), (_THOUSAND, "k"), (_THOUSAND**2, "M"), (_THOUSAND**3, "G"), (_THOUSAND**4, "T")):
        scaled = value / limit
        if scaled < 9999.5 or unit == "T":  # noqa: PLR2004  four digits
            break
    if unit:
        return f"{scaled:.0f}{unit}" if scaled >= _HUNDRED else f"{scaled:.1f}{unit}"
    return f"{scaled:.0f}" if scaled >= _HUNDRED else f"{scaled:.1f}" if scaled >= _TEN else f"{scaled:.2f}"


def clipped(text: str, width: int) -> str:
    """Return a text of at most this width."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "~" if width > 0 else ""


def fitting(columns: Sequence[Column], width: int, least_first: int) -> tuple[list[Column], int]:
    """Return the columns that fit, and the width of the first one.

    Args:
        columns: all of them.
        width: of the line.
        least_first: the least width of the first one, which is never dropped.
    """
    first, *rest = columns
    kept = list(rest)
    while kept and least_first + sum(column.width + _GAP for column in kept) > width:
        kept.remove(max(kept, key=lambda column: column.rank))
    return [first, *kept], max(1, width - sum(column.width + _GAP for column in kept))


def _state(row: MemberRow) -> Cell:
    if row.error:
        return Cell(row.state if row.state != "alive" else "silent", "bad")
    return Cell(row.state, {"alive": "good", "suspect": "warn"}.get(row.state, "bad"))


def _figure(name: str, warn: float | None = None, bad: float | None = None) -> Callable[[Any], Cell]:
    """Return a column's cells of one figure, which is marked from some values on."""

    def cell(row: Any) -> Cell:
        value = getattr(row, name)
        style = ""
        if value is not None and bad is not None and value >= bad:
            style = "bad"
        elif value is not None and warn is not None and value >= warn:
            style = "warn"
        return Cell(short_number(value), style)

    return cell


MEMBER_COLUMNS: Final = (
    Column("MEMBER", 21, 0, lambda row: Cell(row.address), is_text=True),
    Column("STATE", 7, 0, _state, is_text=True),
    Column("CALLS/S", 7, 1, _figure("served_per_s")),
    Column("P99 MS", 6, 2, _figure("p99_ms")),
    Column("ERR/S", 5, 3, _figure("errors_per_s", warn=0.001)),
    Column("LAG MS", 6, 4, _figure("lag_ms", warn=50, bad=250)),
    Column("P50 MS", 6, 5, _figure("median_ms")),
    Column("RUN", 5, 6, _figure("running")),
    Column("RUMORS/S", 8, 7, _figure("rumors_per_s")),
    Column("LINKS", 5, 8, _figure("links")),
    Column("MADE/S", 6, 9, _figure("made_per_s")),
    Column("PING MS", 7, 10, _figure("probe_ms")),
    Column("BYTES/S", 7, 11, _figure("sent_bytes_per_s")),
    Column("QUEUED", 6, 12, _figure("queued_bytes", warn=1)),
    Column("HEALTH", 6, 13, _figure("health", warn=1, bad=4)),
    Column("SID", 10, 14, lambda row: Cell(row.sid), is_text=True),
)

METHOD_COLUMNS: Final = (
    Column("METHOD", 24, 0, lambda row: Cell(row.name), is_text=True),
    Column("CALLS/S", 7, 1, _figure("per_s")),
    Column("P50 MS", 6, 3, _figure("median_ms")),
    Column("P99 MS", 6, 2, _figure("p99_ms")),
    Column("MEAN MS", 7, 5, _figure("mean_ms")),
    Column("ERR/S", 5, 4, _figure("errors_per_s", warn=0.001)),
)
