"""The tables of measured figures in README.md and docs/, written from files, never by hand.

``benchmarks/measured/`` has a file for each benchmark: its table, and the run that it is from. A page has a table
between two comments, ``<!-- figures: NAME -->`` and ``<!-- end -->``.

    python -m benchmarks calls --json calls.json
    python -m benchmarks.tables --take calls.json    # keep the tables of this run
    python -m benchmarks.tables                      # write all tables into the pages

Invariant: what a page shows is in the files; tests/test_measured.py compares them.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from .results import Goal, formatted
from .workers import ROOT

__all__ = ["FIVE", "TABLES", "Measured", "Table", "five", "in_pages", "load", "take", "written"]

MEASURED: Final = ROOT / "benchmarks" / "measured"
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK: Final = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


class Measured(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The table of one benchmark.

    Attributes:
        run: which run it is from: when, on what machine, by which command.
        columns, rows: the table, as the benchmark prints it; a row's first cell is its name.
        goals: the goals and their results, in sentences.
    """

    run: str
    columns: list[str]
    rows: list[list[str | int | float | None]]
    goals: list[str] = []

    def cell(self, row: str, column: str) -> str | int | float | None:
        """Return a cell.

        Raises:
            ValueError: there is no such row or column.
        """
        rows = {str(cells[0]): cells for cells in self.rows}
        if row not in rows or column not in self.columns:
            raise ValueError(f"no row {row!r} with a column {column!r}")
        return rows[row][self.columns.index(column)]


class Table(msgspec.Struct, frozen=True):
    """A table of a page.

    Attributes:
        measured: the name of the file.
        columns: heading to form, for each column; a form has the benchmark's columns in brackets, and ``[goal]``.
        titles: what some rows are called on the page.
    """

    measured: str
    columns: dict[str, str]
    titles: dict[str, str] = {}

    def text(self) -> str:
        """Return the table in Markdown."""
        measured = load(self.measured)
        lines = [list(self.columns), ["---"] * len(self.columns)]
        for cells in measured.rows:
            title = str(cells[0])
            line = [_filled(form, measured, title) for form in self.columns.values()]
            lines.append([self.titles.get(title, title), *line[1:]])
        return _rows(lines)


TABLES: Final[dict[str, Table]] = {
    "calls": Table(
        "calls",
        {
            "": "[peer]",
            "one at a time, calls/s": "[1: calls/s]",
            "x reference": "[1: x ref]",
            "x bare": "[1: x bare]",
            "64 in flight, calls/s": "[64: calls/s]",
            " x reference": "[64: x ref]",
            " x bare": "[64: x bare]",
            "CPU per call at 64, client + server": "[64: cpu us] us",
        },
        {"@brown-ds/distribution": "reference", "bare Trio socket, same frames": "bare Trio echo"},
    ),
    "sealed": Table(
        "sealed",
        {
            "load": "[load]",
            "plain": "[plain] [unit]",
            "sealed": "[sealed] [unit]",
            "sealed to plain": "[ratio]",
            "95 %": "[from] to [to]",
            "goal": "[goal]",
        },
    ),
    "dashboard": Table(
        "dashboard",
        {
            "": "[measure]",
            "median": "[median] [unit]",
            "p99": "[p99] [unit]",
            "95 % of the median": "[from] to [to]",
            "goal": "[goal]",
        },
    ),
    "sealed-fleet": Table(
        "sealed-fleet",
        {
            "measure": "[measure]",
            "plain": "[plain] [unit]",
            "sealed": "[sealed] [unit]",
            "sealed to plain": "[ratio]",
            "95 %": "[from] to [to]",
        },
        {"a node at rest": "processor time of a node at rest"},
    ),
    "map": Table(
        "map",
        {
            "": "[peer]",
            "10,000 of 1 ms": "[10,000 of 1 ms s] s",
            "1,000 of 100 ms": "[1,000 of 100 ms s] s",
            "start of 8 processes": "[start s] s",
            "lines": "[lines]",
        },
    ),
}

