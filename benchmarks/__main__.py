"""Run benchmarks of trionet, print a table of medians and ratios, and write every sample as JSON.

Everything happens on the loopback interface, ends by itself and leaves no process behind. Speed decides nothing: the
exit status is 1 only when something did not work. ``all`` also keeps the runs and writes the tables of the pages.
"""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio

from .calls import PEERS
from .compare import read_side, shown, side_of
from .everything import Plan, run_all
from .facts import machine, versions
from .measured_files import Run, write_whole
from .registry import BENCHMARKS
from .settings import Settings, print_all

if TYPE_CHECKING:
    from .results import Result


def _parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("benchmark", choices=[*BENCHMARKS, "all"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds (default 7)")
    parser.add_argument("--quick", action="store_true", help="2 short rounds: shows that it works, and little more")
    parser.add_argument("--seconds", type=float, metavar="S", help="time of each peer in a round (default 1)")
    parser.add_argument("--peers", metavar="NAMES", help=f"which to compare (default all: {','.join(PEERS)})")
    parser.add_argument("--no-install", action="store_true", help="leave out what is not installed")
    parser.add_argument("--nodes", type=int, metavar="N", help="nodes of the fan-out (default 100)")
    parser.add_argument("--links", type=int, metavar="N", help="links to one node (default 1000)")
    parser.add_argument("--bulk-mb", type=int, metavar="N", help="megabytes beside small calls (default 100)")
    parser.add_argument("--seeds", type=int, metavar="N", help="runs of each simulation of gossip (default 1000)")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="say what became slower since that run of --json")
    parser.add_argument("--only", metavar="NAMES", help="all: these alone; of NAME,NAME")
    parser.add_argument(
        "--within", type=float, metavar="MINUTES", help="all: leave out what this time doesn't suffice for"
    )
    parser.add_argument("--no-write", action="store_true", help="all: leave the pages and the kept runs as they are")
    options = parser.parse_args(argv)
    if options.only and (unknown := set(options.only.split(",")) - BENCHMARKS.keys()):
        parser.error(f"there is no benchmark {sorted(unknown)[0]!r}; there are {', '.join(BENCHMARKS)}")
    if options.peers and (unknown := set(options.peers.split(",")) - PEERS.keys()):
        parser.error(f"there is no peer {sorted(unknown)[0]!r}; there are {', '.join(PEERS)}")
    return options


def _settings(options: argparse.Namespace) -> Settings:
    quick = options.quick
    return Settings(
        peers=options.peers.split(",") if options.peers else list(PEERS),
        rounds=max(1, options.rounds or (2 if quick else 7)),
        seconds=options.seconds or (0.3 if quick else 1.0),
        nodes=options.nodes or (20 if quick else 100),
        links=options.links or (100 if quick else 1000),
        bulk_mb=options.bulk_mb or (20 if quick else 100),
        seeds=max(1, options.seeds or (10 if quick else 1000)),
        may_install=not options.no_install,
    )


async def _run(name: str, settings: Settings) -> Result | None:
    """Run the benchmark, print its table, and return its result; None if interrupted."""
    result: Result | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_on_signal, nursery.cancel_scope)
        result = await BENCHMARKS[name].load()(settings)
        nursery.cancel_scope.cancel()
    return result


async def _cancel_on_signal(scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


def _plan(options: argparse.Namespace) -> Plan:
    """Return what ``all`` has to do."""
    words = [f"--{name.replace('_', '-')}" for name in ("quick", "no_install") if getattr(options, name)]
    for name in ("rounds", "seconds", "peers", "nodes", "links", "bulk_mb", "seeds"):
        value = getattr(options, name)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return Plan(
        names=options.only.split(",") if options.only else list(BENCHMARKS),
        words=words,
        is_quick=options.quick,
        is_writing=not options.no_write,
        within_s=None if options.within is None else 60 * options.within,
        earlier=options.compare,
        together=options.json,
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _parsed(argv)
    if options.benchmark == "all":
        return trio.run(run_all, _plan(options))
    settings = _settings(options)
    facts = machine()
    result = trio.run(_run, options.benchmark, settings)
    if result is None:
        print("interrupted", file=sys.stderr)
        return 130
    run = Run(
        date=datetime.date.today().isoformat(),
        machine=facts,
        versions=versions() | settings.versions,
        settings=msgspec.to_builtins(settings),
        results={options.benchmark: result},
    )
    trouble = "" if options.json is None else _save(run, options.json)  # first: nothing that printing meets may lose it
    lines = [result.shown()]
    for title, found in (("machine", run.machine), ("versions", run.versions)):
        lines.append(f"{title:8} " + ", ".join(f"{name} {value}" for name, value in found.items()))
    if options.compare:
        lines.append(shown(read_side(options.compare), side_of(run)))
    is_printed = print_all("\n".join(lines))
    if trouble:
        settings.say(trouble)
    return 0 if is_printed and not trouble and not result.problems else 1


def _save(run: Run, path: Path) -> str:
    """Write the file of ``--json``; return what went wrong, or nothing."""
    try:
        write_whole(path, msgspec.json.format(msgspec.json.encode(run), indent=1))
    except OSError as exc:
        return f"error: {path} is not written: {exc.strerror}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
