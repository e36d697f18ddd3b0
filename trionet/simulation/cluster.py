"""Whole nodes, with their services, on a network in memory: in virtual time, or in real time.

Invariant: in virtual time, all events follow from the seed and the program alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from random import Random
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, runtime_checkable

import msgspec
import trio

from trionet import ConfigError, NodeAddress, NodeConfig, open_node
from trionet.async_blocks import async_block
from trionet.nurseries import open_background_nursery
from trionet.transports.memory import MemoryFabric
from trionet.trio_internals import time_now

from .arguments import require
from .latencies import exponential
from .recording import record_nodes
from .rules import network_of
from .running import deterministic
from .trace import Trace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection
    from contextlib import AbstractContextManager

    from trionet import Node
    from trionet.transports.memory import Rule
    from trionet.transports.memory.endpoint import MemoryEndpoint

    from .rules import Network
    from .trace import Kind

    Configure = NodeConfig | Callable[[int], NodeConfig] | None

__all__ = ["Scheduled", "Simulation", "Undo", "are_converged", "check_schedule", "open_cluster"]

Undo = Callable[[], None]
"""Ends the effect of a fault."""

F = TypeVar("F", bound="Scheduled")

_SEEDS: Final = 3
_POLL_S: Final = 0.1


@runtime_checkable
class Scheduled(Protocol):
    """The part of a `Fault` that `Simulation.play` uses."""

    @property
    def at_s(self) -> float:
        """When it begins, in seconds since the schedule began."""

    @property
    def duration_s(self) -> float | None:
        """How long it lasts; None for as long as the simulation."""

    def begin(self, sim: Simulation) -> Undo | None:
        """Begin; return a function that ends it, if it can be ended."""


class _Run:
    """One run of a node, from its start to its end."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.is_crashed = False


class _Place:
    """The place of a node: its configuration, and its runs."""

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self.address = NodeAddress(config.ip, config.port)
        self.starts = 0
        self.run = _Run()

    def is_up(self) -> bool:
        return not self.run.ended.is_set() and not self.run.is_crashed


