"""A sealed cluster of processes against a plain one: gossip to all of them, and the processor time of a node at rest.

Both clusters run at the same time, and take turns with their rumors; at rest they are measured at once.
"""

from __future__ import annotations

import os
import time
from contextlib import AsyncExitStack
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import trio

import trionet

from .cluster import cpu_s
from .results import Goal, Result, bootstrapped, median
from .sealed import new_key

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["Hearer", "hear", "run_sealed_fleet"]

_KINDS: Final = ("plain", "sealed")
_GOSSIPS: Final = 20
_IDLE_S: Final = 20.0
_SETTLE_S: Final = 15.0
_LIMIT_S: Final = 300.0
_LIMIT: Final = 1.25
_HEAR: Final = trionet.Remote(service="hearer", method="hear")
_FACTS: Final = trionet.Remote(service="hearer", method="facts")


class Hearer:
    """The service ``hearer``: when which rumor came, on the clock that all processes of a machine share."""

    def __init__(self, node: trionet.Node) -> None:
        self._heard_at: dict[int, float] = {}
        self._node = node

    @trionet.rpc
    def hear(self, number: int) -> None:
        """Handle a rumor."""
        self._heard_at[number] = time.monotonic()

    @trionet.rpc
    def facts(self, number: int) -> tuple[int, int, float | None]:
        """Return the process, the size of its view, and when it heard a rumor."""
        return os.getpid(), len(self._node.members()), self._heard_at.get(number)


async def hear(node: trionet.Node) -> None:
    """Register the service; for `on_start`."""
    await node.local.routes.put(Hearer(node), "hearer")


async def run_sealed_fleet(settings: Settings) -> Result:
    """Measure gossip and rest of both clusters."""
    result = Result(
        f"{settings.nodes} sealed processes against as many plain ones",
        ["measure", "plain", "sealed", "unit", "ratio", "from", "to"],
    )
    try:
        await _measure_all(settings, result)
    except* (trionet.TrionetError, trio.TooSlowError) as group:
        result.problems.append(f"it broke off: {group.exceptions[0]!r}")
    return result


async def _measure_all(settings: Settings, result: Result) -> None:
    with TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            fleets: dict[str, trionet.Node] = {}
            for kind, key_file in zip(_KINDS, (None, new_key(folder)), strict=True):
                settings.say(f"sealed-fleet: starting {settings.nodes} {kind} processes")
                config = trionet.NodeConfig(key_file=key_file, join=[], on_start="benchmarks.sealed_fleet:hear")
                fleets[kind] = await stack.enter_async_context(trionet.open_node(config))
                await _fill(fleets[kind], settings.nodes)
            await trio.sleep(_SETTLE_S)
            await _rest(fleets, settings, result)
            await _gossip(fleets, settings, result)


async def _fill(node: trionet.Node, count: int) -> None:
    with trio.fail_after(_LIMIT_S):
        for _ in range(count - 1):
            await node.spawn(trionet.NodeConfig(on_start="benchmarks.sealed_fleet:hear"))
        while any(seen != count for _, seen, _ in (await _facts(node, -1)).values()):  # noqa: ASYNC110  they tell nobody
            await trio.sleep(0.5)


async def _facts(node: trionet.Node, number: int) -> dict[str, Any]:
    found: dict[str, Any] = (await node.all.comm.send([number], _FACTS)).values
    return found


async def _rest(fleets: dict[str, trionet.Node], settings: Settings, result: Result) -> None:
    settings.say("sealed-fleet: the processor time at rest")
    pids = {
        kind: [pid for pid, *_ in (await _facts(node, -1)).values() if pid != os.getpid()]
        for kind, node in fleets.items()
    }
    before = {pid: cpu_s(pid) for of_kind in pids.values() for pid in of_kind}
    await trio.sleep(_IDLE_S)
    used: dict[str, list[float | None]] = {
        kind: [1e3 * (cpu_s(pid) - before[pid]) / _IDLE_S for pid in of_kind] for kind, of_kind in pids.items()
    }
    sums = [sum(one for one in used[kind] if one is not None) for kind in _KINDS]
    ratio = sums[1] / sums[0] if sums[0] else None
    count = max(1, settings.nodes - 1)
    result.samples["idle_ms_per_s"] = used
    result.rows.append(["a node at rest", sums[0] / count, sums[1] / count, "ms/s", ratio, None, None])
    result.goals.append(
        Goal(f"processor time of {settings.nodes} at rest, sealed to plain", _LIMIT, at_least=False, measured=ratio)
    )


async def _heard_by_all(node: trionet.Node, number: int) -> float:
    """Return when the last node heard a rumor."""
    with trio.fail_after(_LIMIT_S):
        while True:
            heard: list[float | None] = [at for *_, at in (await _facts(node, number)).values()]
            times = [at for at in heard if at is not None]
            if len(times) == len(heard):
                return max(times)
            await trio.sleep(0.2)


async def _gossip(fleets: dict[str, trionet.Node], settings: Settings, result: Result) -> None:
    settings.say("sealed-fleet: gossip")
    took: dict[str, list[float | None]] = {kind: [] for kind in _KINDS}
    for number in range(_GOSSIPS):
        for kind in _KINDS[:: 1 if number % 2 else -1]:
            begun = time.monotonic()
            await fleets[kind].all.gossip.send([number], _HEAR)
            took[kind].append(1e3 * (await _heard_by_all(fleets[kind], number) - begun))
    middle, low, high = bootstrapped(
        [sealed / plain for sealed, plain in zip(took["sealed"], took["plain"], strict=True) if sealed and plain]
    )
    result.samples["gossip_ms"] = took
    result.rows.append(["a rumor to the last", median(took["plain"]), median(took["sealed"]), "ms", middle, low, high])
    result.goals.append(
        Goal(f"a rumor to the last of {settings.nodes}, sealed to plain", _LIMIT, at_least=False, measured=middle)
    )
