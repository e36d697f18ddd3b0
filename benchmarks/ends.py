"""A killed child: the time until every member of its spawner's cluster knows, on real processes."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any, Final

import trio

import trionet

from .results import Goal, Result, median

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["Watcher", "run_ends", "watch"]

_NODES: Final = 20
_LIMIT_S: Final = 60.0
_QUIET_S: Final = 1.0
_FACTS: Final = trionet.Remote(service="watcher", method="facts")
_WATCH: Final = "benchmarks.ends:watch"


class Watcher:
    """The service ``watcher``: when which member failed, on the clock that all processes of a machine share."""

    def __init__(self, node: trionet.Node) -> None:
        self.failed_at: dict[str, float] = {}
        self.suspicions: int = 0
        self._node = node

    def handle(self, event: trionet.Event) -> None:
        """Handle an event of the node."""
        if isinstance(event, trionet.MemberFailed):
            self.failed_at[str(event.node)] = time.monotonic()
        self.suspicions += isinstance(event, trionet.MemberSuspected)

    @trionet.rpc
    def facts(self) -> tuple[int, int, dict[str, float], int]:
        """Return the process, the size of its view, the failures and the number of suspicions."""
        return os.getpid(), len(self._node.members()), self.failed_at, self.suspicions


async def watch(node: trionet.Node) -> None:
    """Start a `Watcher`; for `on_start`."""
    watcher = Watcher(node)
    node.listen(watcher.handle)
    await node.local.routes.put(watcher, "watcher")


async def run_ends(settings: Settings) -> Result:
    """Kill one child after the other."""
    result = Result(f"SIGKILL of a child among {_NODES} node processes", ["launcher", "ms until all know", "worst"])
    for launcher in ("forkserver", "subprocess"):
        known: list[float | None] = []
        suspicions = 0
        async with trionet.open_node(trionet.NodeConfig(join=[], on_start=_WATCH)) as node:
            for number in range(settings.rounds):
                settings.say(f"ends: {launcher}, round {number + 1} of {settings.rounds}")
                seconds, suspicions = await _round(node, launcher)
                known.append(seconds)
        result.samples.setdefault("known_s", {})[launcher] = known
        middle, worst = median(known), max((one for one in known if one is not None), default=None)
        result.rows.append([launcher, *(None if one is None else 1e3 * one for one in (middle, worst))])
        result.goals.append(Goal(f"{launcher}: all know, the worst", 0.5, at_least=False, measured=worst, unit="s"))
        goal = Goal(f"{launcher}: suspicions", 0, at_least=False, measured=suspicions, unit="suspicions")
        result.goals.append(goal)
    return result


async def _round(node: trionet.Node, launcher: str) -> tuple[float, int]:
    """Fill up the cluster, and kill a child; return the seconds until all know, and the suspicions so far."""
    with trio.fail_after(_LIMIT_S):
        config = trionet.NodeConfig(launcher=launcher, on_start=_WATCH)
        for _ in range(_NODES - len(node.all.members())):
            await node.spawn(config)
        facts = await _facts(node, _NODES)
        await trio.sleep(_QUIET_S)
        child = next(address for address in node.all.members().values() if address != node.address)
        begun = time.monotonic()
        os.kill(facts[child.sid][0], signal.SIGKILL)
        await trio.sleep(_QUIET_S)
        facts = await _facts(node, _NODES - 1)
        last = max(failed_at[str(child)] for _, _, failed_at, _ in facts.values())
        return last - begun, sum(suspicions for *_, suspicions in facts.values())


async def _facts(node: trionet.Node, count: int) -> dict[str, Any]:
    """Return the facts of all nodes once each sees so many."""
    while True:
        facts: dict[str, Any] = (await node.all.comm.send([], _FACTS)).values
        if [seen for _, seen, *_ in facts.values()] == [count] * count:
            return facts
        await trio.sleep(_QUIET_S / 5)
