"""A cluster of a few nodes on each of a few hosts, that faults happen to: on hosts of this machine, or simulated.

Both have the same names, settings, keys, and latencies, and each node has the same watch. What happens is in `stories`.
"""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import trio

import trionet
from tests.hosts.hosts import Hosts, open_hosts
from tests.hosts.neighbours import Parted
from tests.hosts.network import addresses
from tests.hosts.processors import Processors
from tests.hosts.watched import Report, Watch, clock
from tests.waiting import DEADLINE_S
from trionet.simulation import Network, Simulation, open_cluster
from trionet.simulation.latencies import constant
from trionet.simulation.rules import cut, delay, lose, only

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncGenerator, Generator, Iterable
    from pathlib import Path

    from trionet.transports.memory import Message, Rule

__all__ = ["INPUT_S", "NEAR", "PROCESSORS", "Layout", "World", "open_real", "open_simulated"]

NEAR: Final = Network(latency="exponential", latency_s=0.00005, least_s=0.00007)
"""Between programs on hosts of this machine that do nothing but send and receive."""

PROCESSORS: Final = 2
INPUT_S: Final = 0.00035
"""The processor time of a node for an input, a message or a timer; see `benchmarks.hosts_real`."""

_PORT: Final = 7000
_POLL_S: Final = 0.1
_HALF_A_START_S: Final = 0.05


class Layout(msgspec.Struct, frozen=True):
    """How many nodes on how many hosts, and their key file."""

    hosts: int
    each: int
    key_file: str

    def configs(self, host: int) -> list[trionet.NodeConfig]:
        """Return the settings of the nodes of a host, from 0."""
        seeds = [f"{addresses(number)[0]}:{_PORT}" for number in (1, 2)]
        own: dict[str, Any] = {"ip": addresses(host + 1)[0], "key_file": self.key_file, "log_level": "error"}
        return [
            trionet.NodeConfig(**own, port=_PORT + place, join=seeds if host or place else [])
            for place in range(self.each)
        ]

    def names(self, host: int) -> list[str]:
        """Return the names of the nodes of a host."""
        return [f"{config.ip}:{config.port}" for config in self.configs(host)]

    @property
    def everyone(self) -> list[str]:
        """The names of all nodes."""
        return [name for host in range(self.hosts) for name in self.names(host)]


class World(Protocol):
    """A cluster. Hosts are named by their place, from 0; a node is the place of its host, and its place there.

    Attributes:
        layout: how large it is.
    """

    layout: Layout

    async def kill_host(self, host: int) -> float:
        """Let a host lose its power; return when."""

    async def kill_node(self, host: int, place: int) -> float:
        """Kill the process of a node; return when."""

    def mute(self, host: int) -> float:
        """Lose all that a host sends to others; return since when."""

    def part(self, hosts: list[int], *, by_route: bool = False) -> float:
        """Cut these hosts off from the others; return since when. For real, with `by_route`, senders know at once."""

    def lose(self, share: float) -> None:
        """Lose that share of all packets between hosts."""

    def delay(self, seconds: float) -> None:
        """Deliver packets between hosts so much later."""

    def heal(self) -> float:
        """End all faults but deaths; return since when."""

    async def say(self, host: int, place: int, word: str) -> float:
        """Send a rumor from a node; return when."""

    async def reports(self) -> dict[str, Report]:
        """Return what each node has noted that is up."""


# ---- on hosts


