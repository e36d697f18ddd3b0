"""A hundred node processes: gossip against the reference, the time until all know of a failure, the cost at rest.

The reference has no membership: only the first is compared. Both fleets live through all rounds, and are asked in turn.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from .fanout import command_of
from .installs import NODE_ENVIRONMENT, NotInstalled, install_npm
from .reference import PACKAGE
from .results import Goal, Result, median, ratio, ratios
from .workers import Worker, WorkerFailed, open_worker

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["cpu_s", "open_fleet", "run_cluster", "summarize", "wait_whole"]

_GOSSIPS: Final = 20
_FLEET_START_S: Final = 300.0
_QUIET_S: Final = 1.0
_SPREAD_LIMIT_S: Final = 30.0
_JOIN_LIMIT_S: Final = 60.0
_FAIL_LIMIT_S: Final = 60.0
_IDLE_S: Final = 10.0
_KILLED: Final = (1, 10)
_TITLES: Final = {"link": "trionet", "reference": PACKAGE}
_TO_LAST: Final = 0.2


async def run_cluster(settings: Settings) -> Result:
    """Measure gossip and membership on real processes."""
    result = Result(
        f"One rumor to {settings.nodes} node processes", ["peer", "ms to the last", "x ref", "reached, least", "of"]
    )
    async with AsyncExitStack() as stack:
        senders: dict[str, Worker] = {}
        fleets: dict[str, Worker] = {}
        for peer in ("link", "reference"):
            if peer not in settings.peers:
                continue
            try:
                if peer == "reference":
                    settings.versions[PACKAGE] = await install_npm(PACKAGE, may_install=settings.may_install)
                settings.say(f"cluster: starting {settings.nodes} nodes of {_TITLES[peer]}")
                fleets[peer], senders[peer] = await open_fleet(stack, peer, settings.nodes)
            except NotInstalled as exc:
                result.skipped.append(f"{_TITLES[peer]}: {exc}")
            except WorkerFailed as exc:
                result.problems.append(str(exc))
        for number in range(_GOSSIPS):
            settings.say(f"cluster: gossip {number + 1} of {_GOSSIPS}")
            for peer in list(senders)[:: 1 if number % 2 else -1]:
                await _gossip(peer, senders[peer], result)
        if "link" in senders:
            await _measure_membership(fleets["link"].ready["nodes"], senders["link"], result, settings)
    summarize(list(senders), settings.nodes, result)
    return result


async def open_fleet(stack: AsyncExitStack, peer: str, count: int) -> tuple[Worker, Worker]:
    """Start nodes, and another one that asks them."""
    command = command_of(peer, "cluster" if peer == "link" else "fleet", {"count": count})
    fleet = await stack.enter_async_context(
        open_worker(f"the fleet of {_TITLES[peer]}", command, env=NODE_ENVIRONMENT, start_s=_FLEET_START_S)
    )
    command = command_of(peer, "rumor", {"nodes": fleet.ready["nodes"]})
    sender = await stack.enter_async_context(
        open_worker(f"the sender of {_TITLES[peer]}", command, env=NODE_ENVIRONMENT)
    )
    return fleet, sender


async def _gossip(peer: str, sender: Worker, result: Result) -> None:
    """Send one rumor, wait until it spreads no more, and record the time of its last delivery."""
    seconds: float | None = None
    reached: float | None = None
    try:
        begun = (await sender.ask("gossip"))["begun"]
        heard: list[float] = []
        end = time.monotonic() + _SPREAD_LIMIT_S
        while time.monotonic() < end:
            await trio.sleep(_QUIET_S)
            found = (await sender.ask("heard"))["heard"]
            news = [when for member in found for when in member]
            heard += news
            if not news:
                break
        seconds, reached = max(heard) - begun, float(len(heard))
    except (WorkerFailed, ValueError) as exc:
        result.problems.append(str(exc))
    result.samples.setdefault("gossip_s", {}).setdefault(peer, []).append(seconds)
    result.samples.setdefault("reached", {}).setdefault(peer, []).append(reached)


async def wait_whole(sender: Worker, count: int) -> None:
    """Wait until all nodes know each other."""
    end = time.monotonic() + _JOIN_LIMIT_S
    while (counts := (await sender.ask("count"))["counts"]) != [count] * count:
        if time.monotonic() > end:
            raise WorkerFailed(f"the nodes don't all know each other: {sorted(counts)}")
        await trio.sleep(0.2)


async def _measure_membership(nodes: list[dict[str, Any]], sender: Worker, result: Result, settings: Settings) -> None:
    try:
        await wait_whole(sender, len(nodes))
        settings.say(f"cluster: the processor time of {len(nodes)} nodes at rest")
        before = {node["pid"]: cpu_s(node["pid"]) for node in nodes}
        await trio.sleep(_IDLE_S)
        used = [(cpu_s(node["pid"]) - before[node["pid"]]) / _IDLE_S for node in nodes]
        result.samples.setdefault("idle_cpu", {})["link"] = list(used)
        alive = list(nodes)
        for count in _KILLED:
            settings.say(f"cluster: killing {count} of {len(nodes)}")
            killed, alive = alive[:count], alive[count:]
            at = time.monotonic()
            for node in killed:
                os.kill(node["pid"], signal.SIGKILL)
            known = await _known_by_all(sender, killed, alive, at)
            result.samples.setdefault("known_s", {})[f"{count} killed"] = [known]
    except WorkerFailed as exc:
        result.problems.append(str(exc))


async def _known_by_all(sender: Worker, killed: list[Any], alive: list[Any], begun: float) -> float:
    """Wait until every survivor knows of every failure; return the seconds until then."""
    names = [f"{node['ip']}:{node['port']}" for node in killed]
    survivors = [f"{node['ip']}:{node['port']}" for node in alive]
    while time.monotonic() < begun + _FAIL_LIMIT_S:
        await trio.sleep(_QUIET_S)
        found = (await sender.ask("failed"))["failed"]
        wrong = {name for failed in found.values() for name in failed} & set(survivors)
        if wrong:
            raise WorkerFailed(f"live nodes were taken for failed: {sorted(wrong)}")
        times = [found.get(survivor, {}).get(name) for survivor in survivors for name in names]
        if None not in times:
            return float(max(times)) - begun
    raise WorkerFailed(f"not every survivor knew of {len(killed)} failures after {_FAIL_LIMIT_S:g} s")


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, in seconds."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return float(sum(map(int, fields[11:13]))) / os.sysconf("SC_CLK_TCK")
    return 0.0


def summarize(peers: list[str], nodes: int, result: Result) -> None:
    """Fill the table and the goals from the samples."""
    seconds, reached = (result.samples.get(what, {}) for what in ("gossip_s", "reached"))
    for peer in peers:
        to_reference = ratio(seconds[peer], seconds["reference"]) if "reference" in seconds else None
        least = min((count for count in reached[peer] if count is not None), default=None)
        last = median(seconds[peer])
        row: list[Any] = [_TITLES[peer], None if last is None else 1e3 * last, to_reference]
        result.rows.append([*row, least, nodes])
        if peer == "link":
            found = ratios(seconds[peer], seconds.get("reference", []))
            result.watch(f"time to the last of {nodes}, against the reference", found, at_least=False, limit=_TO_LAST)
            what = f"members reached of {nodes}, the least"
            result.goals.append(Goal(what, nodes, at_least=True, measured=least, unit="nodes"))
    idle = median(result.samples.get("idle_cpu", {}).get("link", []))
    if idle is not None:
        result.rows.append(["processor time of a node at rest, ms per s", 1e3 * idle, None, None, None])
    for what, times in result.samples.get("known_s", {}).items():
        known = median(times)
        row = [f"{what}: until every survivor knows, ms", None if known is None else 1e3 * known]
        result.rows.append([*row, None, None, None])
