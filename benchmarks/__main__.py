"""Run benchmarks of trionet, print a table of medians and ratios, and write every sample as JSON.

Everything happens on the loopback interface, ends by itself and leaves no process behind. Speed decides nothing: the
exit status is 1 only when something did not work.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from .bulk import run_bulk
from .calls import PEERS, run_calls
from .cluster import run_cluster
from .dashboard import run_dashboard
from .ends import run_ends
from .facts import machine, versions
from .fanout import run_fanout
from .glomers import run_glomers
from .gossip import run_gossip
from .links import run_links
from .mapping import run_mapping
from .sealed import run_sealed
from .sealed_fleet import run_sealed_fleet
from .settings import Settings
from .simulation import run_simulation
from .spawn import run_spawn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .results import Result

_BENCHMARKS: dict[str, Callable[[Settings], Awaitable[Result]]] = {
    "calls": run_calls,
    "fanout": run_fanout,
    "links": run_links,
    "bulk": run_bulk,
    "sealed": run_sealed,
    "sealed-fleet": run_sealed_fleet,
    "spawn": run_spawn,
    "ends": run_ends,
    "map": run_mapping,
    "gossip": run_gossip,
    "cluster": run_cluster,
    "dashboard": run_dashboard,
    "simulation": run_simulation,
    "glomers": run_glomers,
}


def _parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("benchmark", choices=[*_BENCHMARKS, "all"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds (default 7)")
    parser.add_argument("--quick", action="store_true", help="2 short rounds: shows that it works, and little more")
    parser.add_argument("--seconds", type=float, metavar="S", help="time of each peer in a round (default 1)")
    parser.add_argument("--peers", metavar="NAMES", help=f"which to compare (default all: {','.join(PEERS)})")
    parser.add_argument("--no-install", action="store_true", help="leave out what is not installed")
    parser.add_argument("--nodes", type=int, metavar="N", help="nodes of the fan-out (default 100)")
    parser.add_argument("--real", action="store_true", help="glomers on real processes, not in virtual time")
    parser.add_argument("--links", type=int, metavar="N", help="links to one node (default 1000)")
    parser.add_argument("--bulk-mb", type=int, metavar="N", help="megabytes beside small calls (default 100)")
    parser.add_argument("--seeds", type=int, metavar="N", help="runs of each simulation of gossip (default 1000)")
    options = parser.parse_args(argv)
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
        is_real=options.real,
        may_install=not options.no_install,
    )


async def _run(names: list[str], settings: Settings) -> dict[str, Result] | None:
    """Run the benchmarks, print their tables, and return their results; None if interrupted."""
    results: dict[str, Result] = {}
    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_on_signal, nursery.cancel_scope)
        for name in names:
            results[name] = await _BENCHMARKS[name](settings)
            print(results[name].shown(), flush=True)
        nursery.cancel_scope.cancel()
    return results if len(results) == len(names) else None


async def _cancel_on_signal(scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _parsed(argv)
    settings = _settings(options)
    facts: dict[str, Any] = {"machine": machine()}
    names = list(_BENCHMARKS) if options.benchmark == "all" else [options.benchmark]
    results = trio.run(_run, names, settings)
    if results is None:
        print("interrupted", file=sys.stderr)
        return 130
    facts["versions"] = versions() | settings.versions
    for title, found in facts.items():
        print(f"{title:8}", ", ".join(f"{name} {value}" for name, value in found.items()))
    if options.json:
        facts |= {"settings": settings, "results": results}
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(facts), indent=1))
    return 1 if any(result.problems for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