class _Real:
    def __init__(self, layout: Layout, hosts: Hosts, folder: Path, is_prompt: bool) -> None:
        self.layout = layout
        self._hosts = hosts
        self._folder = folder
        self._is_prompt = is_prompt
        self._up = {(host, place) for host in range(layout.hosts) for place in range(layout.each)}

    def start(self, host: int) -> subprocess.Popen[bytes]:
        """Start the nodes of a host."""
        words = [msgspec.json.encode(_given(config)).decode() for config in self.layout.configs(host)]
        first = ["chrt", "--rr", "1"] if self._is_prompt else []
        command = [*first, sys.executable, "-m", "tests.hosts.watched_nodes", str(self._folder), *words]
        return self._hosts[host].run(command)

    async def wait_up(self, host: int) -> None:
        """Wait until the nodes of a host answer."""
        with trio.fail_after(DEADLINE_S):
            for name in self.layout.names(host):
                while not (self._folder / name).exists():  # noqa: ASYNC110  other processes set no trio.Event
                    await trio.sleep(_POLL_S)

    async def _ask(self, name: str, question: dict[str, Any]) -> Any:
        async with await trio.open_unix_socket(self._folder / name) as stream:
            await stream.send_all(msgspec.json.encode(question))
            return b"".join([part async for part in stream])

    async def kill_host(self, host: int) -> float:
        at = clock()
        self._hosts[host].kill()
        self._up -= {node for node in self._up if node[0] == host}
        return at

    async def kill_node(self, host: int, place: int) -> float:
        pid = int(await self._ask(self.layout.names(host)[place], {}))
        at = clock()
        self._hosts[host].check(["kill", "-9", str(pid)])
        self._up.discard((host, place))
        return at

    @contextmanager
    def _prompt(self) -> Generator[None]:
        """Run the block, and the programs that it starts, before other processes, as the nodes; if they do."""
        if not self._is_prompt:
            yield
            return
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        try:
            yield
        finally:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))

    def mute(self, host: int) -> float:
        with self._prompt():
            for other in self._hosts:
                if other is not self._hosts[host]:
                    self._hosts.block(self._hosts[host], other, one_way=True)
            return clock()

    def part(self, hosts: list[int], *, by_route: bool = False) -> float:
        with self._prompt():
            self._hosts.partition([self._hosts[host] for host in hosts], by_route=by_route)
            return clock()

    def lose(self, share: float) -> None:
        self._hosts.loss(share)

    def delay(self, seconds: float) -> None:
        self._hosts.delay(seconds)

    def heal(self) -> float:
        with self._prompt():
            self._hosts.heal()
            return clock()

    async def say(self, host: int, place: int, word: str) -> float:
        return float(await self._ask(self.layout.names(host)[place], {"say": word}))

    async def reports(self) -> dict[str, Report]:
        names = [self.layout.names(host)[place] for host, place in sorted(self._up)]
        return {name: msgspec.json.decode(await self._ask(name, {"report": True}), type=Report) for name in names}


@asynccontextmanager
async def open_real(layout: Layout, folder: Path, *, is_prompt: bool = False) -> AsyncGenerator[World]:
    """Run the cluster on hosts of this machine, once each node knows all.

    Args:
        layout: how large.
        folder: an empty one.
        is_prompt: whether the nodes go before all other processes of this machine, whose load then disturbs little.
    """
    with open_hosts(layout.hosts) as hosts:
        world = _Real(layout, hosts, folder, is_prompt)
        for host in range(layout.hosts):
            world.start(host)
            if not host:
                await world.wait_up(host)
        for host in range(layout.hosts):
            await world.wait_up(host)
        await _wait_whole(world)
        yield world


# ---- simulated


