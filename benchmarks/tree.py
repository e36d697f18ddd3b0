"""Calls along a tree against calls without one: in a model of many machines, and on real processes of this one.

In the model whole nodes run in virtual time. A message takes half of the round trip on its way, and occupies its sender
and its receiver for a time each, one message after the other: what a message costs on a processor of their own. So the
model shows what a tree gains where each node has a machine. Real processes share this one, where relaying is more work
for the same processors.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import trio

import trionet
from trionet.simulation import run
from trionet.transports.memory import MemoryFabric

from .fanout import command_of
from .installs import NODE_ENVIRONMENT
from .results import Result, median
from .workers import WorkerFailed, open_worker

if TYPE_CHECKING:
    from random import Random

    from trionet.identity import NodeAddress
    from trionet.transports.memory import Message

    from .settings import Settings

__all__ = ["run_tree", "tree_ms"]

_SIZES: Final = (30, 100, 300, 1_000)
_ROUND_TRIP_S: Final = 0.01
_MESSAGE_S: Final = 20e-6
_TIMES: Final = 30
_FLEET_START_S: Final = 300.0
_LIMIT_S: Final = 60.0


async def run_tree(settings: Settings) -> Result:
    """Measure calls of groups of several sizes, flat and along a tree."""
    columns = ["members", "flat ms", "tree ms", "first flat ms", "first tree ms", "messages, flat", "messages, tree"]
    result = Result("Group-wide calls along a tree: 10 ms links, 20 us per message", columns)
    sizes = [size for size in _SIZES if size <= 10 * settings.nodes]
    for size in sizes:
        settings.say(f"tree: {size:,} members in virtual time")
        flat, tree = [await trio.to_thread.run_sync(tree_ms, size, is_tree) for is_tree in (False, True)]
        for name, found in (("flat", flat), ("tree", tree)):
            result.samples.setdefault(f"{name}_ms", {})[str(size)] = [found[1]]
        result.rows.append([f"{size:,}, simulated", flat[1], tree[1], flat[0], tree[0], flat[2], tree[2]])
        result.watch(f"a call to {size:,} along a tree, simulated", [tree[1]], at_least=False, unit="ms")
    await _measure_processes(settings, result)
    return result


async def _measure_processes(settings: Settings, result: Result) -> None:
    seconds: dict[bool, list[list[float]]] = {False: [], True: []}
    async with AsyncExitStack() as stack:
        settings.say(f"tree: starting {settings.nodes} nodes")
        command = command_of("link", "fleet", {"count": settings.nodes})
        try:
            fleet = await stack.enter_async_context(
                open_worker("the fleet", command, env=NODE_ENVIRONMENT, start_s=_FLEET_START_S)
            )
            for number in range(settings.rounds):
                settings.say(f"tree: round {number + 1} of {settings.rounds}")
                for is_tree in (False, True)[:: 1 if number % 2 else -1]:
                    fan: dict[str, Any] = {"nodes": fleet.ready["nodes"], "tree": is_tree}
                    async with open_worker("the caller", command_of("link", "fan", fan), env=NODE_ENVIRONMENT) as one:
                        answer = await one.ask("fan_out", times=_TIMES + 1, limit_s=_LIMIT_S)
                        seconds[is_tree].append(answer["seconds"])
        except WorkerFailed as exc:
            result.problems.append(str(exc))
            return
    first = {one: median([1e3 * times[0] for times in found]) for one, found in seconds.items()}
    then = {one: [median([1e3 * time for time in times[1:]]) for times in found] for one, found in seconds.items()}
    name = f"{settings.nodes:,} processes here"
    result.rows.append([name, median(then[False]), median(then[True]), first[False], first[True], None, None])
    result.samples["flat_ms"]["processes"], result.samples["tree_ms"]["processes"] = then[False], then[True]
    result.watch(f"a call to {settings.nodes:,} processes along a tree", then[True], at_least=False, unit="ms")


class _Machines(MemoryFabric):
    """A network of machines, each of which handles one message at a time.

    Attributes:
        handled: how many messages each node has sent and received.
    """

    def __init__(self) -> None:
        super().__init__(seed=1)
        self.handled: dict[NodeAddress, int] = {}
        self._idle_at: dict[NodeAddress, float] = {}
        self.add_rules(self._delivered_after)

    def _delivered_after(self, message: Message, _: Random) -> float:
        now = trio.current_time()
        sent = self._occupied(message.source, now)
        return self._occupied(message.target, sent + _ROUND_TRIP_S / 2) - now

    def _occupied(self, node: NodeAddress, since: float) -> float:
        """Occupy a node with a message; return until when."""
        self.handled[node] = self.handled.get(node, 0) + 1
        self._idle_at[node] = max(since, self._idle_at.get(node, 0.0)) + _MESSAGE_S
        return self._idle_at[node]


class Echo:
    """The service that is called."""

    @trionet.rpc
    def echo(self, data: bytes) -> bytes:
        """Return `data`."""
        return data


def tree_ms(members: int, is_tree: bool) -> tuple[float, float, int]:
    """Return the milliseconds of a first call, which makes the links, and of a second, and the caller's messages."""
    return run(_called, members, is_tree, seed=1)


async def _called(members: int, is_tree: bool) -> tuple[float, float, int]:
    fabric, took_ms = _Machines(), [0.0, 0.0]
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(trionet.open_node(fabric=fabric)) for _ in range(members + 1)]
        for node in opened[1:]:
            await node.local.routes.put(Echo())
        caller = opened[0]
        await caller.local.groups.put("fleet", [node.address for node in opened[1:]])
        call = caller.group("fleet").options(tree=is_tree).call
        for number in range(len(took_ms)):
            fabric.handled.clear()
            began = trio.current_time()
            replies = await call(Echo.echo, bytes(100))
            took_ms[number] = 1e3 * (trio.current_time() - began)
            replies.raise_errors()
        return took_ms[0], took_ms[1], fabric.handled[caller.address]
