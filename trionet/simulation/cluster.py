"""Whole nodes, with their services, on a network in memory: in virtual time, or in real time.

Invariant: in virtual time, and with a seed, what happens follows from the seed and the program alone.
"""

from __future__ import annotations

import functools
import math
from contextlib import ExitStack, asynccontextmanager, contextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet import ConfigError, MemberEvent, NodeAddress, NodeConfig, OrphanedCall, open_node
from trionet.nurseries import open_background_nursery
from trionet.transports.memory import MemoryFabric

from .faults import check_schedule
from .handlers import watching
from .latencies import exponential
from .rules import network_of
from .running import deterministic
from .trace import Trace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence

    from trionet import Event, Node
    from trionet.protocols.gossip_messages import Delivered
    from trionet.transports.memory import Rule
    from trionet.transports.memory.endpoint import MemoryEndpoint

    from .faults import Fault
    from .rules import Network

    Configure = NodeConfig | Callable[[int], NodeConfig] | None

__all__ = ["Simulation", "open_cluster"]

_SEEDS: Final = 3
_LOOK_AGAIN_S: Final = 0.1


class _Life:
    """A node from its start to its end."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.is_crashed = False


class Simulation:
    """A cluster in memory; made by `open_cluster`.

    Attributes:
        nodes: the nodes, by their place; where one has crashed or left, and has not started again, the last it was.
        seed: what all its random numbers follow from.
        fabric: the network.
        trace: what has happened so far; None where it isn't kept.
        random: random numbers for your own use, which nobody else takes.
        duration_s: in a trial, for how long its faults may happen; else infinite.
    """

    def __init__(
        self, nursery: trio.Nursery, *, seed: int, network: Network, configure: Configure, is_traced: bool
    ) -> None:
        self._began_at = trio.current_time()
        self.trace: Trace | None = Trace(self._began_at, trio.current_time) if is_traced else None
        self.nodes: list[Node] = []
        self.seed = seed
        self.fabric: MemoryFabric = MemoryFabric(seed=seed, observer=self.trace)
        self.fabric.add_rules(*network.rules())
        self.fabric.on_open = self._watch
        if self.trace is not None:
            self.fabric.watched = watching(self.trace)
        self.random: Random = Random(f"{seed} user")
        self.duration_s: float = math.inf
        self._nursery = nursery
        self._configure = configure
        self._configs: list[NodeConfig] = []
        self._lives: list[_Life] = []
        self._starts: list[int] = []
        self._starting = trio.Lock()

    @property
    def now(self) -> float:
        """Seconds since the simulation began."""
        return trio.current_time() - self._began_at

    # ---- nodes

    def is_up(self, index: int) -> bool:
        """Whether a node runs, or is starting."""
        return 0 <= index < len(self._lives) and not self._lives[index].ended.is_set() and not self.is_crashed(index)

    def is_crashed(self, index: int) -> bool:
        """Whether a node has crashed, and has not started again."""
        _check_index(index)
        return self._lives[index].is_crashed

    @property
    def up(self) -> list[Node]:
        """The nodes that run."""
        return [node for index, node in enumerate(self.nodes) if self.is_up(index)]

    def address(self, index: int) -> NodeAddress:
        """Return where a node is reached."""
        _check_index(index)
        config = self._configs[index]
        return NodeAddress(config.ip, config.port)

    def addresses(self, indexes: Iterable[int]) -> list[NodeAddress]:
        """Return where nodes are reached; those that there aren't are left out."""
        return [self.address(index) for index in indexes if 0 <= index < len(self._configs)]

    async def start(self, config: NodeConfig | None = None) -> Node:
        """Start one more node, which joins the others where it isn't configured to do something else."""
        async with self._starting:
            return await self._start(config)

    async def _start(self, config: NodeConfig | None) -> Node:
        index = len(self._configs)
        if config is None:
            config = self._configure(index) if callable(self._configure) else self._configure
        config = config or NodeConfig()
        if not config.port:
            config = msgspec.structs.replace(config, port=8000 + index)
        address = NodeAddress(config.ip, config.port)
        self._configs.append(config)
        self._lives.append(_Life())
        self._starts.append(0)
        if self.trace is not None:
            self.trace.introduce(address, f"n{index}")
        node: Node = await self._nursery.start(self._serve, index, self._lives[index])
        return node

    async def _serve(
        self, index: int, life: _Life, *, task_status: trio.TaskStatus[Node] = trio.TASK_STATUS_IGNORED
    ) -> None:
        config = self._configs[index]
        if config.join is None:
            config = msgspec.structs.replace(config, join=self._seeds_for(index))
        random = Random(f"{self.seed} node {index} start {self._starts[index]}")
        self._starts[index] += 1
        try:
            with life.scope:
                async with open_node(config, fabric=self.fabric, random=random) as node:
                    self.nodes[index : index + 1] = [node]
                    task_status.started(node)
                    await trio.sleep_forever()
        finally:
            life.ended.set()

    def _seeds_for(self, index: int) -> list[str]:
        up = [str(self.address(other)) for other in range(len(self._lives)) if other != index and self.is_up(other)]
        return up[:_SEEDS]

    def stop(self, index: int) -> bool:
        """Have a node stop as it should; False if it doesn't run."""
        if index >= len(self.nodes) or not self.is_up(index):
            return False
        self.nodes[index].stop()
        return True

    def crash(self, index: int, *, is_silent: bool = False) -> bool:
        """End a node without a word: it says nothing any more, and its tasks are cancelled; False if it doesn't run.

        Args:
            index: which.
            is_silent: whether its host goes down, too, so that others aren't told that their connections are broken.
        """
        if not self.is_up(index):
            return False
        life = self._lives[index]
        life.is_crashed = True
        self.fabric.crash(self.address(index), is_silent=is_silent)
        life.scope.cancel()
        self.note("crash", index, kind="fault")
        return True

    async def restart(self, index: int) -> Node:
        """Start a node again that has ended, at its address; return it once it runs and has joined the others."""
        _check_index(index)
        life = self._renewed(index)
        if life is None:
            return self.nodes[index]
        node: Node = await self._nursery.start(self._serve, index, life)
        return node

    def restart_soon(self, index: int) -> None:
        """Start a node again that has ended or is ending; don't wait for that."""
        _check_index(index)
        self._nursery.start_soon(self._restart, index)

    async def _restart(self, index: int) -> None:
        await self._lives[index].ended.wait()
        life = self._renewed(index)
        if life is not None:
            await self._serve(index, life)

    def _renewed(self, index: int) -> _Life | None:
        if self.is_up(index):
            return None
        self.fabric.dark.discard(self.address(index))
        self._lives[index] = life = _Life()
        self.note("restart", index, kind="fault")
        return life

    # ---- faults

    def _endpoint(self, index: int) -> MemoryEndpoint | None:
        return self.fabric.endpoints.get(self.address(index)) if 0 <= index < len(self._configs) else None

    @contextmanager
    def rule(self, *rules: Rule) -> Generator[None]:
        """Have `rules` judge each message before all others, within the block."""
        with self.fabric.rule(*rules):
            yield

    def pause(self, index: int) -> Callable[[], None] | None:
        """Let a node stand still, as SIGSTOP does; return what lets it go on, where nothing else pauses it.

        None if it doesn't run.
        """
        endpoint = self._endpoint(index)
        if endpoint is None:
            return None
        endpoint.hold()
        return endpoint.release

    def slow_down(self, index: int, lag_s: float) -> Callable[[], None] | None:
        """Let a node get to everything later, by `lag_s` on average; return what ends that. None if it doesn't run."""
        endpoint = self._endpoint(index)
        if endpoint is None:
            return None
        lag = functools.partial(exponential(lag_s), Random(f"{self.seed} lag {index}"))
        endpoint.add_lag(lag)
        return functools.partial(endpoint.remove_lag, lag)

    def skew(self, index: int, *, forward_s: float = 0.0, rate: float = 1.0) -> Callable[[], None] | None:
        """Set a node's clock ahead, and let it run `rate` times as fast; return what ends the latter.

        None if it doesn't run.
        """
        endpoint = self._endpoint(index)
        if endpoint is None:
            return None
        return endpoint.clock.change(forward_s=forward_s, rate=rate)

    def play(self, schedule: Iterable[Fault]) -> None:
        """Let the faults of `schedule` happen, each at its time from now on."""
        now = trio.current_time()
        for fault in schedule:
            self.fabric.pump.at(now + fault.at_s, self._begin, fault)

    def _begin(self, fault: Fault) -> None:
        what = type(fault).__name__
        detail = msgspec.json.encode(fault).decode()
        self._note_fault(f"{what} begins", detail)
        undo = fault.begin(self)
        if undo is not None and fault.duration_s is not None:
            self.fabric.pump.at(trio.current_time() + fault.duration_s, self._end, undo, what, detail)

    def _end(self, undo: Callable[[], None], what: str, detail: str) -> None:
        self._note_fault(f"{what} ends", detail)
        undo()

    # ---- what happens

    def note(self, what: str, node: int | None = None, *, detail: str = "", kind: str = "note") -> None:
        """Add something of your own to the trace."""
        if self.trace is not None:
            name = "" if node is None else self.trace.name(self.address(node))
            self.trace.add(kind, name, what=what, detail=detail)  # type: ignore[arg-type]

    def _note_fault(self, what: str, detail: str) -> None:
        if self.trace is not None:
            self.trace.add("fault", "", what=what, detail=detail)

    def _watch(self, node: Any) -> None:
        """A node is being opened on the fabric."""
        if self.trace is None:
            return
        trace, name = self.trace, self.trace.name(node.address)
        trace.add("state", name, what="NodeOpened")

        def note_event(event: Event) -> None:
            if isinstance(event, MemberEvent):
                peer = trace.name(event.node)
                trace.add("state", name, peer, type(event).__name__, str(event.incarnation))
            elif isinstance(event, OrphanedCall):
                method = f"{event.gid}/{event.service}/{event.method}"
                trace.add("state", name, trace.name(event.node), "OrphanedCall", f"{method} {event.id}")
            else:
                trace.add("state", name, "", type(event).__name__, msgspec.json.encode(event).decode())

        def note_rumor(rumor: Delivered) -> None:
            trace.add("rumor", name, trace.name(NodeAddress.of(rumor.origin)), rumor.gid, rumor.id.hex())

        node.listen(note_event)
        node.local.gossip.on_rumor = note_rumor

    def is_converged(self) -> bool:
        """Whether each node that runs sees exactly those that run."""
        up = self.up
        expected = {node.sid for node in up}
        return len(up) == sum(map(self.is_up, range(len(self._lives)))) and all(
            node.all.members().keys() == expected for node in up
        )

    async def wait_converged(self) -> None:
        """Wait until each node that runs sees exactly those that run."""
        while not self.is_converged():  # noqa: ASYNC110  nobody tells when this becomes true
            await trio.sleep(_LOOK_AGAIN_S)

    def end(self) -> None:
        """Let all nodes crash, and nothing more happen on the network; the trace has ended before that."""
        self.fabric.observer = None
        for address in list(self.fabric.endpoints):
            self.fabric.crash(address)
        self.fabric.pump.close()