_CALL_PEERS: Final = {"Pyro5": "Pyro5", "tractor": "tractor", "gRPC": "grpcio aio"}
_MAP_PEERS: Final = {
    "multiprocessing": "multiprocessing, Pool.imap_unordered",
    "Ray": "Ray, ActorPool.map_unordered",
    "Dask": "Dask, Client.map",
}
_OWN_MAP: Final = "trionet, map, per_member=1"
FIVE: Final = [
    ("calls, one at a time", "calls", "trionet, link", "[1: calls/s]/s", _CALL_PEERS),
    ("calls, 64 in flight", "calls", "trionet, link", "[64: calls/s]/s", _CALL_PEERS),
    ("10,000 items of 1 ms, shared out to 8 processes", "map", _OWN_MAP, "[10,000 of 1 ms s] s", _MAP_PEERS),
    ("1,000 items of 100 ms, the same", "map", _OWN_MAP, "[1,000 of 100 ms s] s", _MAP_PEERS),
    ("start of these 8 processes", "map", _OWN_MAP, "[start s] s", _MAP_PEERS),
]
"""The figures of README.md: what, the file, our row, the form, and the rows of the peers by their names."""


def five() -> str:
    """Return the table of README.md."""
    lines = [["", "trionet", "its peers"], ["---"] * 3]
    for what, name, own, form, peers in FIVE:
        measured = load(name)
        shown = {peer: _filled(form, measured, row) for peer, row in peers.items()}
        others = "; ".join(f"{peer} {text}" for peer, text in shown.items() if text)
        lines.append([what, _filled(form, measured, own), others])
    return _rows(lines)


def load(name: str) -> Measured:
    """Read the file of a benchmark."""
    return msgspec.json.decode((MEASURED / f"{name}.json").read_bytes(), type=Measured)


def take(file: Path) -> list[str]:
    """Keep the tables of a file that ``--json`` has written; return their names."""
    taken = msgspec.json.decode(file.read_bytes())
    facts = ", ".join(f"{name} {value}" for part in ("machine", "versions") for name, value in taken[part].items())
    for name, result in taken["results"].items():
        settings = taken["settings"]
        run = f"`python -m benchmarks {name}` on {datetime.date.today()}, {settings['rounds']} rounds; {facts}."
        goals = [_sentence(goal) for goal in result["goals"]]
        measured = Measured(run=run, columns=result["columns"], rows=result["rows"], goals=goals)
        (MEASURED / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=1) + b"\n")
    return list(taken["results"])


def in_pages() -> dict[Path, str]:
    """Return the text of each page that has tables, with the tables as they are to be."""
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    return {page: written(text) for page, text in texts.items() if _BLOCK.search(text)}


def written(text: str) -> str:
    """Return a page's text with its tables."""
    return _BLOCK.sub(lambda block: f"{block[1]}\n{_table(block[2])}\n\n{block[3]}", text)


def _table(name: str) -> str:
    return five() if name == "README" else TABLES[name].text()


def _filled(form: str, measured: Measured, row: str) -> str:
    """Return a form with the cells of a row; nothing where a cell is empty."""
    cells: list[Any] = []

    def fill(column: re.Match[str]) -> str:
        cell = _goal_of(measured, row) if column[1] == "goal" else measured.cell(row, column[1])
        cells.append(cell)
        return f"{cell:,}" if isinstance(cell, int) else formatted(cell)

    text = re.sub(r"\[(.+?)\]", fill, form)
    return "" if None in cells else text


def _goal_of(measured: Measured, row: str) -> str | None:
    for goal in measured.goals:
        if found := re.match(re.escape(row) + r".*\(goal: (?:at least |at most )?([^)\s]+)\), (\w+)$", goal):
            return f"{found[1]}, {found[2].lower()}"
    return None


def _sentence(goal: dict[str, Any]) -> str:
    return str(msgspec.convert(goal, Goal))


def _rows(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--take", type=Path, metavar="FILE", help="first keep the tables of a file of --json")
    options = parser.parse_args(argv)
    if options.take:
        print("kept:", ", ".join(take(options.take)))
    for page, text in in_pages().items():
        if page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")
            print("written:", page.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
