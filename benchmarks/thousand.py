"""A thousand node processes on one machine: up, a rumor, a call of all, at rest, stopped; beside a hundred.

One program spawns them all, and they form one cluster with it. With the hundred it is measured what the machine can
hold: fewer than a thousand are started if their processor time at rest would exceed half of it, or their memory what is
free.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from .marked import Marked
from .results import Goal, Result, median
from .workers import Worker, WorkerFailed, open_worker, python_worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import Settings

__all__ = ["most_nodes", "run_thousand", "settle"]

_SIZES: Final = (1_000, 500, 300)
_FEW: Final = 100
_NODE_MIB: Final = 16
_LIMIT_S: Final = 420.0
_UP_S: Final = 420.0
_REST: Final = 60.0
"""How long the nodes rest, in units of the time of each peer in a round."""
_CALLS: Final = 7
_RUMORS: Final = 3
_WINDOW_S: Final = 5.0
_SETTLED_SHARE: Final = 0.9
_FULL_SHARE: Final = 0.8
_MOST_WINDOWS: Final = 12
_PER_MEMBER: Final = 1.5
_MIB: Final = 1024 * 1024
_COLUMNS: Final = {
    "up s": "up_s",
    "all know all s": "whole_s",
    "processor time for that, ms per node": "start_ms",
    "rumor to the last ms": "rumor_ms",
    "call of all ms": "flat_ms",
    "ms per member": "member_ms",
    "as a tree ms": "tree_ms",
    "at rest, ms/s per node": "rest_ms",
    "PSS MiB per node": "pss_mib",
    "stop s": "stop_s",
}


def most_nodes(share: float, processors: int, free_mib: float) -> int:
    """Return how many nodes a machine can hold; 0 for too few.

    Args:
        share: the processor time of one at rest, in seconds per second.
        processors: the machine's.
        free_mib: the memory that is free.
    """
    fitting = [size for size in _SIZES if size * _NODE_MIB <= free_mib]
    resting = [size for size in fitting if size * share <= processors / 2]
    return next(iter(resting), fitting[-1] if fitting else 0)


async def settle(cpu_s: Callable[[], float], processors: int) -> float:
    """Wait until the processor time at rest falls no more: no news is on its way. Return for how long.

    Args:
        cpu_s: returns the processor time so far, in seconds.
        processors: the machine's; while they are full, nothing is at rest.
    """
    begun, before, used = trio.current_time(), cpu_s(), math.inf
    for _ in range(_MOST_WINDOWS):
        await trio.sleep(_WINDOW_S)
        last, now = used, cpu_s()
        used, before = now - before, now
        if _SETTLED_SHARE * last <= used < _FULL_SHARE * processors * _WINDOW_S:
            break
    return trio.current_time() - begun


async def run_thousand(settings: Settings) -> Result:
    """Measure both."""
    result = Result("Very many node processes on one machine", ["nodes", *_COLUMNS])
    free_mib = _free_mib()
    if free_mib < _SIZES[-1] * _NODE_MIB:
        result.skipped.append(f"{_SIZES[-1]} nodes need {_SIZES[-1] * _NODE_MIB:,} MiB, and {free_mib:,.0f} are free")
        return result
    try:
        few = await _measure(_FEW, settings)
        _note(result, _FEW, few)
        many = most_nodes(few["rest_ms"] / 1e3, os.cpu_count() or 1, free_mib)
        if many < _SIZES[0]:
            share = f"{few['rest_ms'] * _SIZES[0] / 1e3:.2f} processors at rest, {_SIZES[0] * _NODE_MIB:,} MiB"
            result.skipped.append(f"{_SIZES[0]:,} nodes would take {share}: {many} were started")
        many, found = await _measure_most(many, settings, result)
        _note(result, many, found)
    except WorkerFailed as exc:
        result.problems.append(str(exc))
        return result
    for name, limit in (("flat_ms", _PER_MEMBER), ("tree_ms", None)):
        if few.get(name) and found.get(name):
            each = (found[name] / many) / (few[name] / _FEW)
            what = f"a call of all of {many:,}{' as a tree' if limit is None else ''}, per member, against {_FEW}"
            result.watch(what, [each], at_least=False, limit=limit)
    for what, name in (("suspected or held failed at rest", "accused"), ("left after the stop", "left")):
        result.goals.append(Goal(f"nodes of {many:,} {what}", 0, at_least=False, measured=found[name], unit="nodes"))
    reached = f"members of {many:,} that a rumor reached, the least"
    result.goals.append(Goal(reached, many, at_least=True, measured=found["reached"], unit="nodes"))
    return result


async def _measure_most(many: int, settings: Settings, result: Result) -> tuple[int, dict[str, Any]]:
    """Measure so many, or the next smaller number that gets up in time on a machine with other work."""
    *more, least = (size for size in _SIZES if size <= many)
    for size in more:
        try:
            return size, await _measure(size, settings)
        except WorkerFailed as exc:
            result.skipped.append(f"{size:,} nodes, so that fewer were started: {exc}")
    return least, await _measure(least, settings)


def _note(result: Result, count: int, found: dict[str, Any]) -> None:
    result.rows.append([count, *(found.get(name) for name in _COLUMNS.values())])
    for name, value in found.items():
        result.samples.setdefault(name, {}).setdefault(str(count), []).append(value)


async def _measure(count: int, settings: Settings) -> dict[str, Any]:
    marked, found = Marked(), dict[str, Any]()
    command = python_worker("peers.thousand", "run", {"count": count})
    try:
        async with open_worker("the spawner", command, env=marked.environment) as worker:
            settings.say(f"thousand: starting {count:,} nodes")
            found["up_s"] = (await worker.ask("spawn", limit_s=_UP_S))["seconds"]
            found["whole_s"] = (await worker.ask("whole", limit_s=_LIMIT_S))["seconds"]
            found["start_ms"] = 1e3 * marked.cpu_s() / count
            settings.say(f"thousand: calls and rumors among {count:,}")
            found["settled_s"] = await settle(marked.cpu_s, os.cpu_count() or 1)
            await _ask(worker, count, found)
            await _rest(worker, marked, count, found, settings)
            settings.say(f"thousand: stopping {count:,}")
            found["stop_s"] = (await worker.ask("end", limit_s=_LIMIT_S))["seconds"]
            found["left"] = len(marked.pids(but=worker.pid))
    finally:
        await marked.kill()
    return found


async def _ask(worker: Worker, count: int, found: dict[str, Any]) -> None:
    """Call all, and send rumors to all."""
    for name, tree in (("flat_ms", False), ("tree_ms", True)):
        times = []
        for _ in range(_CALLS):
            called = await worker.ask("call", limit_s=_LIMIT_S, tree=tree)
            if called["values"] != count or called["errors"]:
                raise WorkerFailed(f"a call of {count} had {called['values']} values: {called['errors']}")
            times.append(1e3 * called["took"])
        found[name] = median(times[1:])
    found["member_ms"] = found["flat_ms"] / count
    rumors = [await worker.ask("rumor", limit_s=_LIMIT_S) for _ in range(_RUMORS)]
    found["rumor_ms"] = median([1e3 * rumor["last"] for rumor in rumors])
    found["reached"] = min(rumor["reached"] for rumor in rumors)


async def _rest(worker: Worker, marked: Marked, count: int, found: dict[str, Any], settings: Settings) -> None:
    """Let them rest; note their processor time, their memory, and whom they suspect."""
    rest_s = _REST * settings.seconds
    settings.say(f"thousand: {count:,} at rest for {rest_s:g} s")
    await worker.ask("accused", limit_s=_LIMIT_S)
    await trio.sleep(min(_WINDOW_S, rest_s))
    before, begun = marked.cpu_s(), time.monotonic()
    await trio.sleep(rest_s)
    found["rest_ms"] = 1e3 * (marked.cpu_s() - before) / (time.monotonic() - begun) / count
    found["accused"] = len((await worker.ask("accused", limit_s=_LIMIT_S))["accused"])
    found["pss_mib"] = marked.pss(but=worker.pid) / count / _MIB


def _free_mib() -> float:
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 1024
    return 0.0
