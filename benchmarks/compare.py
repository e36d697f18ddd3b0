"""What became slower since an earlier run, and what faster, told from noise.

    python -m benchmarks.compare OLD [NEW]            # files of --json, or folders of them or of kept runs
    python -m benchmarks.compare OLD [NEW] --notes    # the lines of CHANGELOG.md for a release

Compared are ratios, and on one and the same kind of machine also the processor time of one piece of work and whatever
else has a goal. With five samples or more of both runs a change counts where the whole interval of 99 % of the ratio of
the two medians (by bootstrap) is beyond 5 %; with fewer, the ratio must be beyond 25 %, and times by the clock must
have doubled. Speed decides nothing: the exit status is 0 whatever became slower, 2 where there is
nothing to compare, 1 where it can't be printed.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .measured_files import MEASURED, Broken, Measured, load_from, read_run
from .results import Figure, formatted
from .settings import print_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .measured_files import Run
    from .results import Goal

__all__ = ["Change", "Side", "changes", "main", "notes", "read_side", "shown", "side_of"]

_DRAWS: Final = 2000
_MARGIN: Final = 1.05
_FEW: Final = 5
_FEW_MARGIN: Final = 1.25
_CLOCK_MARGIN: Final = 2.0
_CLOCK: Final = ("s", "ms")
_SAME: Final = ("cores", "architecture", "system")
_NOTHING: Final = "There is nothing to compare: no measure is in both"


class Side(msgspec.Struct):
    """The figures of one run, or of the kept runs.

    Attributes:
        where: the file or the folder.
        runs: of each benchmark, by its name.
        troubles: files that could not be read, in sentences.
    """

    where: str
    runs: dict[str, Measured] = {}
    troubles: list[str] = []


class Change(msgspec.Struct, frozen=True):
    """A measure of which both sides have a figure.

    Attributes:
        benchmark, what, unit: the measure.
        old, new: the medians.
        worse: how many times worse the new one is; below 1 it is better. None where a median is 0.
        low, high: the interval of `worse`; both None with too few samples.
        verdict: ``slower``, ``faster`` or ``same``.
    """

    benchmark: str
    what: str
    unit: str
    old: float
    new: float
    worse: float | None
    low: float | None
    high: float | None
    verdict: str

    def __str__(self) -> str:
        unit = " " + self.unit if self.unit else ""
        text = f"{self.benchmark}: {self.what}: {formatted(self.new)}{unit}, was {formatted(self.old)}{unit}"
        if self.worse is None:
            return text
        about = f"{100 * (self.worse - 1):+.0f} % cost"
        if self.low is None or self.high is None:
            return f"{text} ({about}; few samples)"
        return f"{text} ({about}; 99 %: {100 * (self.low - 1):+.0f} to {100 * (self.high - 1):+.0f})"


def read_side(path: Path) -> Side:
    """Read a file of ``--json``, a kept run, or a folder of either; what can't be read is told, and left out."""
    side = Side(str(path))
    for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
        try:
            side.runs |= _runs_of(file)
        except Broken as exc:
            side.troubles.append(str(exc))
    if not side.runs and not side.troubles:
        side.troubles.append(f"there are no measured figures in {path}")
    return side


def side_of(run: Run, where: str = "this run") -> Side:
    """Return a run as one side."""
    return Side(where, _measured(run))


def _runs_of(file: Path) -> dict[str, Measured]:
    try:
        return _measured(read_run(file))
    except Broken as no_run:
        try:
            kept = load_from(file)
        except Broken:
            raise no_run from None
        return {kept.name: kept}


def _measured(run: Run) -> dict[str, Measured]:
    facts: Any = {"date": run.date, "machine": run.machine, "versions": run.versions}
    return {
        name: Measured(name=name, columns=[], rows=[], goals=result.goals, figures=result.figures, **facts)
        for name, result in run.results.items()
    }


def changes(old: Side, new: Side) -> list[Change]:
    """Compare the measures that both sides have."""
    found = []
    for name in [name for name in new.runs if name in old.runs]:
        is_same_machine = _are_alike(old.runs[name], new.runs[name])
        before, after = _figures(old.runs[name]), _figures(new.runs[name])
        for what in [what for what in after if what in before]:
            unit = after[what].unit
            if unit == before[what].unit and (unit == "x" or is_same_machine):
                found.append(_change(name, before[what], after[what]))
    return found


def _are_alike(old: Measured, new: Measured) -> bool:
    """Return whether both were measured on the same kind of machine."""
    return all(old.machine.get(fact) == new.machine.get(fact) for fact in _SAME)


def _on_other_machines(old: Side, new: Side) -> list[str]:
    both = [name for name in new.runs if name in old.runs]
    return [name for name in both if not _are_alike(old.runs[name], new.runs[name])]