class Simulation:
    """A cluster in memory; `open_cluster` opens one.

    Attributes:
        nodes: the nodes, by their place; the last one of a place whose node has ended.
        seed: the seed of all its random numbers.
        fabric: the network.
        trace: the events so far; None if it isn't recorded.
        random: random numbers for the user's own program.
        duration_s: in a trial, for how long its faults may happen; else infinite.
    """

    def __init__(
        self, nursery: trio.Nursery, *, seed: int, network: Network, configure: Configure, is_traced: bool
    ) -> None:
        self._began_at = trio.current_time()
        self.trace: Trace | None = Trace(self._began_at, time_now) if is_traced else None
        self.nodes: list[Node] = []
        self.seed = seed
        self.fabric: MemoryFabric = MemoryFabric(seed=seed, observer=self.trace)
        self.fabric.add_rules(*network.rules())
        if self.trace is not None:
            record_nodes(self.fabric, self.trace)
        self.random: Random = Random(f"{seed} user")
        self.duration_s: float = math.inf
        self._nursery = nursery
        self._configure = configure
        self._places: list[_Place] = []
        self._starting = trio.Lock()

    @property
    def now(self) -> float:
        """Seconds since the simulation began."""
        return trio.current_time() - self._began_at

    # ---- nodes

    def _place(self, index: int) -> _Place:
        """Return a node's place.

        Raises:
            ConfigError: there is no such node.
        """
        place = self._find(index)
        if place is None:
            wrong = "a node's place is 0 or more, not" if index < 0 else f"{len(self._places)} nodes, and none at place"
            raise ConfigError(f"{wrong} {index}")
        return place

    def _find(self, index: int) -> _Place | None:
        require(index, int, "a node's place is a number")
        return self._places[index] if 0 <= index < len(self._places) else None

    def is_up(self, index: int) -> bool:
        """Whether a node runs, or is starting."""
        place = self._find(index)
        return place is not None and place.is_up()

    def is_crashed(self, index: int) -> bool:
        """Whether a node has crashed, and has not started again."""
        return self._place(index).run.is_crashed

    @property
    def up(self) -> list[Node]:
        """The nodes that run."""
        return [node for index, node in enumerate(self.nodes) if self.is_up(index)]

    def address(self, index: int) -> NodeAddress:
        """Return the address of a node."""
        return self._place(index).address

    def addresses(self, indexes: Iterable[int]) -> list[NodeAddress]:
        """Return the addresses of nodes, without those that don't exist."""
        return [place.address for place in map(self._find, indexes) if place is not None]

    async def start(self, config: NodeConfig | None = None) -> Node:
        """Start one more node; it joins the others unless its configuration has other seeds."""
        async with self._starting:
            place = self._new_place(config)
            node: Node = await self._nursery.start(self._serve, len(self._places) - 1, place)
            return node

    def _new_place(self, config: NodeConfig | None) -> _Place:
        index = len(self._places)
        if config is None:
            config = self._configure(index) if callable(self._configure) else self._configure
        config = config or NodeConfig()
        require(config, NodeConfig, "a configuration is a NodeConfig")
        place = _Place(config if config.port else msgspec.structs.replace(config, port=8000 + index))
        self._places.append(place)
        if self.trace is not None:
            self.trace.introduce(place.address, f"n{index}")
        return place

    async def _serve(
        self, index: int, place: _Place, *, task_status: trio.TaskStatus[Node] = trio.TASK_STATUS_IGNORED
    ) -> None:
        config, run = place.config, place.run
        if config.join is None:
            seeds = [str(other.address) for other in self._places if other is not place and other.is_up()]
            config = msgspec.structs.replace(config, join=seeds[:_SEEDS])
        random = Random(f"{self.seed} node {index} start {place.starts}")
        place.starts += 1
        try:
            with run.scope:
                async with open_node(config, fabric=self.fabric, random=random) as node:
                    self.nodes[index : index + 1] = [node]
                    task_status.started(node)
                    await trio.sleep_forever()
        finally:
            run.ended.set()

    def stop(self, index: int) -> bool:
        """Stop a node gracefully; False if it doesn't run."""
        if not self.is_up(index) or index >= len(self.nodes):
            return False
        self.nodes[index].stop()
        return True

    def crash(self, index: int, *, is_silent: bool = False) -> bool:
        """Crash a node: it sends nothing more, and its tasks are cancelled; False if it doesn't run.

        Args:
            index: which node.
            is_silent: whether its host crashes, too, so that its peers aren't notified of broken connections.
        """
        place = self._find(index)
        if place is None or not place.is_up():
            return False
        place.run.is_crashed = True
        self.fabric.crash(place.address, is_silent=is_silent)
        place.run.scope.cancel()
        self.note("crash", index, kind="fault")
        return True

    async def restart(self, index: int) -> Node:
        """Start a node again that has ended, at its address; return it once it runs and has joined the others."""
        place = self._place(index)
        if not self._renew(index, place):
            return self.nodes[index]
        node: Node = await self._nursery.start(self._serve, index, place)
        return node

    def restart_soon(self, index: int) -> None:
        """Start a node again that has ended or is ending, in the background."""
        self._nursery.start_soon(self._restart, index, self._place(index))

    async def _restart(self, index: int, place: _Place) -> None:
        await place.run.ended.wait()
        if self._renew(index, place):
            await self._serve(index, place)

    def _renew(self, index: int, place: _Place) -> bool:
        """Begin a new run of a node; False if one is in progress."""
        if place.is_up():
            return False
        self.fabric.dark.discard(place.address)
        place.run = _Run()
        self.note("restart", index, kind="fault")
        return True

    # ---- faults

    def _endpoint(self, index: int) -> MemoryEndpoint | None:
        place = self._find(index)
        return None if place is None else self.fabric.endpoints.get(place.address)

    def rule(self, *rules: Rule) -> AbstractContextManager[None]:
        """Apply `rules` to each message, before all others, within the block."""
        return self.fabric.rule(*rules)

    def pause(self, index: int) -> Undo | None:
        """Pause a node, as SIGSTOP does; return a function that ends this pause. None if it is down."""
        endpoint = self._endpoint(index)
        if endpoint is None:
            return None
        endpoint.hold()
        return endpoint.release

    def slow_down(self, index: int, lag_s: float) -> Undo | None:
        """Delay all actions of a node, by `lag_s` on average; return a function that ends that. None if it is down."""
        endpoint = self._endpoint(index)
        if endpoint is None:
            return None
        lag = functools.partial(exponential(lag_s), Random(f"{self.seed} lag {index}"))
        endpoint.add_lag(lag)
        return functools.partial(endpoint.remove_lag, lag)

    def skew(self, index: int, *, forward_s: float = 0.0, rate: float = 1.0) -> Undo | None:
        """Set a node's clock ahead, and its rate; return a function that resets the rate. None if it is down."""
        endpoint = self._endpoint(index)
        return None if endpoint is None else endpoint.clock.change(forward_s=forward_s, rate=rate)

    def play(self, schedule: Iterable[Scheduled]) -> None:
        """Schedule the faults of `schedule`, each at its time from now on.

        Raises:
            ConfigError: it is no list of faults.
        """
        now = trio.current_time()
        for fault in check_schedule(schedule):
            self.fabric.pump.at(now + fault.at_s, self._begin, fault)

    def _begin(self, fault: Scheduled) -> None:
        what, detail = type(fault).__name__, msgspec.json.encode(fault).decode()
        self.note(f"{what} begins", detail=detail, kind="fault")
        undo = fault.begin(self)
        if undo is not None and fault.duration_s is not None:
            self.fabric.pump.at(trio.current_time() + fault.duration_s, self._end, undo, what, detail)

    def _end(self, undo: Undo, what: str, detail: str) -> None:
        self.note(f"{what} ends", detail=detail, kind="fault")
        undo()

    # ---- state

    def note(self, what: str, node: int | None = None, *, detail: str = "", kind: Kind = "note") -> None:
        """Add an event of your own to the trace."""
        if self.trace is not None:
            name = "" if node is None else self.trace.name(self.address(node))
            self.trace.add(kind, name, what=what, detail=detail)

    def is_converged(self) -> bool:
        """Whether each node that runs sees exactly those that run."""
        up = self.up
        return len(up) == sum(place.is_up() for place in self._places) and are_converged(up)

    async def wait_converged(self) -> None:
        """Wait until each node that runs sees exactly those that run."""
        while not self.is_converged():  # noqa: ASYNC110  there is no event for it
            await trio.sleep(_POLL_S)

    def end(self) -> None:
        """Crash all nodes, and stop the network, without recording that."""
        self.fabric.observer = None
        for address in list(self.fabric.endpoints):
            self.fabric.crash(address)
        self.fabric.pump.close()