def _check_index(index: int) -> None:
    """Refuse a negative place, which Python would count from the end.

    Raises:
        ConfigError: it is one.
    """
    if index < 0:
        raise ConfigError(f"a node's place is 0 or more, not {index}")


@asynccontextmanager
async def open_cluster(
    n: int,
    *,
    seed: int = 0,
    network: Network | str = "lan",
    config: Configure = None,
    faults: Sequence[Fault] = (),
    is_traced: bool = True,
    on_open: Callable[[Simulation], None] | None = None,
) -> AsyncGenerator[Simulation]:
    """Run `n` nodes on a network in memory for as long as the block lasts.

    They are one cluster: the first begins it, the others join it, and the block begins when each sees all. With the
    block they end at once, as in a crash.

    Args:
        n: how many.
        seed: what all random numbers follow from, and where time is virtual, all that happens.
        network: how it is when nothing is wrong: ``"lan"``, ``"wan"``, ``"bad"``, ``"perfect"``, or what you describe.
        config: the nodes' configuration, or a function of a node's place that gives it. Without an address, nodes
            have 127.0.0.1 and ports from 8000 on.
        faults: what is to go wrong, from when the block begins.
        is_traced: whether to keep a trace.
        on_open: called with the simulation before its first node starts: it is there also when the block never begins.

    Raises:
        ConfigError: there is no network of that name, `n` is negative, or anything is not what it should be.
    """
    if not isinstance(n, int) or n < 0:
        raise ConfigError(f"a cluster has 0 nodes or more, not {n!r:.100}")
    if not (config is None or isinstance(config, NodeConfig) or callable(config)):
        raise ConfigError(f"a configuration is a NodeConfig or a function that gives one, not {config!r:.100}")
    network = network_of(network)
    check_schedule(faults)
    with ExitStack() as stack:
        stack.enter_context(deterministic(seed))
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