def _figures(run: Measured) -> dict[str, Figure]:
    """Return the figures of a run, and its goals as figures with one sample."""
    goals = {goal.what: _as_figure(goal) for goal in run.goals if goal.measured is not None}
    return goals | {figure.what: figure for figure in run.figures if figure.samples}


def _as_figure(goal: Goal) -> Figure:
    return Figure(goal.what, [goal.measured or 0.0], goal.at_least, goal.unit)


def _change(benchmark: str, old: Figure, new: Figure) -> Change:
    before, after = statistics.median(old.samples), statistics.median(new.samples)
    better, worse = (old, new) if not new.at_least else (new, old)
    if min(before, after) <= 0:
        verdict = "same" if before == after else _verdict_of_counts(before, after, at_least=new.at_least)
        return Change(benchmark, new.what, new.unit, before, after, None, None, None, verdict)
    ratio = statistics.median(worse.samples) / statistics.median(better.samples)
    low, high = _interval(worse.samples, better.samples)
    if low is None or high is None:
        margin = _CLOCK_MARGIN if new.unit in _CLOCK else _FEW_MARGIN
        verdict = "slower" if ratio > margin else "faster" if ratio < 1 / margin else "same"
    else:
        verdict = "slower" if low > _MARGIN else "faster" if high < 1 / _MARGIN else "same"
    return Change(benchmark, new.what, new.unit, before, after, ratio, low, high, verdict)


def _verdict_of_counts(before: float, after: float, *, at_least: bool) -> str:
    """Return the verdict on numbers of which one is 0, such as of errors or of processes left."""
    return "slower" if (after < before) == at_least else "faster"


def _interval(worse: Sequence[float], better: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the interval of 99 % of the ratio of two medians, by bootstrap; None with too few samples."""
    if min(len(worse), len(better)) < _FEW or min(*worse, *better) <= 0:
        return None, None
    draw, median = random.Random(len(worse)), statistics.median  # the same samples give the same interval
    ratios = sorted(
        median(draw.choices(worse, k=len(worse))) / median(draw.choices(better, k=len(better))) for _ in range(_DRAWS)
    )
    return ratios[_DRAWS // 200], ratios[-_DRAWS // 200]


def shown(old: Side, new: Side) -> str:
    """Return the comparison as text."""
    found = changes(old, new)
    lines = [f"compared with {old.where}: {len(found)} measures"]
    if others := _on_other_machines(old, new):
        lines.append(f"measured on another kind of machine, so only ratios are compared: {', '.join(others)}")
    for verdict in ("slower", "faster"):
        lines += [f"{verdict:7} {change}" for change in found if change.verdict == verdict]
    if not found:
        lines.append(_NOTHING)
    elif not any(change.verdict == "slower" for change in found):
        lines.append("nothing became slower, beyond noise")
    lines += [f"not compared: {trouble}" for trouble in old.troubles + new.troubles]
    if missing := sorted(old.runs.keys() - new.runs.keys()):
        lines.append(f"not measured anew: {', '.join(missing)}")
    return "\n".join(lines)


def notes(old: Side, new: Side) -> str:
    """Return the lines of CHANGELOG.md that say what became slower, and what faster."""
    found = changes(old, new)
    days = sorted({run.date for run in new.runs.values()})
    before = sorted({run.date for run in old.runs.values()})
    lines = [
        f"Speed, measured by `python3 dev.py bench all` ({' to '.join(days[:1] + days[1:][-1:])}), compared with the"
        f" figures of {' to '.join(before[:1] + before[1:][-1:])}; {len(found)} measures:",
        "",
    ]
    for verdict in ("slower", "faster") if found else ():
        listed = [f"- {verdict.capitalize()}: {change}." for change in found if change.verdict == verdict]
        lines += listed or [f"- Nothing became {verdict}, beyond noise."]
    return "\n".join(lines if found else [*lines, f"- {_NOTHING}."])


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("old", type=Path, help="a file of --json, or a folder")
    parser.add_argument("new", type=Path, nargs="?", default=MEASURED, help="the same (default: the kept runs)")
    parser.add_argument("--notes", action="store_true", help="print the lines for CHANGELOG.md")
    options = parser.parse_args(argv)
    old, new = read_side(options.old), read_side(options.new)
    is_printed = print_all((notes if options.notes else shown)(old, new))
    for trouble in (old.troubles + new.troubles) if options.notes else []:
        print(f"not compared: {trouble}", file=sys.stderr)
    if not is_printed:
        return 1
    return 0 if changes(old, new) else 2


if __name__ == "__main__":
    sys.exit(main())