def are_converged(nodes: Collection[Node]) -> bool:
    """Whether each of `nodes` sees exactly these."""
    expected = {node.sid for node in nodes}
    return all(node.all.members().keys() == expected for node in nodes)


def check_schedule(schedule: Iterable[F]) -> list[F]:
    """Return a schedule as a list.

    Raises:
        ConfigError: it has anything but faults.
    """
    require(schedule, Iterable, "a schedule is a list of faults")
    faults = list(schedule)
    for fault in faults:
        require(fault, Scheduled, "a schedule is a list of faults")
    return faults


@async_block("async with open_cluster(...) as sim:")
async def open_cluster(
    n: int,
    *,
    seed: int = 0,
    network: Network | str = "lan",
    config: Configure = None,
    faults: Iterable[Scheduled] = (),
    is_traced: bool = True,
    on_open: Callable[[Simulation], None] | None = None,
) -> AsyncGenerator[Simulation]:
    """Run `n` nodes on a network in memory for as long as the block lasts.

    They are one cluster: the first begins it, the others join it, and the block begins when each sees all. At the end
    of the block they crash.

    Args:
        n: how many nodes.
        seed: the seed of all random numbers, and where time is virtual, of all that happens.
        network: the network without faults: ``"lan"``, ``"wan"``, ``"bad"``, ``"perfect"``, or a `Network`.
        config: the nodes' configuration, or a function of a node's place that returns it. Without an address, nodes
            have 127.0.0.1 and ports from 8000 on.
        faults: the schedule of faults, from the begin of the block.
        is_traced: whether to record a trace.
        on_open: called with the simulation before its first node starts, and so also if the block never begins.

    Raises:
        ConfigError: there is no network of that name, `n` is negative, or an argument has a wrong type.
    """
    if not isinstance(n, int) or n < 0:
        raise ConfigError(f"a cluster has 0 nodes or more, not {n!r:.100}")
    if not (config is None or isinstance(config, NodeConfig) or callable(config)):
        raise ConfigError(f"a configuration is a NodeConfig or a function that returns one, not {config!r:.100}")
    network = network_of(network)
    faults = check_schedule(faults)
    with deterministic(seed):
        async with open_background_nursery() as nursery:
            sim = Simulation(nursery, seed=seed, network=network, configure=config, is_traced=is_traced)
            if on_open is not None:
                on_open(sim)
            await nursery.start(sim.fabric.pump.run)
            try:
                for _ in range(n):
                    await sim.start()
                await sim.wait_converged()
                sim.play(faults)
                yield sim
            finally:
                sim.end()
                nursery.cancel_scope.cancel()
