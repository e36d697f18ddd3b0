"""Clusters in one process and virtual time: a network without sockets that can lose nodes, and nodes that note."""

from __future__ import annotations

from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import trio

from tests.waiting import wait_until
from trionet import MemberEvent, Node, NodeConfig, Remote, current_call, open_node, rpc
from trionet.transports.memory import DROP, MemoryFabric

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from trionet import Event, Events, NodeAddress
    from trionet.transports.memory import Message, Verdict

__all__ = ["COUNT", "Cluster", "Counter", "Network", "changes", "expose_counters", "open_cluster", "take"]

LATENCY_S = 0.001


class Network(MemoryFabric):
    """A memory fabric on which each message takes a millisecond, and nodes can be cut off.

    Attributes:
        down: nobody reaches these, and they reach nobody.
        hanging: calls to these get no answer.
        sides: where it isn't empty, only nodes of one side reach each other.
        counts: how many datagrams went from each node.
    """

    def __init__(self) -> None:
        super().__init__(seed=1)
        self.down: set[NodeAddress] = set()
        self.hanging: set[NodeAddress] = set()
        self.sides: list[set[NodeAddress]] = []
        self.counts: dict[NodeAddress, int] = {}
        self.add_rules(self._judge_cuts)

    def is_cut(self, one: NodeAddress, other: NodeAddress) -> bool:
        """Whether nothing gets from one to the other."""
        if one in self.down or other in self.down:
            return True
        return bool(self.sides) and not any(one in side and other in side for side in self.sides)

    def _judge_cuts(self, message: Message, _: Random) -> Verdict:
        if message.kind == "datagram":
            self.counts[message.source] = self.counts.get(message.source, 0) + 1
        is_unanswered = message.kind == "call" and message.target in self.hanging
        return DROP if is_unanswered or self.is_cut(message.source, message.target) else LATENCY_S


class Counter:
    """The service of the tests' rumors."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.notes: list[Any] = []

    @rpc
    def count(self, note: Any = None) -> int:
        self.ids.append(current_call().id)
        self.notes.append(note)
        return len(self.ids)

    @rpc
    def total(self) -> int:
        return len(self.ids)

    @rpc
    def fail(self) -> None:
        self.ids.append(current_call().id)
        raise ValueError("out of beans")


COUNT = Remote(service="counter", method="count")


class Cluster:
    """Nodes on one network, in the order of their starting."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.network = Network()
        self.counters: dict[NodeAddress, Counter] = {}
        self._nursery = nursery
        self._scopes: dict[NodeAddress, trio.CancelScope] = {}
        self._seeds = Random(1)

    async def start(self, config: NodeConfig | None = None, **settings: Any) -> Node:
        """Start a node that offers a `Counter`; where nothing is said, it joins the first one."""
        if config is None and "join" not in settings:
            settings["join"] = [str(address) for address in list(self.counters)[:1]]
        node: Node = await self._nursery.start(self._serve, config or NodeConfig(**settings))
        return node

    async def _serve(self, config: NodeConfig, *, task_status: trio.TaskStatus[Node]) -> None:
        with trio.CancelScope() as scope:
            async with open_node(config, fabric=self.network, random=Random(self._seeds.random())) as node:
                self._scopes[node.address] = scope
                counter = self.counters[node.address] = Counter()
                await node.local.routes.put(counter, "counter")
                task_status.started(node)
                await trio.sleep_forever()

    async def start_many(self, count: int, **settings: Any) -> list[Node]:
        """Start nodes of one cluster, and wait until each sees all."""
        nodes = [await self.start(**settings) for _ in range(count)]
        await self.wait_members(nodes)
        return nodes

    def kill(self, node: Node) -> None:
        """End a node without a word, as SIGKILL does."""
        self.network.crash(node.address)
        self._scopes[node.address].cancel()

    def counter(self, node: Node) -> Counter:
        return self.counters[node.address]

    def totals(self, nodes: Iterable[Node]) -> list[int]:
        """Return how often each has counted."""
        return [len(self.counter(node).ids) for node in nodes]

    async def wait_members(self, nodes: list[Node], seen: list[Node] | None = None) -> None:
        """Wait until each of `nodes` sees exactly these as members, or those `seen`."""
        expected = sorted(node.sid for node in seen or nodes)
        await wait_until(lambda: all([member.sid for member in node.members()] == expected for node in nodes))

    async def wait_totals(self, nodes: list[Node], total: int) -> None:
        """Wait until each has counted so often."""
        await wait_until(lambda: self.totals(nodes) == [total] * len(nodes))


@asynccontextmanager
async def open_cluster() -> AsyncGenerator[Cluster]:
    """Give a network without nodes."""
    async with trio.open_nursery() as nursery:
        yield Cluster(nursery)
        nursery.cancel_scope.cancel()


async def expose_counters(*nodes: Node) -> list[Counter]:
    """Have each node offer a `Counter`; return them."""
    counters = [Counter() for _ in nodes]
    for node, counter in zip(nodes, counters, strict=True):
        await node.local.routes.put(counter, "counter")
    return counters


async def take(events: Events, until: Callable[[Event], bool]) -> list[Event]:
    """Return the events up to the first for which `until` holds."""
    taken = []
    with trio.fail_after(120):
        async for event in events:
            taken.append(event)
            if until(event):
                break
    return taken


def changes(events: Iterable[Event], node: Node | NodeAddress) -> list[str]:
    """Return the kinds of changes of one member among events, in order."""
    sid = node.sid
    return [type(event).__name__ for event in events if isinstance(event, MemberEvent) and event.sid == sid]