class _Simulated:
    def __init__(self, layout: Layout, sim: Simulation, watches: dict[str, Watch], processors: Processors) -> None:
        self.layout = layout
        self._sim = sim
        self._watches = watches
        self._processors = processors
        self._rules: list[Rule] = []
        self._parted: list[Parted] = []

    def _add(self, rule: Rule) -> None:
        self._rules.append(rule)
        self._sim.fabric.add_rules(rule)

    def _nodes(self, hosts: Iterable[int]) -> list[trionet.NodeAddress]:
        return self._sim.addresses(
            [host * self.layout.each + place for host in hosts for place in range(self.layout.each)]
        )

    def _others(self, hosts: list[int]) -> list[int]:
        return [host for host in range(self.layout.hosts) if host not in hosts]

    async def kill_host(self, host: int) -> float:
        for place in range(self.layout.each):
            self._sim.crash(host * self.layout.each + place, is_silent=True)
        return clock()

    async def kill_node(self, host: int, place: int) -> float:
        self._sim.crash(host * self.layout.each + place)
        return clock()

    def mute(self, host: int) -> float:
        self._add(cut(self._nodes([host]), self._nodes(self._others([host]))))
        return clock()

    def part(self, hosts: list[int], *, by_route: bool = False) -> float:
        del by_route
        fabric = self._sim.fabric
        parted = Parted(
            {node.ip for node in self._nodes(hosts)},
            self._sim.random,
            lambda at, message: fabric.pump.at(at, fabric.arrive, message),
        )
        self._parted.append(parted)
        fabric.add_rules(parted)
        return clock()

    def lose(self, share: float) -> None:
        self._add(only(lose(share), _is_between_hosts))

    def delay(self, seconds: float) -> None:
        self._add(only(delay(constant(seconds)), _is_between_hosts))

    def heal(self) -> float:
        self._sim.fabric.remove_rules(*self._rules)
        self._rules.clear()
        for parted in self._parted:
            parted.heal()
        return clock()

    async def say(self, host: int, place: int, word: str) -> float:
        node = self._sim.nodes[host * self.layout.each + place]
        return await self._watches[str(node.address)].say(node, word)

    async def reports(self) -> dict[str, Report]:
        return {str(node.address): self._report(node) for node in self._sim.up}

    def _report(self, node: trionet.Node) -> Report:
        name = str(node.address)
        return msgspec.structs.replace(self._watches[name].report(node), processor_s=self._processors.used_s(name))


@asynccontextmanager
async def open_simulated(
    layout: Layout, seed: int, *, network: Network = NEAR, input_s: float = INPUT_S
) -> AsyncGenerator[World]:
    """Run the cluster in virtual time, once each node knows all; in `trionet.simulation.run`.

    Args:
        layout: how large.
        seed: of all its random numbers.
        network: between any two nodes.
        input_s: the processor time of an input; all nodes share `PROCESSORS`.
    """
    processors = Processors(PROCESSORS, input_s)
    configs = [config for host in range(layout.hosts) for config in layout.configs(host)]
    watches: dict[str, Watch] = {}
    async with (
        trio.open_nursery() as nursery,
        open_cluster(0, seed=seed, network=network, is_traced=False) as sim,
    ):
        for config in configs:
            node = await sim.start(config)
            sim.fabric.endpoints[node.address].add_lag(processors.lag_of(str(node.address)))
            watch = watches[str(node.address)] = Watch()
            await watch.open(node, nursery.start_soon)
            await trio.sleep(2 * _HALF_A_START_S * sim.random.random())
        world = _Simulated(layout, sim, watches, processors)
        await _wait_whole(world)
        yield world
        nursery.cancel_scope.cancel()


def _is_between_hosts(message: Message) -> bool:
    return message.source.ip != message.target.ip


def _given(config: trionet.NodeConfig) -> dict[str, Any]:
    """Return the settings that differ from their defaults."""
    default = trionet.NodeConfig()
    names = [field for field in config.__struct_fields__ if getattr(config, field) != getattr(default, field)]
    return {name: getattr(config, name) for name in names}


async def _wait_whole(world: World) -> None:
    """Wait until each node knows all."""
    with trio.fail_after(DEADLINE_S):
        while not is_whole(world.layout, await world.reports()):  # noqa: ASYNC110  likewise
            await trio.sleep(_POLL_S)


def is_whole(layout: Layout, reports: dict[str, Report]) -> bool:
    """Whether all nodes of the layout are up, and each knows all."""
    everyone = sorted(layout.everyone)
    return sorted(reports) == everyone and all(sorted(report.members) == everyone for report in reports.values())
