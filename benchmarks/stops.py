"""Members that stand still: the time until all others hold them failed, found by probes alone.

Each round stops one process of a hundred by SIGSTOP, or ten, and kills them when all others know: a node that goes on
after a long stop holds itself slow for a while, and watches others less. So no connection is refused while it matters,
no spawner tells of an end, and one fleet serves for all rounds.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import trio

from .cluster import open_fleet, wait_whole
from .results import Result, median
from .workers import Worker, WorkerFailed

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["run_stops"]

_STOPPED: Final = {1: 4.0, 10: 5.0}
"""How many are stopped at once, and within how many seconds all others are to know it."""

_STOP_S: Final = 12.0
_ROUNDS: Final = 3
"""More would leave too few."""

_SETTLED_S: Final = 20.0
"""After so long no node holds itself slow any more because of the start."""

_FEW_S: Final = 1.0


async def run_stops(settings: Settings) -> Result:
    """Stop some members again and again."""
    columns = ["stopped at once", "rounds", "known by all after, s", "worst", "goal"]
    result = Result(f"Of {settings.nodes} processes some stand still", columns)
    async with AsyncExitStack() as stack:
        settings.say(f"stops: starting {settings.nodes} nodes")
        try:
            fleet, sender = await open_fleet(stack, "link", settings.nodes)
            nodes = fleet.ready["nodes"]
            await wait_whole(sender, len(nodes))
            await trio.sleep(_SETTLED_S)
            rounds = min(settings.rounds, _ROUNDS)
            for count in (count for count in _STOPPED if rounds * count < len(nodes) / 2):
                for number in range(rounds):
                    settings.say(f"stops: {count} of {len(nodes)}, round {number + 1} of {rounds}")
                    stopped, nodes = nodes[:count], nodes[count:]
                    found = await _known_s(sender, stopped, nodes)
                    result.samples.setdefault("known_s", {}).setdefault(f"{count} stopped", []).append(found)
        except WorkerFailed as exc:
            result.problems.append(str(exc))
    for what, times in result.samples.get("known_s", {}).items():
        count = int(what.split()[0])
        known = median(times)
        worst = max((one for one in times if one is not None), default=None)
        result.rows.append([count, len(times), known, worst, _STOPPED[count]])
        goal = f"{count} of {settings.nodes} stand still: known by all after"
        result.watch(goal, times, at_least=False, unit="s", limit=_STOPPED[count])
    return result


async def _known_s(sender: Worker, stopped: list[Any], alive: list[Any]) -> float:
    """Stop some nodes, and kill them in the end; return when the last other one knew of the last of them."""
    names = {f"{node['ip']}:{node['port']}" for node in stopped}
    others = {f"{node['ip']}:{node['port']}" for node in alive}
    began = time.monotonic()
    for node in stopped:
        os.kill(node["pid"], signal.SIGSTOP)
    try:
        await trio.sleep(_STOP_S)  # a question to all would wait for those that are stopped
    finally:
        for node in stopped:
            os.kill(node["pid"], signal.SIGKILL)
    await trio.sleep(_FEW_S)
    found = (await sender.ask("failed"))["failed"]
    since = {
        (at, name): when for at in others for name, when in found.get(at, {}).items() if began < when < began + _STOP_S
    }
    wrong = {name for _, name in since} - names
    if wrong:
        raise WorkerFailed(f"live nodes were taken for failed: {sorted(wrong)}")
    if len(since) < len(others) * len(names):
        raise WorkerFailed(f"{len(others) * len(names) - len(since)} failures were not known after {_STOP_S:g} s")
    return float(max(since.values()) - began)
