"""Nodes whose links can be looked into, a service with long values, and a program and an invariant for trials."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import trio

from trionet import (
    DefiniteError,
    Event,
    Node,
    NodeAddress,
    NodeConfig,
    OrphanedCall,
    Remote,
    TrionetError,
    open_node,
    rpc,
)
from trionet.nesting import PACKETS
from trionet.simulation import SCENARIOS, Trace, Watch, open_cluster
from trionet.transports.memory import MemoryEndpoint, MemoryFabric

if TYPE_CHECKING:
    from trionet.simulation import Simulation, TraceEvent, Trial, Violation
    from trionet.transports.link.link import Link
    from trionet.transports.memory import Rule

__all__ = [
    "CONFIG",
    "KIB",
    "MIB",
    "LinksHoldNothing",
    "Peer",
    "Probe",
    "held_by",
    "mixture",
    "mixture_trace",
    "on",
    "open_peers",
]

KIB = 1024
MIB = 1024 * KIB

_LEAST_MESSAGE_BYTES = 600 * KIB


class Probe:
    """A service with long arguments, answers and items.

    Attributes:
        begun: the handlers that have begun: each method, and the size of its value.
        running: how many are running.
        bytes_made: of the items of streams.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.begun: list[tuple[str, int]] = []
        self.running = 0
        self.bytes_made = 0

    @rpc
    def ping(self) -> None:
        self.begun.append(("ping", 0))

    @rpc
    def store(self, data: bytes) -> int:
        self.begun.append(("store", len(data)))
        return len(data)

    @rpc
    def fetch(self, size: int) -> bytes:
        self.begun.append(("fetch", size))
        return bytes(size)

    @rpc
    async def echo(self, data: bytes, seconds: float) -> bytes:
        """Return `data` after a time."""
        self.begun.append(("echo", len(data)))
        self.running += 1
        try:
            await trio.sleep(seconds)
        finally:
            self.running -= 1
        return data

    @rpc
    async def relay(self, chain: list[NodeAddress], data: bytes) -> bytes:
        """Send `data` through a chain of nodes and back."""
        self.begun.append(("relay", len(data)))
        if not chain:
            return data
        found: bytes = await self._node.local.comm.send([chain[1:], data], on(chain[0], "relay"))
        return found

    @rpc
    async def items(self, count: int, size: int) -> AsyncGenerator[bytes]:
        """Yield items as fast as the reader lets it."""
        self.begun.append(("items", size))
        self.running += 1
        try:
            for _ in range(count):
                self.bytes_made += size
                yield bytes(size)
        finally:
            self.running -= 1


async def _open_probe(node: Node) -> None:
    await node.local.routes.put(Probe(node), "probe")


CONFIG = NodeConfig(
    on_start=_open_probe, max_message_bytes=_LEAST_MESSAGE_BYTES, max_calls_per_peer=8, idle_timeout_s=20.0
)
"""Of nodes whose windows and places soon run out, and who notice soon that an idle peer has gone."""


def on(node: NodeAddress | Node, method: str) -> Remote:
    """Return a method of the `Probe` of a node."""
    return Remote(node=node if isinstance(node, NodeAddress) else node.address, service="probe", method=method)


class Peer:
    """One node on a fabric, without a cluster.

    Attributes:
        node, probe: the node, and its service.
        fabric, endpoint: the network, and the node's place there.
        orphans: its calls that were reported as orphans.
    """

    def __init__(self, node: Node, probe: Probe, fabric: MemoryFabric) -> None:
        self.node = node
        self.probe = probe
        self.fabric = fabric
        self.endpoint = fabric.endpoints[node.address]
        self.orphans: list[Event] = []

    async def call(self, to: Peer, method: str, *args: Any) -> Any:
        return await self.node.local.comm.send(list(args), on(to.node, method))

    @property
    def links(self) -> list[Link]:
        """The open links."""
        return links_of(self.endpoint)

    def link_with(self, other: Peer) -> Link:
        """Return the link that calls to `other` go on."""
        return self.endpoint.transport._links[other.node.address]  # noqa: SLF001  a look inside

    async def watch(self) -> None:
        """Collect orphans."""
        async for event in self.node.events():
            if isinstance(event, OrphanedCall):
                self.orphans.append(event)


@asynccontextmanager
async def open_peers(n: int, seed: int, *rules: Rule, **settings: Any) -> AsyncGenerator[list[Peer]]:
    """Open `n` nodes that don't know each other, so that nothing is sent but the calls of the test."""
    fabric = MemoryFabric(seed=seed)
    fabric.add_rules(*rules)
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        peers = []
        for index in range(n):
            config = NodeConfig(port=8000 + index, **settings)
            node = await stack.enter_async_context(open_node(config, fabric=fabric))
            probe = Probe(node)
            await node.local.routes.put(probe, "probe")
            peer = Peer(node, probe, fabric)
            nursery.start_soon(peer.watch)
            peers.append(peer)
        yield peers
        nursery.cancel_scope.cancel()


# ---- what is held


def links_of(endpoint: MemoryEndpoint) -> list[Link]:
    """Return the open links of a node."""
    return list(endpoint.transport._open)  # noqa: SLF001  a look inside


def held_by(endpoint: MemoryEndpoint) -> list[str]:
    """Return what the links of a node hold; nothing where no call is in progress."""
    account, found = endpoint.transport.context.account, []
    if account.partial_bytes or account.whole_bytes:
        found.append(f"{account.partial_bytes} bytes of incomplete messages and {account.whole_bytes} of others")
    for link in links_of(endpoint):
        found += [f"on the link with {link.name}: {text}" for text in _held_on(link)]
    return found


