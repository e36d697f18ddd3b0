"""``python -m benchmarks all``: each benchmark in a process of its own, within a limit, and its table into the pages.

Invariants: it ends within the time that it says at its start; what one benchmark has measured is written as soon as
that one ends, so that nothing that happens to the others, or later, loses it; no process is left behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from .compare import Side, read_side, shown, side_of
from .measured_files import MEASURED, Broken, read_run, take, write_whole
from .registry import BENCHMARKS, QUICK_LIMIT_S
from .tables import put
from .workers import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .measured_files import Run

__all__ = ["RESULTS", "Plan", "run_all"]

RESULTS: Final = ROOT / "build" / "benchmarks" / "results"
_END_S: Final = 20.0
"""How long a benchmark that is told to stop may take, before it is killed with all that it started."""


class Plan(msgspec.Struct, kw_only=True):
    """What is to be done.

    Attributes:
        names: of the benchmarks, in order.
        words: options for all of them, as on the command line.
        is_quick: whether they are only tried; then the pages stay as they are.
        is_writing: whether the tables go into the pages.
        within_s: how long all may take; None for the sum of their limits.
        results: the folder for the files of the runs.
        earlier: what to compare with; None for the kept runs.
        together: a file for all runs in one; None for none.
    """

    names: list[str]
    words: list[str] = []
    is_quick: bool = False
    is_writing: bool = True
    within_s: float | None = None
    results: Path = RESULTS
    earlier: Path | None = None
    together: Path | None = None

    def limit_s(self, name: str) -> float:
        """Return how long a benchmark may take."""
        return QUICK_LIMIT_S if self.is_quick else BENCHMARKS[name].limit_s

    def bound_s(self) -> float:
        """Return within which time all end."""
        whole = sum(self.limit_s(name) + 2 * _END_S for name in self.names)
        return whole if self.within_s is None else min(whole, self.within_s + 2 * _END_S)

    def command(self, name: str) -> list[str]:
        """Return the command of a benchmark."""
        own = [] if self.is_quick else BENCHMARKS[name].together.items()
        defaults = [word for option, value in own for word in (f"--{option}", str(value))]
        file = self.results / f"{name}.json"
        return [sys.executable, "-m", "benchmarks", name, *defaults, *self.words, "--json", str(file)]


def _say(text: str) -> None:
    """Print a line; a full disk or a closed terminal is no reason to stop measuring."""
    with suppress(OSError, ValueError):
        print(text, flush=True)


async def run_all(plan: Plan) -> int:
    """Run the benchmarks; return the exit status: 0, 1 if something did not work, 130 if interrupted."""
    earlier = read_side(plan.earlier or MEASURED)  # before anything new is kept
    _say(
        f"{len(plan.names)} benchmarks, each in a process of its own; all end within {plan.bound_s() / 60:.0f} minutes"
    )
    for trouble in earlier.troubles if plan.earlier else []:
        _say(f"not compared: {trouble}")
    with suppress(OSError):
        for name in plan.names:
            (plan.results / f"{name}.json").unlink(missing_ok=True)  # else an earlier run could pass for this one
    outcomes: dict[str, str] = {}
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at, signals, nursery.cancel_scope)
            await _run_each(plan, outcomes)
            nursery.cancel_scope.cancel()
    return _report(plan, earlier, outcomes)


async def _cancel_at(signals: object, scope: trio.CancelScope) -> None:
    async for _ in signals:  # type: ignore[attr-defined]  # Trio's iterator has no public type
        scope.cancel()


async def _run_each(plan: Plan, outcomes: dict[str, str]) -> None:
    end = time.monotonic() + (plan.within_s if plan.within_s is not None else float("inf"))
    for number, name in enumerate(plan.names, 1):
        limit_s = min(plan.limit_s(name), end - time.monotonic())
        if limit_s <= 0:
            outcomes[name] = "skipped: no time was left"
            continue
        _say(f"\n{number} of {len(plan.names)}: {name}, at most {limit_s / 60:.0f} minutes")
        begun = time.monotonic()
        outcomes[name] = "interrupted"
        status = await _run_one(plan.command(name), limit_s)
        took = f"after {time.monotonic() - begun:.0f} s"
        outcomes[name] = {0: "measured", None: "stopped: it took too long"}.get(status, f"ended with status {status}")
        outcomes[name] += f" {took}"


async def _run_one(command: list[str], limit_s: float) -> int | None:
    """Run a benchmark; return its status, or None if it was stopped at its limit."""
    process = await trio.lowlevel.open_process(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # so that Ctrl-C is ours alone, and all it started can be ended
    )
    try:
        with trio.move_on_after(limit_s):
            return await process.wait()
        return None
    finally:
        with trio.CancelScope(shield=True):
            await _end(process)


async def _end(process: trio.Process) -> None:
    """End a benchmark that still runs: it may stop its own processes first."""
    if process.returncode is None:
        process.send_signal(signal.SIGINT)
        with trio.move_on_after(_END_S):
            await process.wait()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _report(plan: Plan, earlier: Side, outcomes: Mapping[str, str]) -> int:
    """Keep the runs, write the tables, compare; say how each benchmark ended."""
    files = {name: plan.results / f"{name}.json" for name in plan.names}
    is_well = all(outcome.startswith(("measured", "skipped")) for outcome in outcomes.values())
    is_interrupted = len(outcomes) < len(plan.names) or "interrupted" in outcomes.values()
    there = [name for name, file in files.items() if file.exists()]
    _say("")
    for name in plan.names:
        saved = "" if name in there else "; nothing was saved"
        _say(f"{name}: {outcomes.get(name, 'interrupted')}{saved}")
    if plan.is_writing and not plan.is_quick:
        is_well &= _keep([files[name] for name in there])
    runs = _read([files[name] for name in there])
    if plan.together is not None and runs:
        is_well &= _write_together(runs, plan.together)
    _say("")
    measured = Side("this run", {name: one for run in runs for name, one in side_of(run).runs.items()})
    _say(shown(earlier, measured))
    _say(f"\nthe runs are in {_short(plan.results)}; of a release, `python -m benchmarks.compare OLD --notes` tells")
    return 130 if is_interrupted else 0 if is_well else 1


def _keep(files: Sequence[Path]) -> bool:
    """Keep the runs of files, and write the tables; return whether all went well."""
    is_well = True
    for file in files:
        try:
            _say("\n".join(take(file)))
        except Broken as exc:
            _say(str(exc))
            is_well = False
        except OSError as exc:
            _say(f"{file.stem}: not kept: {exc.strerror}; the run is in {_short(file)}")
            is_well = False
    return put(_say) and is_well


def _read(files: Sequence[Path]) -> list[Run]:
    runs = []
    for file in files:
        try:
            runs.append(read_run(file))
        except Broken as exc:
            _say(str(exc))
    return runs


def _write_together(runs: Sequence[Run], path: Path) -> bool:
    """Write the runs as one; return whether that went well."""
    versions = {name: version for run in runs for name, version in run.versions.items()}
    results = {name: result for run in runs for name, result in run.results.items()}
    whole = msgspec.structs.replace(runs[0], versions=versions, results=results)
    try:
        write_whole(path, msgspec.json.format(msgspec.json.encode(whole), indent=1))
    except OSError as exc:
        _say(f"{path} is not written: {exc.strerror}")
        return False
    return True


def _short(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
