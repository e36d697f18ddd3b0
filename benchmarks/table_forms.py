"""The forms of the tables of measured figures, and what fills them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from .measured_files import Measured, load
from .results import formatted

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Pivot", "Table", "filled", "lines_of_table"]


class Table(msgspec.Struct, frozen=True):
    """A table of a page with a line for each row of a benchmark.

    Attributes:
        measured: the name of the file.
        columns: heading to form, for each column; a form has the benchmark's columns in brackets, and ``[goal]``.
        titles: what some rows are called on the page.
        rows: the pattern of the names of those that are shown.
    """

    measured: str
    columns: dict[str, str]
    titles: dict[str, str] = {}
    rows: str = ".*"

    def text(self) -> str:
        """Return the table in Markdown, with its run."""
        measured = load(self.measured)
        lines = [list(self.columns), ["---"] * len(self.columns)]
        for cells in measured.rows:
            title = str(cells[0])
            if re.fullmatch(self.rows, title):
                line = [filled(form, measured, cells) for form in self.columns.values()]
                lines.append([self.titles.get(title, title), *line[1:]])
        return f"{lines_of_table(lines)}\n\n{measured.run}"


class Pivot(msgspec.Struct, frozen=True):
    """A table whose lines are gathered from several rows of a benchmark each.

    Attributes:
        measured: the name of the file.
        pattern: of the names of the rows. Its last group is the measure; the others name the line.
        columns: heading to form; a form has ``{0}``, ``{1}``, ... for the groups that name the line, and
            ``[measure|column]``.
    """

    measured: str
    pattern: str
    columns: dict[str, str]

    def text(self) -> str:
        """Return the table in Markdown, with its run."""
        measured = load(self.measured)
        gathered: dict[tuple[str, ...], dict[str, list[Any]]] = {}
        for cells in measured.rows:
            if found := re.fullmatch(self.pattern, str(cells[0])):
                *names, measure = found.groups()
                gathered.setdefault(tuple(names), {})[measure] = cells
        lines = [list(self.columns), ["---"] * len(self.columns)]
        for key, rows in gathered.items():
            lines.append([_gathered(form.format(*key), measured, rows) for form in self.columns.values()])
        return f"{lines_of_table(lines)}\n\n{measured.run}"


def _gathered(form: str, measured: Measured, rows: Mapping[str, list[Any]]) -> str:
    def fill(found: re.Match[str]) -> str:
        measure, _, column = found[1].partition("|")
        if measure not in rows:
            return "-"
        return _shown(rows[measure][measured.columns.index(column)])

    return re.sub(r"\[(.+?)\]", fill, form)


def filled(form: str, measured: Measured, row: list[Any]) -> str:
    """Return a form with the cells of a row; nothing where a cell is empty.

    Raises:
        ValueError: there is no such column.
    """
    cells: list[Any] = []

    def fill(column: re.Match[str]) -> str:
        if column[1] == "goal":
            cell = _goal_of(measured, str(row[0]))
        elif column[1] in measured.columns:
            cell = row[measured.columns.index(column[1])]
        else:
            raise ValueError(f"{measured.name} has no column {column[1]!r}")
        cells.append(cell)
        return _shown(cell)

    text = re.sub(r"\[(.+?)\]", fill, form)
    return "" if None in cells else text


def _shown(cell: Any) -> str:
    return f"{cell:,}" if isinstance(cell, int) else formatted(cell)


def _goal_of(measured: Measured, row: str) -> str | None:
    for goal in measured.goals:
        if (goal.what.startswith(row) or goal.what.endswith(row)) and goal.is_reached is not None:
            return f"{formatted(goal.limit)}, {'reached' if goal.is_reached else 'missed'}"
    return None


def lines_of_table(lines: list[list[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)