def _held_on(link: Link) -> list[str]:
    core, found = link.core, []
    outgoing, incoming, outbox = core.outgoing, core.incoming, core.outbox
    if outgoing.in_progress or outgoing.long_ones:
        found.append(f"{len(outgoing.in_progress)} calls, {outgoing.long_ones} long ones")
    if any(places != core.peer.max_calls for places in outgoing.free_places[:PACKETS]):
        found.append(f"free places {outgoing.free_places[:PACKETS]} of {core.peer.max_calls}")
    if incoming.running or any(incoming._running_at) or incoming._long_bytes:  # noqa: SLF001  a look inside
        found.append(f"{len(incoming.running)} calls of the peer, {incoming._long_bytes} bytes of answers")  # noqa: SLF001
    if outbox.is_pending or outbox._queued_bytes:  # noqa: SLF001  a look inside
        found.append(f"{outbox._queued_bytes} queued bytes")  # noqa: SLF001  a look inside
    found += [
        f"{window.size - window._free} bytes of window {direction}"  # noqa: SLF001  a look inside
        for direction, window in outbox._windows.items()  # noqa: SLF001  a look inside
        if window._free != window.size or window._waiting  # noqa: SLF001  a look inside
    ]
    if any(core._reassembly._held_bytes):  # noqa: SLF001  a look inside
        found.append(f"chunks of {core._reassembly._held_bytes} bytes")  # noqa: SLF001  a look inside
    return found


class LinksHoldNothing(Watch):
    """Some time after the last fault no link holds bytes, places or windows, of a node that has ended either."""

    name = "links_hold_nothing"

    def __init__(self) -> None:
        super().__init__()
        self._endpoints: dict[MemoryEndpoint, None] = {}

    def begin(self, sim: Simulation, trial: Trial) -> None:
        super().begin(sim, trial)
        self._see()

    def _see(self) -> None:
        self._endpoints |= dict.fromkeys(self.sim.fabric.endpoints.values())

    def take(self, event: TraceEvent) -> None:
        if event.what == "NodeOpened":
            self._see()

    def _held(self) -> list[tuple[MemoryEndpoint, str]]:
        return [(endpoint, text) for endpoint in self._endpoints for text in held_by(endpoint)]

    def is_settled(self) -> bool:
        self._see()
        return not self._held()

    async def check(self) -> list[Violation]:
        for _ in range(100):  # the cluster's own calls come and go
            if not self._held():
                return self.violations
            await trio.sleep(0.1)
        for endpoint, text in self._held():
            self.violated(f"{endpoint.address} still holds {text}")
        return self.violations


# ---- a program


async def mixture(sim: Simulation) -> None:
    """Have all nodes call with short and long values, nested, in streams, and give up on some, for the duration."""
    with trio.move_on_after(sim.duration_s):
        async with trio.open_nursery() as nursery:
            for index in range(len(sim.nodes)):
                nursery.start_soon(_work, sim, index)
            while True:
                await trio.sleep(sim.random.expovariate(0.5))
                _reset_a_link(sim)


def _reset_a_link(sim: Simulation) -> None:
    """Break a link, while both nodes run on."""
    endpoint = sim.fabric.endpoints.get(_somebody(sim))
    if endpoint is not None and (links := links_of(endpoint)):
        sim.random.choice(links).abort("the program has broken it")


async def _work(sim: Simulation, index: int) -> None:
    async with trio.open_nursery() as nursery:
        while True:
            await trio.sleep(sim.random.expovariate(5))
            if sim.is_up(index):
                nursery.start_soon(_attempt, sim, index)


async def _attempt(sim: Simulation, index: int) -> None:
    """Do something, and give up after a time: by a cancel, not by a deadline that the handler would have, too."""
    patience_s = sim.random.choice([0.001, 0.01, 0.1, 1.0, 10.0, 1000.0]) * sim.random.random()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def give_up() -> None:
            await trio.sleep(patience_s)
            nursery.cancel_scope.cancel()

        try:
            await _act(sim, index)
        except TrionetError as exc:
            sim.note(f"{type(exc).__name__} {'' if isinstance(exc, DefiniteError) else 'in'}definite", index)
        nursery.cancel_scope.cancel()


async def _act(sim: Simulation, index: int) -> None:
    random, comm = sim.random, sim.nodes[index].local.comm
    node, size = _somebody(sim), random.choice([10, 1000, 60 * KIB, 100 * KIB, 500 * KIB])
    match random.randrange(6):
        case 0:
            await comm.send([], on(node, "ping"))
        case 1:
            assert await comm.send([bytes(size)], on(node, "store")) == size
        case 2:
            assert await comm.send([size], on(node, "fetch")) == bytes(size)
        case 3:
            assert await comm.send([bytes(size), random.random()], on(node, "echo")) == bytes(size)
        case 4:
            chain = [_somebody(sim) for _ in range(random.randrange(4))]
            assert await comm.send([chain, bytes(size)], on(node, "relay")) == bytes(size)
        case 5:
            await _read(sim, index, node, size)


async def _read(sim: Simulation, index: int, node: NodeAddress, size: int) -> None:
    async with sim.nodes[index].local.comm.stream([20, size], on(node, "items")) as items:
        async for item in items:
            assert item == bytes(size)
            await trio.sleep(sim.random.expovariate(20))


def _somebody(sim: Simulation) -> NodeAddress:
    return sim.address(sim.random.randrange(len(sim.nodes)))


async def mixture_trace() -> Trace:
    """Return the trace of a mixture amid faults."""
    faults = SCENARIOS["anything"](4, 6.0, Random("faults"))
    async with open_cluster(4, config=CONFIG, faults=faults) as sim:
        sim.duration_s = 6.0
        await mixture(sim)
    assert sim.trace is not None
    return sim.trace
