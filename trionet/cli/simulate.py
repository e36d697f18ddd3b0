"""``trionet simulate``: search for a seed with which a cluster fails, and shrink the failing run."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from trionet.errors import ConfigError
from trionet.simulation.outcomes import check_trial, run_trial
from trionet.simulation.pictures import check_request, draw
from trionet.simulation.promises import INVARIANTS
from trionet.simulation.report import nearest_passing, write_report
from trionet.simulation.rules import networks
from trionet.simulation.scenarios import SCENARIOS
from trionet.simulation.search import MOST_REAL_S, PROCESS, Failure, Worker, search
from trionet.simulation.shrinking import Shrunk, shrink
from trionet.simulation.trace import Trace
from trionet.simulation.trials import Trial
from trionet.streams import OutputLost, check_written, claim_stdout, prepare_streams

from .arguments import Parser, import_from_working_directory
from .progress import Progress

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from trionet.simulation.invariants import Violation
    from trionet.simulation.report import Passing

__all__ = ["main", "make_parser"]

_DESCRIPTION = f"""\
Run a simulated cluster under a scenario's faults, with one seed after the other, until a run fails. Then shrink the
failing run, and print the command that repeats it.

Without --program the nodes call each other in all ways. A run fails if an invariant is violated, a built-in one or your
own; if the program raises an exception or doesn't end; or if a node fails.

scenarios: {", ".join(SCENARIOS)}
networks: {", ".join(networks)}
built-in invariants: {", ".join(INVARIANTS)}
"""

_EPILOG = """\
examples:
  trionet simulate --scenario split_brain --seeds 1000
  trionet simulate --program shop:two_customers --config shop:CONFIG --invariant shop:is_not_oversold
  trionet simulate --seed 17 --trace trace.jsonl --plot trace.png
  trionet simulate --scenario split_brain --html report.html
  trionet simulate --replay failure.json

