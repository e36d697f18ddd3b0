"""The files of ``benchmarks/measured/``: the last run of each benchmark that was kept, with its figures.

Invariants: a file is written whole or not at all; and a run that lacks rows of the kept one, because a peer could not
be run, does not replace it unasked.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from .results import Figure, Goal, Result
from .workers import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["MEASURED", "Broken", "Measured", "Run", "load", "load_from", "read_run", "take", "write_whole"]

MEASURED: Final = ROOT / "benchmarks" / "measured"
_MIB: Final = 1024

T = TypeVar("T")


class Broken(Exception):
    """A file is missing, or isn't what it should be."""


class Run(msgspec.Struct, kw_only=True):
    """What ``--json`` writes.

    Attributes:
        date: the day.
        machine, versions: the facts.
        settings: those of the run that matter to a reader.
        results: of each benchmark, by its name.
    """

    date: str = "an unknown day"
    machine: dict[str, Any] = {}
    versions: dict[str, str] = {}
    settings: dict[str, Any] = {}
    results: dict[str, Result]


class Measured(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The kept run of one benchmark.

    Attributes:
        name: of the benchmark.
        date: the day of the run.
        machine, versions: the facts.
        rounds: how many; 0 if that is not known.
        note: what else a reader must know of the run.
        columns, rows: the table, as the benchmark prints it; a row's first cell is its name.
        goals: the goals, with what was measured.
        figures: what later runs are compared by, beside the goals.
        left_out: the peers that are not in the table, and why.
    """

    name: str
    date: str
    machine: dict[str, Any] = {}
    versions: dict[str, str] = {}
    rounds: int = 0
    note: str = ""
    columns: list[str]
    rows: list[list[str | int | float | None]]
    goals: list[Goal] = []
    figures: list[Figure] = []
    left_out: list[str] = []

    @property
    def run(self) -> str:
        """Which run it is, in one sentence."""
        facts = [_machine(self.machine), *(f"{name} {self.versions[name]}" for name in self._peers())]
        if self.rounds:
            facts.append(f"{self.rounds} round{'s' * (self.rounds > 1)}")
        told = ", ".join(fact.removeprefix("python ") for fact in facts if fact)
        text = f"`python -m benchmarks {self.name}`, {self.date}{': ' * bool(told)}{told}."
        return " ".join([text, *filter(None, [self.note]), *(f"Left out: {peer}." for peer in self.left_out)])

    def _peers(self) -> list[str]:
        """Return the programs whose versions are told: Python, and those that are no part of trionet."""
        own = {"trionet", "trio", "msgspec", "httpx", "hypercorn", "quart", "quart-trio"}
        return [name for name in self.versions if name not in own]

    def rows_named(self, name: str) -> list[list[str | int | float | None]]:
        """Return the rows of this name."""
        return [cells for cells in self.rows if str(cells[0]) == name]

    def cell(self, row: str, column: str) -> str | int | float | None:
        """Return a cell.

        Raises:
            ValueError: there is no such row or column.
        """
        rows = self.rows_named(row)
        if not rows or column not in self.columns:
            raise ValueError(f"{self.name} has no row {row!r} with a column {column!r}")
        return rows[0][self.columns.index(column)]


def _machine(facts: dict[str, Any]) -> str:
    """Return a machine in a few words, as far as it is known."""
    words = []
    if "cores" in facts:
        words.append(f"{facts['cores']} cores of {facts.get('architecture', 'a machine')}")
    if "system" in facts:
        words.append(f"{facts['system']} {facts.get('kernel', '')}".strip())
    if "memory_mib" in facts:
        words.append(f"{round(facts['memory_mib'] / _MIB)} GiB")
    if facts.get("load_average"):
        words.append(f"load {facts['load_average'][0]:g}")
    return ", ".join(words)


def load(name: str) -> Measured:
    """Read the kept run of a benchmark.

    Raises:
        Broken: there is none that can be read.
    """
    return load_from(MEASURED / f"{name}.json")


def load_from(path: Path) -> Measured:
    """Read a kept run from a file; see `load`."""
    return _read(path, Measured)


def read_run(path: Path) -> Run:
    """Read a file that ``--json`` has written.

    Raises:
        Broken: it is none.
    """
    return _read(path, Run)


def _read(path: Path, form: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=form)
    except OSError as exc:
        raise Broken(f"{path}: {exc.strerror}") from exc
    except msgspec.ValidationError as exc:
        raise Broken(f"{path} is no file of these benchmarks, or one of another version: {exc}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Broken(f"{path} is broken: {exc}") from exc


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one step: nobody sees half of it, and on a full disk the earlier one stays.

    Raises:
        OSError: it can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def take(path: Path, *, anyway: bool = False) -> list[str]:
    """Keep the runs of a file of ``--json``; return a sentence for each.

    Args:
        path: the file.
        anyway: replace a kept run by one that lacks rows of it, too.

    Raises:
        Broken: the file is none of ``--json``.
        OSError: the kept one can't be written.
    """
    run = read_run(path)
    return [_take(name, result, run, path, anyway=anyway) for name, result in run.results.items()]


def _take(name: str, result: Result, run: Run, path: Path, *, anyway: bool) -> str:
    try:
        earlier = load(name)
    except Broken:
        lost = []
    else:
        lost = _lost(earlier, result)
    if not result.rows:
        return f"{name}: nothing was measured; the earlier table stays"
    if lost and not anyway:
        remedy = f"`python -m benchmarks.tables --take {path} --anyway` takes it"
        return f"{name}: the earlier table stays, because this run has no {lost[0]} ({len(lost)} missing); {remedy}"
    kept = Measured(
        name=name,
        date=run.date,
        machine=run.machine,
        versions=run.versions,
        rounds=int(run.settings.get("rounds", 0)),
        columns=_distinct(result.columns),
        rows=result.rows,
        goals=result.goals,
        figures=result.figures,
        left_out=result.skipped,
    )
    data = msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n"
    write_whole(MEASURED / f"{name}.json", data)
    return f"{name}: kept"


def _lost(earlier: Measured, result: Result) -> list[str]:
    """Return what a run has no figures of, and the earlier one has: rows, and cells in the columns that both have."""
    columns = _distinct(result.columns)
    here = {
        (str(row[0]), name) for row in result.rows for name, cell in zip(columns, row, strict=False) if cell is not None
    }
    rows = {row for row, _ in here}
    lost, cells = list[str](), list[str]()
    for row in earlier.rows:
        if str(row[0]) not in rows:
            lost.append(repr(str(row[0])))
        else:
            there = [name for name, cell in zip(earlier.columns[1:], row[1:], strict=False) if cell is not None]
            cells += [
                f"{name!r} of {str(row[0])!r}" for name in there if name in columns and (str(row[0]), name) not in here
            ]
    return [*dict.fromkeys(lost), *dict.fromkeys(cells)]


def _distinct(columns: Sequence[str]) -> list[str]:
    """Return column names of which none is there twice: one that was there has that on its left before it."""
    names: list[str] = []
    for column in columns:
        names.append(f"{names[-1]} {column}" if column in names else column)
    return names