exit status: 0 no run failed, 1 a run failed, 2 wrong usage, 130 interrupted
"""

_FILES: Final = ("trace", "plot", "html")
_INTERRUPTED: Final = 128 + 2
_LONGEST_INLINE: Final = 600
"""The characters of the longest trial that is shown on the command line."""


def make_parser() -> Parser:
    """Return the parser of its arguments."""
    parser = Parser(prog="trionet simulate", description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument_group("the run").add_argument
    add("--scenario", metavar="NAME", help="one of those above, or module:function; default: anything")
    add("--nodes", metavar="N", type=int, help="how many nodes; default: 5")
    add("--duration", dest="duration_s", metavar="S", type=float, help="the duration of the faults; default: 20 s")
    add("--settle", dest="settle_s", metavar="S", type=float, help="the most time to recover then; default: 60 s")
    add("--network", metavar="NAME", help="the network without faults; default: lan")
    add("--program", metavar="MODULE:NAME", help="an async function of the Simulation")
    add("--config", metavar="MODULE:NAME", help="a NodeConfig, or a function from a node's number to one")
    add("--invariant", dest="invariants", metavar="NAME", action="append", help="an invariant: module:name, besides "
        "the built-in ones; or one of these, in place of all; repeatable")  # fmt: skip
    add("--most-messages", metavar="N", type=int, help="a run with more is a storm; default: 1,000 per node and second")
    add = parser.add_argument_group("the seeds").add_argument
    add("--seeds", metavar="N", type=int, help="how many seeds to try; default: 100")
    add("--first-seed", metavar="K", type=int, help="the first of them; default: 0")
    add("--processes", metavar="P", type=int, help="how many at once; default: one per processor")
    add("--most-real-seconds", metavar="S", type=float, default=MOST_REAL_S, help="a run that takes longer has failed; "
        f"default: {MOST_REAL_S:g} s; without limit with --seed or --replay")  # fmt: skip
    add("--seed", metavar="N", type=int, help="run this one seed only, here")
    add("--replay", metavar="FILE|JSON", help="run this one trial only, here")
    add = parser.add_argument_group("the output").add_argument
    add("--no-shrink", action="store_true", help="don't shrink the failing run")
    add("--trace", metavar="FILE", help="save the trace of the single run, or of the failing one")
    add("--plot", metavar="FILE", help="draw it: a .png, .svg or .pdf")
    add("--html", metavar="FILE", help="write it as a page for a browser, with its first difference from a passing run")
    add("--json", action="store_true", help="print the result as one line of JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command; ends the process."""
    prepare_streams()
    parser = make_parser()
    options = parser.parse_args(argv)
    options.results = claim_stdout() if options.json else sys.stdout
    try:
        _check_files(parser, options)
        import_from_working_directory()
        trial = _trial(parser, options)
        check_trial(trial)
        is_single = options.seed is not None or options.replay is not None
        status = _repeat(trial, options) if is_single else _search(trial, options)
        check_written(options.results)
        sys.exit(status)
    except ConfigError as exc:
        parser.error(str(exc))
    except (OSError, RuntimeError, OutputLost) as exc:  # RuntimeError: matplotlib is not installed
        print(f"{parser.prog}: {exc}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except BaseExceptionGroup as exc:  # as Trio wraps it
        if exc.split(KeyboardInterrupt)[0] is None:
            raise
        sys.exit(_INTERRUPTED)


def _check_files(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse output files that can't be written or drawn, before the run."""
    for name in _FILES:
        path = getattr(options, name)
        if path is not None and not Path(path).parent.is_dir():
            parser.error(f"--{name}: there is no folder {os.fspath(Path(path).parent)!r}")
        if path is not None and Path(path).is_dir():
            parser.error(f"--{name}: {path!r} is a folder")
    if options.plot is not None:
        try:
            check_request(options.plot)
        except ValueError as exc:
            parser.error(f"--plot: {exc}")


def _trial(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Trial:
    """Return the trial of the options."""
    options.invariants = _invariants(options.invariants)
    given = vars(options)
    changes = {name: given[name] for name in Trial.__struct_fields__ if given.get(name) is not None}
    for name in ("seeds", "processes", "most_messages"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: a positive number, not {getattr(options, name)}")
    if not options.most_real_seconds > 0:
        parser.error(f"--most-real-seconds: a positive number, not {options.most_real_seconds:g}")
    is_search = options.seeds is not None or options.first_seed is not None
    if options.seed is not None and is_search:
        parser.error("--seed runs one seed only: no --seeds and no --first-seed with it")
    if options.replay is None:
        return msgspec.structs.replace(Trial(), **changes)
    if changes or is_search:
        parser.error("--replay defines the run: no --seed, --seeds, --scenario or the like with it")
    text = options.replay
    try:
        return Trial.from_json(text if text.lstrip().startswith("{") else Path(text).read_bytes())
    except FileNotFoundError:
        parser.error(f"--replay: there is no file {text!r}, and it is no JSON")


def _invariants(named: list[str] | None) -> list[str] | None:
    """Return the invariants: the user's own with all built-in ones, unless some of these are named."""
    if not named:
        return None
    return named if any(":" not in name for name in named) else [*INVARIANTS, *named]


def _repeat(trial: Trial, options: argparse.Namespace) -> int:
    """Run one trial, and print the outcome."""
    outcome = run_trial(trial)
    _keep(trial, outcome.trace, outcome.violations, options)
    if options.json:
        result = {"trial": trial, "violations": outcome.violations, "trace_hash": outcome.trace_hash}
        print(msgspec.json.encode(result).decode(), file=options.results)
    else:
        for violation in outcome.violations:
            print(violation)
        print(f"seed {trial.seed}: {len(outcome.trace):,} events, trace {outcome.trace_hash[:16]}, ", end="")
        print("nothing violated" if outcome.is_fine else f"{len(outcome.violations)} violated")
    return 0 if outcome.is_fine else 1


def _search(trial: Trial, options: argparse.Namespace) -> int:
    """Run many trials, and print the outcome."""
    count, first = options.seeds or 100, options.first_seed or 0
    seeds = range(first, first + count)
    with Progress("seeds" if count > 1 else "seed", count) as progress:
        limits = {"processes": options.processes, "most_real_s": options.most_real_seconds}
        failure = search(trial, seeds, **limits, on_progress=progress.show)
    if failure is None:
        result = {"seeds": count, "first_seed": first, "trial": None}
        which = f"{first} to {seeds[-1]}" if count > 1 else f"{first}"
        text = f"{_counted(count, 'seed')}, {which}: nothing violated"
        print(msgspec.json.encode(result).decode() if options.json else text, file=options.results)
        _tell_unwritten(options)
        return 0
    if not options.json:
        print(f"seed {failure.trial.seed} fails: {failure.violations[0]}", flush=True)
    shrunk = Shrunk(failure.trial.explicit(), failure.violations[0], 0)
    if not options.no_shrink:
        shrunk = _shrunk(failure, options.most_real_seconds)
    if options.json:
        result = {"seed": failure.trial.seed, "violation": shrunk.violation, "trial": shrunk.trial, "runs": shrunk.runs}
        print(msgspec.json.encode(result).decode(), file=options.results)
    else:
        _show(shrunk)
    _keep_failure(shrunk, options)
    return 1


def _shrunk(failure: Failure, most_real_s: float) -> Shrunk:
    """Shrink a failing trial in a process of its own, because it may crash, or never end."""
    with Worker(most_real_s) as worker, Progress("runs to shrink it") as progress:
        try:
            return shrink(
                failure.trial, worker.run, invariant=failure.violations[0].invariant, on_progress=progress.show
            )
        except ValueError:
            print("it did not fail again: the program does not follow from its seed", file=sys.stderr)
            return Shrunk(failure.trial.explicit(), failure.violations[0], 1)


def _show(shrunk: Shrunk) -> None:
    """Print the failure, and the command that repeats it."""
    trial, violation = shrunk.trial, shrunk.violation
    faults = trial.faults or []
    if shrunk.runs:
        print(f"shrunk in {shrunk.runs} runs; then: {violation}")
    print(f"{_counted(trial.nodes, 'node')}, {trial.duration_s:g} s, {_counted(len(faults), 'fault')}")
    for fault in sorted(faults, key=lambda fault: fault.at_s):
        print(f"  {fault.sentence}")
    print(f"to repeat it:\n  {_command(trial)}")


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'s' * (count != 1)}"


def _command(trial: Trial) -> str:
    """Return the command that repeats a trial; a long trial is written to a file."""
    text = trial.to_json()
    if len(text) > _LONGEST_INLINE:
        path = Path(f"trionet-seed-{trial.seed}.json")
        path.write_text(text + "\n", encoding="utf-8")
        text = os.fspath(path)
    return shlex.join(["trionet", "simulate", "--replay", text])


def _tell_unwritten(options: argparse.Namespace) -> None:
    """Say which files are not written, because no run failed: older ones may be there."""
    for name in _FILES:
        if path := getattr(options, name):
            print(f"--{name}: {path} is not written: no run failed; --seed N writes that of one run", file=sys.stderr)


def _keep_failure(shrunk: Shrunk, options: argparse.Namespace) -> None:
    """Save and draw a failing run, which is run once more here, unless its process can't survive it."""
    if not (options.trace or options.plot or options.html):
        return
    if shrunk.violation.invariant != PROCESS:
        outcome = run_trial(shrunk.trial)
        others = [one for one in outcome.violations if one != shrunk.violation]
        _keep(shrunk.trial, outcome.trace, [shrunk.violation, *others], options)
        return
    if options.trace or options.plot:
        print("there is no trace to save or draw: the process that ran it did not end as it should", file=sys.stderr)
    if options.html:
        write_report(Trace(), options.html, trial=shrunk.trial, violations=[shrunk.violation])


def _keep(trial: Trial, trace: Trace, violations: Sequence[Violation], options: argparse.Namespace) -> None:
    """Save the trace of a run, draw it, and write its page, by the options."""
    if options.trace:
        trace.save(options.trace)
    if options.plot:
        draw(trace, options.plot)
    if options.html:
        passing = _nearest_passing(trial, options.most_real_seconds) if violations else None
        other = None
        if passing is not None and (outcome := run_trial(passing.trial)).is_fine:  # it may not follow from its seed
            other = outcome.trace
        write_report(trace, options.html, trial=trial, violations=violations, passing=passing, passing_trace=other)


def _nearest_passing(trial: Trial, most_real_s: float) -> Passing | None:
    """Find a passing run that is like a failing one, in a process of its own, because some may crash, or never end."""
    with Worker(most_real_s) as worker, Progress("runs to find one that passes") as progress:
        return nearest_passing(trial, worker.run, on_progress=progress.show)
